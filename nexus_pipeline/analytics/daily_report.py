"""The daily report, from the hourly tables: markdown for the UI, and a self-contained HTML file."""

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
_NOT_SHOWN_BY_HOUR = {"min_rsi", "max_rsi", "retried", "dead-lettered"}
_TOTALLED = ("executions", "BUY", "SELL", "HOLD", "failed", "processed", "retried", "dead-lettered")
# The names of totals in the metadata of the asset, where they are not the heads.
_NAMES = {"BUY": "buy_signals", "SELL": "sell_signals", "HOLD": "hold_signals", "dead-lettered": "dead_lettered"}
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
    title = f"Signals of {day:%A, %d %B %Y} (UTC)"
    totals = {head: int(sum(hour[head] for hour in hours)) for head in _TOTALLED}
    numbers: dict[str, int | float] = {_NAMES.get(head, head): total for head, total in totals.items()}
    busy = [hour for hour in hours if hour["executions"] or hour["processed"]]
    if not busy:
        return Report(f"### {title}\n\nNo executions.", _page(title, "<p>No executions.</p>"), numbers)
    figures = [(head, _shown(total)) for head, total in totals.items()]
    if times := [hour["p95 ms"] for hour in busy if hour["p95 ms"] is not None]:
        numbers["worst_p95_processing_ms"] = float(max(times))
        figures.append(("worst p95, ms", _shown(max(times))))
    tables = [("By hour", *_table(busy))]
    if symbols:
        heads, rows = _table(symbols[:_MAX_SYMBOLS])
        if len(symbols) > _MAX_SYMBOLS:
            rows.append([f"and {len(symbols) - _MAX_SYMBOLS} more", *[""] * (len(heads) - 1)])
        tables.insert(0, ("By symbol", heads, rows))
    items = "".join(f"<li><b>{html.escape(text)}</b>{html.escape(label)}</li>" for label, text in figures)
    charts = {
        "Signals by event hour": chart_signals(hours),
        "RSI by event hour: average, lowest and highest": chart_rsi(hours),
        "Processing time by processing hour": chart_latency(hours),
    }
    body = [f'<ul class="figures">{items}</ul>']
    body += [f"<h2>{name}</h2><figure>{svg}</figure>" for name, svg in charts.items()]
    body += [f"<h2>{name}</h2>{_html_table(heads, rows)}" for name, heads, rows in tables]
    markdown = [f"### {title}", markdown_table([label for label, _ in figures], [[text for _, text in figures]])]
    markdown += [f"**{name}**\n\n{markdown_table(heads, rows)}" for name, heads, rows in tables]
    return Report("\n\n".join(markdown), _page(title, "".join(body)), numbers)


def _table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    heads = [name for name in rows[0] if name not in _NOT_SHOWN_BY_HOUR]
    return heads, [[_shown(row[name]) for name in heads] for row in rows]


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


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body><h1>{html.escape(title)}</h1>{body}</body></html>\n"
    )


def _html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
