"""What a materialisation of an hour tells: numbers with names that stay, so that they plot, and a small table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nexus_pipeline.analytics.windows import HOURLY_METRICS, METRICS, SIGNALS

# The plots' names. Counts are 0 for an hour without executions; figures of nothing are left out.
COUNTS = {
    SIGNALS: (
        "executions",
        "completed",
        "failed",
        "buy_signals",
        "sell_signals",
        "hold_signals",
        "strong_buy_signals",
        "strong_sell_signals",
        "high_risk",
    ),
    HOURLY_METRICS: ("total_executions", "successful", "failed", "retried", "dead_lettered"),
    METRICS: ("executions",),
}
FIGURES = {
    SIGNALS: ("avg_rsi", "avg_confidence", "volume"),
    HOURLY_METRICS: (
        "success_rate",
        "throughput_per_s",
        "p50_processing_ms",
        "p95_processing_ms",
        "p99_processing_ms",
        "p50_wait_ms",
        "p95_wait_ms",
        "p99_wait_ms",
        "oldest_wait_ms",
    ),
    METRICS: ("avg_queue_wait_ms", "avg_processing_ms", "avg_end_to_end_ms", "avg_attempts"),
}
_HEADS = {
    SIGNALS: ("symbol", "strategy", "executions", "buy", "sell", "hold", "failed", "avg RSI", "last price"),
    HOURLY_METRICS: (
        "total",
        "successful",
        "retried",
        "dead-lettered",
        "rate",
        "per s",
        "p50",
        "p95",
        "p99",
        "wait p95",
    ),
    METRICS: ("metric", "unit", "rows", "average", "most"),
}


def numbers_of(asset: str, hour: dict[str, Any]) -> dict[str, float | int]:
    """The numbers of an hour, out of `hours_of`; an empty dict is an hour without executions."""
    numbers: dict[str, float | int] = {name: int(hour.get(name, 0)) for name in COUNTS[asset]}
    numbers.update({name: float(hour[name]) for name in FIGURES[asset] if hour.get(name) is not None})
    return numbers


def preview_of(asset: str, hour: dict[str, Any]) -> str:
    """A markdown table of an hour: for signals its five groups with most executions."""
    rows = hour.get("top")
    if not rows:
        return "No executions."
    table = markdown_table(_HEADS[asset], rows)
    more = hour["rows"] - len(rows)
    return f"{table}\n\nand {more} more" if asset == SIGNALS and more > 0 else table


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A markdown table; text from outside cannot break out of its cell."""
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = str(value).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
    return " ".join(text.split())[:60]
