"""The charts of a day, as SVG text, drawn by matplotlib."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from nexus_pipeline.errors import UnavailableError

_SIZE_INCHES = (9.0, 2.6)
# Distinguishable for people with red-green colour blindness.
_BUY, _SELL, _HOLD, _FAILED = "#0072b2", "#d55e00", "#bbbbbb", "#000000"


def chart_signals(hours: Sequence[Mapping[str, Any]]) -> str:
    """Stacked bars of BUY, SELL, HOLD and failures."""
    axes, bottom = _axes("executions"), [0] * len(hours)
    for name, colour in (("BUY", _BUY), ("SELL", _SELL), ("HOLD", _HOLD), ("failed", _FAILED)):
        values = [int(hour[name]) for hour in hours]
        axes.bar(range(len(hours)), values, bottom=bottom, color=colour, label=name, width=0.8)
        bottom = [low + value for low, value in zip(bottom, values, strict=True)]
    axes.yaxis.get_major_locator().set_params(integer=True)
    return _svg(axes)


def chart_rsi(hours: Sequence[Mapping[str, Any]]) -> str:
    """The average RSI, between the lowest and the highest, and the thresholds 30 and 70."""
    axes = _axes("RSI")
    (places, lowest), (_, highest) = _known(hours, "min_rsi"), _known(hours, "max_rsi")
    axes.vlines(places, lowest, highest, color=_HOLD, linewidth=6)
    axes.plot(*_known(hours, "avg RSI"), color=_BUY, marker="o", markersize=4, label="average")
    axes.axhline(30, color=_SELL, linewidth=0.8, linestyle="--")
    axes.axhline(70, color=_SELL, linewidth=0.8, linestyle="--", label="30 and 70")
    axes.set_ylim(0, 100)
    return _svg(axes)


def chart_latency(hours: Sequence[Mapping[str, Any]]) -> str:
    """p50 and p95 of the processing time."""
    axes = _axes("ms")
    for name, colour in (("p95", _SELL), ("p50", _BUY)):
        axes.plot(*_known(hours, f"{name} ms"), color=colour, marker="o", markersize=4, label=name)
    axes.set_ylim(bottom=0)
    return _svg(axes)


def _known(hours: Sequence[Mapping[str, Any]], column: str) -> tuple[list[int], list[float]]:
    """The hours that have a value in the column, and the values."""
    known = {place: float(hour[column]) for place, hour in enumerate(hours) if hour[column] is not None}
    return list(known), list(known.values())


def _axes(label: str) -> Any:
    """Axes over the 24 hours of a day, without pyplot, which keeps global state and may look for a display.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UnavailableError("charts need matplotlib: pip install 'nexus-pipeline[report]'") from None
    axes = Figure(figsize=_SIZE_INCHES, layout="constrained").add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.4, alpha=0.6)
    axes.set_axisbelow(True)
    axes.set_xlim(-0.6, 23.6)
    axes.set_xticks(range(24), [f"{hour:02d}" for hour in range(24)])
    axes.set_ylabel(label)
    return axes


def _svg(axes: Any) -> str:
    import matplotlib

    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    buffer = io.StringIO()
    # Text stays text, and the ids inside do not vary: the same day gives the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "nexus", "font.family": "sans-serif"}):
        axes.figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
