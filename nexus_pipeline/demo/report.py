"""The summary of the demo on one screen, at most 40 lines of 110 columns, made of what `nexus demo --json` prints."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nexus_pipeline.analytics.report import sparkline

_STYLES = {"BUY": "green", "SELL": "red", "HOLD": "dim"}
_WIDTH = 110
_CHART_ROWS = 14
_MAX_POINTS = 40  # with more, the marks of the chart would touch each other


def render(report: Mapping[str, Any], console: Console, url: str | None = None) -> None:
    """Print the summary of a demo; `url` is that of the Dagster UI, if it is running."""
    width = min(console.width, _WIDTH)
    parts = [
        Text("\n".join(_input_lines(report))),
        _decisions(report["signals"], report["strong"], report["by_hour"]),
        _aggregates(report.get("aggregates")),
        _chart(report["by_day"], width, console.color_system is not None),
        _proof(report),
        Text(_next_lines(url)),
    ]
    for part in parts:
        if part is not None:
            console.print()
            console.print(part, width=width)


def _input_lines(report: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{report['bars']:,} EURUSD bars of one hour: {report['warm_up']:,} to warm up the RSI,"
        f" {report['no_movement']:,} without movement, {report['requests']:,} signal requests.",
        f"{report['sent_now']:,} sent now, {report['sent_before']:,} sent before.",
    ]
    if report["sent_before"] and not report["sent_now"]:
        lines[-1] += " Nothing was added twice."
    if report["first_event"] is not None:
        first, last = (report[name][:16].replace("T", " ") for name in ("first_event", "last_event"))
        weeks = f"{report['shifted_weeks']:,} whole weeks"
        lines.append(f"Events from {first} to {last} UTC: the real times, moved by {weeks}.")
    return lines


def _decisions(signals: Mapping[str, int], strong: Mapping[str, int], by_hour: Sequence[Mapping[str, Any]]) -> Table:
    """The decisions by signal, with their distribution over the hours of the day."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("decisions", "count", "share", "of them strong", "by hour of the day, UTC"):
        table.add_column(name, justify="right" if name in {"count", "share", "of them strong"} else "left")
    total = sum(signals.values())
    for name, style in _STYLES.items():
        table.add_row(
            name,
            f"{signals[name]:,}",
            f"{signals[name] / total:.1%}" if total else "",
            f"{strong[f'STRONG_{name}']:,}" if f"STRONG_{name}" in strong else "",
            sparkline([hour[name] for hour in by_hour]),
            style=style,
        )
    return table


def _aggregates(aggregates: Mapping[str, Any] | None) -> Text | None:
    if aggregates is None:
        return None
    weeks = aggregates["by_week"]
    text = Text(
        f"hourly_signal_aggregates: {aggregates['decisions']:,} decisions in {aggregates['hours']:,} hours,"
        f" one bar for each of {len(weeks)} weeks"
    )
    for signal, style in _STYLES.items():
        text.append(f"\n{signal:>5} {sparkline([week[signal] for week in weeks])} ", style=style)
        text.append(f"{sum(week[signal] for week in weeks):,}")
    return text


def _chart(days: Sequence[Mapping[str, Any]], width: int, colors: bool) -> Text | None:
    """The close, with a mark for each stretch of days with more BUY than SELL, or more SELL than BUY."""
    priced = [day for day in days if day["close"] is not None]
    if len(priced) < 2:
        return None
    try:
        from plotext import figure, marker
    except ImportError:  # missing, or older than version 6
        return Text('No chart: pip install "plotext>=6" draws one.')
    length = math.ceil(len(priced) / _MAX_POINTS)
    parts = [priced[start : start + length] for start in range(0, len(priced), length)]
    closes = [part[-1]["close"] for part in parts]
    figure.clear()
    figure.theme("simple" if colors else "colorless")  # without a background of its own
    figure.plot_size(width, _CHART_ROWS)
    line = figure.signal(list(range(len(parts))), closes)
    line.lines()
    figure.draw(line)
    for name, other, color in (("BUY", "SELL", "green"), ("SELL", "BUY", "red")):
        at = [index for index, part in enumerate(parts) if sum(day[name] - day[other] for day in part) > 0]
        if at:
            figure.draw(figure.signal(at, [closes[index] for index in at], marker=marker(name[0], color)))
    ticks = sorted({round(place * (len(parts) - 1) / 4) for place in range(5)})
    figure.ruler("x").ticks(ticks, [parts[index][-1]["day"] for index in ticks])
    figure.title(f"EURUSD close by {'day' if length == 1 else f'{length} days'}; B: more BUY than SELL, S: the reverse")
    drawn = Text.from_ansi(figure.build().string(colorless=not colors).rstrip())
    figure.clear()
    return drawn


def _proof(report: Mapping[str, Any]) -> Text:
    """The speed, and whether every message that was ever sent to the queue is accounted for."""
    latency = {name: value for name, value in report["latency_ms"].items() if value is not None}
    known = ", ".join(f"{name} {value:,.0f} ms" for name, value in latency.items())
    rate = f", {report['per_second']:,.0f} signals/s" if report["per_second"] else ""
    text = Text(f"{report['runs']:,} Dagster {'run' if report['runs'] == 1 else 'runs'} in {report['seconds']:,.1f} s")
    text.append(f"{rate}.{f' From send to decision: {known}.' if known else ''}\n")
    text.append(
        f"All messages of the queue: {report['sent']:,} sent = {report['completed']:,} completed"
        f" + {report['dead_lettered']:,} dead-lettered + {report['waiting']:,} waiting;\n{report['lost']:,} lost,"
        f" {report['duplicates']:,} processed twice. The counts add up: "
    )
    return text.append(*(("yes", "bold green") if report["adds_up"] else ("NO", "bold red")))


def _next_lines(url: str | None) -> str:
    if url is None:
        return "Next: nexus up         the Dagster UI at http://127.0.0.1:3000\n      nexus executions  each decision"
    return (
        f"Next: {url}/runs    the runs of the job, each batch a step\n"
        f"      {url}/assets  the hourly aggregates, by partition\n"
        "      nexus down                    stop everything"
    )
