"""The daily report, from the hourly tables: markdown for the UI, and a self-contained HTML file."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nexus_pipeline.analytics.charts import chart_latency, chart_rsi, chart_signals
from nexus_pipeline.analytics.hours import DAY
from nexus_pipeline.analytics.previews import markdown_table
from nexus_pipeline.analytics.tables import DAILY_REPORT
from nexus_pipeline.analytics.windows import replacing
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries, rows_as

Row = Mapping[str, Any]
"""An hour, or a symbol and strategy: a value for each head of its table."""

_MAX_SYMBOLS = 20
_NOT_SHOWN_BY_HOUR = {"min_rsi", "max_rsi", "retried", "dead_lettered"}
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
        hours: list[Row] = rows_as(dict, connection, named.day_by_hour, **bounds)
        symbols: list[Row] = rows_as(dict, connection, named.day_by_symbol, **bounds)
        report = _report(day, hours, symbols)
        named.record_report(connection, day=day)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when complete: a reader sees the old page or the new one, never half of one.
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(report.html, encoding="utf-8")
        unfinished.replace(path)
    return report


def _report(day: datetime, hours: Sequence[Row], symbols: Sequence[Row]) -> Report:
    numbers = _totals(hours)
    title = f"Signals of {day:%A, %d %B %Y} (UTC)"
    tables = [("By symbol", *_symbol_table(symbols)), ("By hour", *_hour_table(hours))]
    figures = [(label, _shown(numbers[name])) for name, (label, _) in _TOTALS.items() if name in numbers]
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


# The totals of a day: the label, and the column of its hours.
_TOTALS = {
    "executions": ("executions", "executions"),
    "buy_signals": ("BUY", "BUY"),
    "sell_signals": ("SELL", "SELL"),
    "hold_signals": ("HOLD", "HOLD"),
    "failed": ("failed", "failed"),
    "processed": ("processed", "processed"),
    "retried": ("retried", "retried"),
    "dead_lettered": ("dead-lettered", "dead_lettered"),
    "worst_p95_processing_ms": ("worst p95, ms", "p95 ms"),
}


def _totals(hours: Sequence[Row]) -> dict[str, int | float]:
    totals: dict[str, int | float] = {}
    for name, (_, column) in _TOTALS.items():
        values = [hour[column] for hour in hours if hour[column] is not None]
        if name != "worst_p95_processing_ms":
            totals[name] = int(sum(values))
        elif values:
            totals[name] = float(max(values))
    return totals


def _symbol_table(symbols: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    heads = list(symbols[0]) if symbols else []
    rows = [[_shown(value) for value in symbol.values()] for symbol in symbols[:_MAX_SYMBOLS]]
    if len(symbols) > _MAX_SYMBOLS:
        rows.append([f"and {len(symbols) - _MAX_SYMBOLS} more", *[""] * (len(heads) - 1)])
    return heads, rows


def _hour_table(hours: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    heads = [name for name in hours[0] if name not in _NOT_SHOWN_BY_HOUR]
    busy = [hour for hour in hours if hour["executions"] or hour["processed"]]
    return heads, [[_shown(hour[name]) for name in heads] for hour in busy]


def _shown(value: Any) -> str:
    """A value as text: hours as 10:00, whole numbers with separators, others to six digits, as prices are quoted."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%H:%M}"
    number = float(value)
    if number == int(number):
        return f"{int(number):,}"
    places = max(1, 6 - len(str(abs(int(number)))))
    return f"{number:,.{places}f}".rstrip("0").rstrip(".")


def _page(
    title: str,
    figures: Sequence[tuple[str, str]],
    hours: Sequence[Row],
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
