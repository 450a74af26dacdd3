"""The demo's summary for people: tables and a chart out of the same figures that `--json` prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich import box
from rich.columns import Columns
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nexus_pipeline.analytics.report import sparkline

_SIGNALS = ("BUY", "SELL", "HOLD")
_STYLES = {"BUY": "green", "SELL": "red", "HOLD": "dim"}
# Points of the chart at most: its marks must stay apart.
_POINTS = 40
_CHART_COLUMNS = 110
_CHART_ROWS = 18
_PLOTEXT = 6


def render(report: Mapping[str, Any], console: Console) -> None:
    """Prints the summary of a demo: what was sent, what was decided, how fast, and the proof.

    `report` is the object that `nexus demo --json` prints.
    """
    console.print()
    for line in _input_lines(report):
        console.print(Text(line))
    console.print()
    console.print(_signals(report))
    console.print()
    tables = [made for made in (_by_month(report["by_day"]), _by_hour(report["by_hour"])) if made.row_count]
    console.print(Columns(tables, padding=(0, 6, 1, 0)))
    console.print()
    _chart(report["by_day"], console)
    if report.get("aggregates"):
        _aggregates(report["aggregates"], console)
    for line in _speed_lines(report):
        console.print(Text(line))
    console.print(proof(report))


def _aggregates(aggregates: Mapping[str, Any], console: Console) -> None:
    """What hourly_signal_aggregates says of these weeks: a bar a week for each signal."""
    weeks = aggregates["by_week"]
    console.print(
        Text(
            f"hourly_signal_aggregates, {len(weeks)} weeks: {aggregates['hours']:,} hours,"
            f" {aggregates['decisions']:,} decisions; a bar for each week"
        )
    )
    for signal in _SIGNALS:
        line = Text(f"{signal:>5} {sparkline([week[signal] for week in weeks])} ", style=_STYLES[signal])
        console.print(line.append(f"{sum(week[signal] for week in weeks):,}", style="default"))
    console.print()


def proof(report: Mapping[str, Any]) -> Text:
    """The line that says whether every message that was ever sent to the queue is accounted for."""
    text = Text(
        f"All messages of the queue: {report['sent']:,} sent = {report['completed']:,} completed"
        f" + {report['dead_lettered']:,} dead-lettered + {report['waiting']:,} waiting; {report['lost']:,} lost,"
        f" {report['duplicates']:,} processed twice. The counts add up: "
    )
    return text.append(*(("yes", "bold green") if report["adds_up"] else ("NO", "bold red")))


def _input_lines(report: Mapping[str, Any]) -> list[str]:
    weeks = report["shifted_weeks"]
    lines = [
        f"{report['bars']:,} EURUSD bars of one hour: {report['warm_up']:,} to warm up the RSI,"
        f" {report['no_movement']:,} without movement, {report['requests']:,} signal requests.",
        f"{report['sent_now']:,} sent now, {report['sent_before']:,} known already.",
    ]
    if report["sent_before"] and not report["sent_now"]:
        lines[-1] += " Nothing was added twice."
    if report["first_event"] is not None:
        lines.append(
            f"Event times run from {_moment(report['first_event'])} to {_moment(report['last_event'])}:"
            f" the real ones, moved by {weeks:,} whole weeks."
        )
    return lines


def _speed_lines(report: Mapping[str, Any]) -> list[str]:
    latency = report["latency_ms"]
    known = [f"{name} {latency[name]:,.0f} ms" for name in ("p50", "p95", "p99") if latency[name] is not None]
    runs = f"{report['runs']:,} Dagster {'run' if report['runs'] == 1 else 'runs'}"
    rate = f", {report['per_second']:,.0f} signals/s" if report["per_second"] else ""
    lines = [f"{runs} in {report['seconds']:,.1f} s{rate}."]
    if known:
        lines.append(f"From sending to decision, waiting in the queue included: {', '.join(known)}.")
    return lines


def _signals(report: Mapping[str, Any]) -> Table:
    signals, strong = report["signals"], report["strong"]
    total = sum(signals.values())
    table = _table("Signals", "signal", "count", "share", "of them strong")
    for name in _SIGNALS:
        share = f"{signals[name] / total:.1%}" if total else ""
        hard = f"{strong[f'STRONG_{name}']:,}" if f"STRONG_{name}" in strong else ""
        table.add_row(name, f"{signals[name]:,}", share, hard, style=_STYLES[name])
    return table


def _by_month(days: Sequence[Mapping[str, Any]]) -> Table:
    """The days, added up by month; the close is that of the month's last day."""
    months: dict[str, dict[str, Any]] = {}
    for day in days:
        month = months.setdefault(day["day"][:7], dict.fromkeys(_SIGNALS, 0))
        for name in _SIGNALS:
            month[name] += day[name]
        month["close"] = day["close"]
    table = _table("By month (UTC)", "month", *_SIGNALS, "close")
    for name, month in months.items():
        close = "" if month["close"] is None else f"{month['close']:.5f}"
        table.add_row(name, *(f"{month[signal]:,}" for signal in _SIGNALS), close)
    return table


