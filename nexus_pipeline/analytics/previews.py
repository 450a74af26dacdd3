"""The metadata of an hour: numbers whose names stay the same, so that they can be plotted, and a small table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nexus_pipeline.analytics.tables import HourlyTable


def numbers_of(table: HourlyTable, hour: dict[str, Any]) -> dict[str, float | int]:
    """The numbers to plot of an hour of `summarize`; an empty dict is an hour without executions."""
    numbers: dict[str, float | int] = {name: int(hour.get(name, 0)) for name in table.counts}
    numbers.update({name: float(hour[name]) for name in table.figures if hour.get(name) is not None})
    return numbers


def preview_of(table: HourlyTable, hour: dict[str, Any]) -> str:
    """A markdown table of an hour of `summarize`; an empty dict is an hour without executions."""
    if not hour:
        return "No executions."
    preview = markdown_table(table.preview_heads, hour["preview"])
    return f"{preview}\n\nand {hour['more']} more" if hour["more"] else preview


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
