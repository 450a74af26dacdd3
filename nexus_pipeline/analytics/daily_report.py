"""The daily report, from the hourly tables: markdown for the UI, and a self-contained HTML file."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nexus_pipeline.analytics.charts import HourOfDay, chart_latency, chart_rsi, chart_signals
from nexus_pipeline.analytics.hours import DAY
from nexus_pipeline.analytics.previews import markdown_table
from nexus_pipeline.analytics.tables import DAILY_REPORT
from nexus_pipeline.analytics.windows import replacing
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries, rows_as

_MAX_SYMBOLS = 20
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.figures { display: flex; flex-wrap: wrap; gap: .75rem; padding: 0; list-style: none; }
.figures li { border: 1px solid #8884; border-radius: .4rem; padding: .5rem .9rem; }
.figures b { display: block; font-size: 1.3rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #8883; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1rem 0; background: #fff; border-radius: .4rem; padding: .5rem; }
figure svg { width: 100%; height: auto; display: block; }
"""


@dataclass(frozen=True)
class SymbolOfDay:
    """A symbol and strategy of the report."""

    symbol: str
    strategy: str
    executions: int
    buy: int
    sell: int
    hold: int
    strong: int
    failed: int
    avg_rsi: float | None
    first_price: float | None
    last_price: float | None
    volume: float


@dataclass(frozen=True)
class Report:
    """A day's page, and its totals by name."""

    markdown: str
    html: str
    numbers: dict[str, int | float]


def report_file(home: Path, day: datetime) -> Path:
    """The file of the day's page."""
    return home / "reports" / f"{day:%Y-%m-%d}.html"


def write_report(connection: Connection, home: Path, day: datetime) -> Report:
    """Writes the page of a day (its start, UTC) from the hourly tables, and takes the day's stale marks.

    Raises:
        UnavailableError: matplotlib is not installed.
        OSError: the file cannot be written.
        psycopg.Error: the server failed. After each of these errors the day is as stale as it was.
    """
    bounds = {"start": day, "before": day + DAY}
    path = report_file(home, day)
    named = queries("daily_report")
    with replacing(connection, DAILY_REPORT) as rebuilding:
        rebuilding.take_marks(connection, asset=DAILY_REPORT, **bounds)
        hours = rows_as(HourOfDay, connection, named.day_by_hour, **bounds)
        symbols = rows_as(SymbolOfDay, connection, named.day_by_symbol, **bounds)
        report = _report(day, hours, symbols)
        named.record_report(connection, day=day)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when complete: a reader sees the old page or the new one, never half of one.
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(report.html, encoding="utf-8")
        unfinished.replace(path)
    return report


def _report(day: datetime, hours: Sequence[HourOfDay], symbols: Sequence[SymbolOfDay]) -> Report:
    numbers = _totals(hours)
    title = f"Signals of {day:%A, %d %B %Y} (UTC)"
    tables = [
        ("By symbol", *_symbol_table(symbols)),
        ("By hour", *_hour_table(hours)),
    ]
    figures = [(label, _shown(numbers[name])) for name, label in _LABELS.items() if name in numbers]
    markdown = "\n\n".join(
        [
            f"### {title}",
            markdown_table([label for label, _ in figures], [[text for _, text in figures]]),
            *(f"**{name}**\n\n{markdown_table(heads, rows)}" for name, heads, rows in tables if rows),
        ]
        if numbers["executions"] or numbers["processed"]
        else [f"### {title}", "No executions."]
    )
    return Report(markdown, _page(title, figures, hours, tables, numbers), numbers)


_LABELS = {
    "executions": "executions",
    "buy_signals": "BUY",
    "sell_signals": "SELL",
    "hold_signals": "HOLD",
    "failed": "failed",
    "processed": "processed",
    "retried": "retried",
    "dead_lettered": "dead-lettered",
    "worst_p95_processing_ms": "worst p95, ms",
}


def _totals(hours: Sequence[HourOfDay]) -> dict[str, int | float]:
    worst = max((hour.p95_ms for hour in hours if hour.p95_ms is not None), default=None)
    return {
        "executions": sum(int(hour.executions) for hour in hours),
        "buy_signals": sum(int(hour.buy) for hour in hours),
        "sell_signals": sum(int(hour.sell) for hour in hours),
        "hold_signals": sum(int(hour.hold) for hour in hours),
        "failed": sum(int(hour.failed) for hour in hours),
        "processed": sum(int(hour.processed) for hour in hours),
        "retried": sum(int(hour.retried) for hour in hours),
        "dead_lettered": sum(int(hour.dead_lettered) for hour in hours),
        **({} if worst is None else {"worst_p95_processing_ms": float(worst)}),
    }


def _symbol_table(symbols: Sequence[SymbolOfDay]) -> tuple[list[str], list[list[str]]]:
    heads = [
        "symbol",
        "strategy",
        "executions",
        "BUY",
        "SELL",
        "HOLD",
        "strong",
        "failed",
        "avg RSI",
        "first price",
        "last price",
        "volume",
    ]
    rows = [[_shown(value) for value in astuple(row)] for row in symbols[:_MAX_SYMBOLS]]
    if len(symbols) > _MAX_SYMBOLS:
        rows.append([f"and {len(symbols) - _MAX_SYMBOLS} more", *[""] * (len(heads) - 1)])
    return heads, rows


def _hour_table(hours: Sequence[HourOfDay]) -> tuple[list[str], list[list[str]]]:
    heads = [
        "hour",
        "executions",
        "BUY",
        "SELL",
        "HOLD",
        "failed",
        "avg RSI",
        "processed",
        "per s",
        "p50 ms",
        "p95 ms",
        "wait p95 ms",
    ]
    rows = [
        [f"{hour.hour:%H:%M}"]
        + [
            _shown(value)
            for value in (hour.executions, hour.buy, hour.sell, hour.hold, hour.failed, hour.avg_rsi, hour.processed)
        ]
        + [_shown(value) for value in (hour.throughput_per_s, hour.p50_ms, hour.p95_ms, hour.p95_wait_ms)]
        for hour in hours
        if hour.executions or hour.processed
    ]
    return heads, rows


def _shown(value: Any) -> str:
    """A value as text: whole numbers with separators, others to six digits, as prices are quoted."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    number = float(value)
    if number == int(number):
        return f"{int(number):,}"
    places = max(1, 6 - len(str(abs(int(number)))))
    return f"{number:,.{places}f}".rstrip("0").rstrip(".")


def _page(
    title: str,
    figures: Sequence[tuple[str, str]],
    hours: Sequence[HourOfDay],
    tables: Sequence[tuple[str, list[str], list[list[str]]]],
    numbers: dict[str, int | float],
) -> str:
    parts = [f"<h1>{html.escape(title)}</h1>"]
    if not numbers["executions"] and not numbers["processed"]:
        parts.append("<p>No executions.</p>")
    else:
        items = "".join(f"<li><b>{html.escape(text)}</b>{html.escape(label)}</li>" for label, text in figures)
        parts.append(f'<ul class="figures">{items}</ul>')
        charts = (
            ("Signals by event hour", chart_signals(hours)),
            ("RSI by event hour: average, lowest and highest", chart_rsi(hours)),
            ("Processing time by processing hour", chart_latency(hours)),
        )
        parts += [f"<h2>{name}</h2><figure>{svg}</figure>" for name, svg in charts]
        parts += [f"<h2>{name}</h2>{_html_table(heads, rows)}" for name, heads, rows in tables if rows]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
