"""The summary of the demo on one screen, at most 40 lines of 110 columns, made of what `nexus demo --json` prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nexus_pipeline.analytics.report import sparkline

_SIGNALS = ("BUY", "SELL", "HOLD")
_STYLES = {"BUY": "green", "SELL": "red", "HOLD": "dim"}
_WIDTH = 110
_CHART_ROWS = 14
# More points than this, and the marks of the chart would touch each other.
_MAX_POINTS = 40
_PLOTEXT = 6


def render(report: Mapping[str, Any], console: Console, url: str | None = None) -> None:
    """Print the summary of a demo; `url` is that of the Dagster UI, if it is running."""
    parts = [
        _lines(_input_lines(report)),
        _decisions(report["signals"], report["strong"], report["by_hour"]),
        _aggregates(report.get("aggregates")),
        _chart(report["by_day"], min(console.width, _WIDTH), console.color_system is not None),
        _lines([_speed_line(report)]).append("\n").append_text(_proof(report)),
        _lines(_next_lines(url)),
    ]
    for part in parts:
        if part is not None:
            console.print()
            console.print(part, width=min(console.width, _WIDTH))


def _lines(lines: Sequence[str]) -> Text:
    return Text("\n".join(lines))


def _input_lines(report: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{report['bars']:,} EURUSD bars of one hour: {report['warm_up']:,} to warm up the RSI,"
        f" {report['no_movement']:,} without movement, {report['requests']:,} signal requests.",
        f"{report['sent_now']:,} sent now, {report['sent_before']:,} sent before.",
    ]
    if report["sent_before"] and not report["sent_now"]:
        lines[-1] += " Nothing was added twice."
    if report["first_event"] is not None:
        lines.append(
            f"Events from {_minute(report['first_event'])} to {_minute(report['last_event'])} UTC: the real times,"
            f" moved by {report['shifted_weeks']:,} whole weeks."
        )
    return lines


def _decisions(signals: Mapping[str, int], strong: Mapping[str, int], by_hour: Sequence[Mapping[str, Any]]) -> Table:
    """The decisions by signal, with their distribution over the hours of the day."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("decisions")
    for name in ("count", "share", "of them strong"):
        table.add_column(name, justify="right")
    table.add_column("by hour of the day, UTC")
    total = sum(signals.values())
    for name in _SIGNALS:
        table.add_row(
            name,
            f"{signals[name]:,}",
            f"{signals[name] / total:.1%}" if total else "",
            f"{strong[f'STRONG_{name}']:,}" if f"STRONG_{name}" in strong else "",
            sparkline([hour[name] for hour in by_hour]),
            style=_STYLES[name],
        )
    return table


def _aggregates(aggregates: Mapping[str, Any] | None) -> Text | None:
    """The table hourly_signal_aggregates, one bar a week for each signal."""
    if aggregates is None:
        return None
    weeks = aggregates["by_week"]
    text = Text(
        f"hourly_signal_aggregates: {aggregates['decisions']:,} decisions in {aggregates['hours']:,} hours,"
        f" one bar for each of {len(weeks)} weeks"
    )
    for signal in _SIGNALS:
        text.append(f"\n{signal:>5} {sparkline([week[signal] for week in weeks])} ", style=_STYLES[signal])
        text.append(f"{sum(week[signal] for week in weeks):,}")
    return text


def _chart(days: Sequence[Mapping[str, Any]], width: int, colors: bool) -> Text | None:
    """The close, with a mark for each stretch of days with more BUY than SELL, or more SELL than BUY."""
    priced = [day for day in days if day["close"] is not None]
    if len(priced) < 2:
        return None
    try:
        usable = int(version("plotext").split(".")[0]) >= _PLOTEXT
    except (PackageNotFoundError, ValueError):
        usable = False
    if not usable:
        return Text(f'No chart: pip install "plotext>={_PLOTEXT}" draws one.')
    import plotext

    length = math.ceil(len(priced) / _MAX_POINTS)
    parts = [priced[start : start + length] for start in range(0, len(priced), length)]
    closes = [part[-1]["close"] for part in parts]
    figure = plotext.figure
    figure.clear()
    figure.theme("simple" if colors else "colorless")  # without a background of its own
    figure.plot_size(width, _CHART_ROWS)
    line = figure.signal(list(range(len(parts))), closes)
    line.lines()
    figure.draw(line)
    for name, other, color in (("BUY", "SELL", "green"), ("SELL", "BUY", "red")):
        at = [index for index, part in enumerate(parts) if _total(part, name) > _total(part, other)]
        if at:
            figure.draw(figure.signal(at, [closes[index] for index in at], marker=plotext.marker(name[0], color)))
    ticks = sorted({round(place * (len(parts) - 1) / 4) for place in range(5)})
    figure.ruler("x").ticks(ticks, [parts[index][-1]["day"] for index in ticks])
    figure.title(f"EURUSD close by {'day' if length == 1 else f'{length} days'}; B: more BUY than SELL, S: the reverse")
    drawn = Text.from_ansi(figure.build().string(colorless=not colors).rstrip())
    figure.clear()
    return drawn


def _total(part: Sequence[Mapping[str, Any]], name: str) -> int:
    return sum(day[name] for day in part)


def _speed_line(report: Mapping[str, Any]) -> str:
    latency = report["latency_ms"]
    known = [f"{name} {latency[name]:,.0f} ms" for name in ("p50", "p95", "p99") if latency[name] is not None]
    runs = f"{report['runs']:,} Dagster {'run' if report['runs'] == 1 else 'runs'}"
    rate = f", {report['per_second']:,.0f} signals/s" if report["per_second"] else ""
    waits = f" From send to decision: {', '.join(known)}." if known else ""
    return f"{runs} in {report['seconds']:,.1f} s{rate}.{waits}"


def _proof(report: Mapping[str, Any]) -> Text:
    """Whether every message that was ever sent to the queue is accounted for."""
    text = Text(
        f"All messages of the queue: {report['sent']:,} sent = {report['completed']:,} completed"
        f" + {report['dead_lettered']:,} dead-lettered + {report['waiting']:,} waiting;\n{report['lost']:,} lost,"
        f" {report['duplicates']:,} processed twice. The counts add up: "
    )
    return text.append(*(("yes", "bold green") if report["adds_up"] else ("NO", "bold red")))


def _next_lines(url: str | None) -> list[str]:
    if url is None:
        return [
            "Next: nexus up         the Dagster UI at http://127.0.0.1:3000",
            "      nexus executions  each decision",
        ]
    return [
        f"Next: {url}/runs    the runs of the job, each batch a step",
        f"      {url}/assets  the hourly aggregates, by partition",
        "      nexus down                    stop everything",
    ]


def _minute(text: str) -> str:
    return text[:16].replace("T", " ")
