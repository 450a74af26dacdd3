"""The metadata of an hour: numbers whose names stay the same, so that they can be plotted, and a small table."""

from collections.abc import Sequence
from typing import Any

_NOT_PLOTTED = {"hour", "rows", "preview", "more"}


def numbers_of(hour: dict[str, Any]) -> dict[str, float | int]:
    """The numbers to plot of an hour of `summarize`."""
    return {
        name: value if isinstance(value, int) else float(value)
        for name, value in hour.items()
        if name not in _NOT_PLOTTED and value is not None
    }


def preview_of(hour: dict[str, Any]) -> str:
    """The preview of an hour of `summarize`, in markdown."""
    if not hour["preview"]:
        return "No executions."
    preview = markdown_table(list(hour["preview"][0]), [list(row.values()) for row in hour["preview"]])
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
