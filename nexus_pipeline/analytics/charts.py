"""The charts of a day, as SVG text, drawn by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from nexus_pipeline.errors import UnavailableError

_SIZE_INCHES = (9.0, 2.6)
# Distinguishable for people with red-green colour blindness.
_BUY, _SELL, _HOLD, _FAILED = "#0072b2", "#d55e00", "#bbbbbb", "#000000"


def chart_signals(hours: Sequence[Mapping[str, Any]]) -> str:
    """Stacked bars of BUY, SELL, HOLD and failures."""
    with _chart() as (axes, svg):
        bottom = [0] * len(hours)
        for name, colour in (("BUY", _BUY), ("SELL", _SELL), ("HOLD", _HOLD), ("failed", _FAILED)):
            values = [int(hour[name]) for hour in hours]
            axes.bar(range(len(hours)), values, bottom=bottom, color=colour, label=name, width=0.8)
            bottom = [low + value for low, value in zip(bottom, values, strict=True)]
        axes.set_ylabel("executions")
        axes.yaxis.get_major_locator().set_params(integer=True)
    return svg[0]


def chart_rsi(hours: Sequence[Mapping[str, Any]]) -> str:
    """The average RSI, between the lowest and the highest, and the thresholds 30 and 70."""
    with _chart() as (axes, svg):
        numbers = [
            (place, float(hour["avg RSI"]), float(hour["min_rsi"]), float(hour["max_rsi"]))
            for place, hour in enumerate(hours)
            if hour["avg RSI"] is not None
        ]
        places = [number[0] for number in numbers]
        axes.vlines(places, [n[2] for n in numbers], [n[3] for n in numbers], color=_HOLD, linewidth=6)
        axes.plot(places, [n[1] for n in numbers], color=_BUY, marker="o", markersize=4, label="average")
        axes.axhline(30, color=_SELL, linewidth=0.8, linestyle="--")
        axes.axhline(70, color=_SELL, linewidth=0.8, linestyle="--", label="30 and 70")
        axes.set_ylim(0, 100)
        axes.set_ylabel("RSI")
    return svg[0]


def chart_latency(hours: Sequence[Mapping[str, Any]]) -> str:
    """p50 and p95 of the processing time."""
    with _chart() as (axes, svg):
        for name, colour in (("p95", _SELL), ("p50", _BUY)):
            found = {place: hour[f"{name} ms"] for place, hour in enumerate(hours) if hour[f"{name} ms"] is not None}
            axes.plot(list(found), list(found.values()), color=colour, marker="o", markersize=4, label=name)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("ms")
    return svg[0]


@contextmanager
def _chart() -> Iterator[tuple[Any, list[str]]]:
    """Axes over the 24 hours of a day; after the block, the list holds the SVG.

    Figures are drawn without pyplot, which keeps global state and may look for a display.

    Raises:
        UnavailableError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise UnavailableError("charts need matplotlib: pip install 'nexus-pipeline[report]'") from None
    svg: list[str] = []
    # Text stays text, and the ids inside do not vary: the same day gives the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "nexus", "font.family": "sans-serif"}):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", linewidth=0.4, alpha=0.6)
        axes.set_axisbelow(True)
        axes.set_xlim(-0.6, 23.6)
        axes.set_xticks(range(24), [f"{hour:02d}" for hour in range(24)])
        yield axes, svg
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    svg.append(text[text.index("<svg") :])