def _by_hour(hours: Sequence[Mapping[str, Any]]) -> Table:
    """The hours of the day, twelve beside twelve."""
    table = _table("By hour of the day (UTC)", "hour", *_SIGNALS, "hour ", *(f"{name} " for name in _SIGNALS))
    half = math.ceil(len(hours) / 2)
    for index in range(half):
        row: list[str] = []
        for hour in (hours[index], hours[index + half] if index + half < len(hours) else None):
            row += [] if hour is None else [f"{hour['hour']:02}", *(f"{hour[name]:,}" for name in _SIGNALS)]
        table.add_row(*row)
    return table


def _table(title: str, first: str, *numbers: str) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False
    )
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="right", style=_STYLES.get(name.strip(), ""))
    return table


def _chart(days: Sequence[Mapping[str, Any]], console: Console) -> None:
    """The close, with a mark where a stretch of days had more BUY than SELL, or more SELL than BUY."""
    priced = [day for day in days if day["close"] is not None]
    if len(priced) < 2:
        return
    try:
        usable = int(version("plotext").split(".")[0]) >= _PLOTEXT
    except (PackageNotFoundError, ValueError):
        usable = False
    if not usable:
        console.print(Text(f'No chart: pip install "plotext>={_PLOTEXT}" draws one.'))
        return
    import plotext

    width = math.ceil(len(priced) / _POINTS)
    parts = [priced[start : start + width] for start in range(0, len(priced), width)]
    closes = [part[-1]["close"] for part in parts]
    figure = plotext.figure
    figure.clear()
    figure.theme("colorless" if console.color_system is None else "default")
    figure.plot_size(min(console.width, _CHART_COLUMNS), _CHART_ROWS)
    line = figure.signal(list(range(len(parts))), closes)
    line.lines()
    line.label("close")
    figure.draw(line)
    for name, other, color in (("BUY", "SELL", "green"), ("SELL", "BUY", "red")):
        at = [index for index, part in enumerate(parts) if _total(part, name) > _total(part, other)]
        if at:
            marks = figure.signal(at, [closes[index] for index in at], marker=plotext.marker(name[0], color))
            marks.label(f"more {name} than {other}")
            figure.draw(marks)
    ticks = sorted({round(place * (len(parts) - 1) / 4) for place in range(5)})
    figure.ruler("x").ticks(ticks, [parts[index][-1]["day"] for index in ticks])
    stretch = "day" if width == 1 else f"{width} days"
    figure.title(f"EURUSD close, one mark for each {stretch}")
    console.print(Text.from_ansi(figure.build().string(colorless=console.color_system is None)))
    figure.clear()


def _total(part: Sequence[Mapping[str, Any]], name: str) -> int:
    return sum(day[name] for day in part)


def _moment(text: str) -> str:
    return text[:16].replace("T", " ")
