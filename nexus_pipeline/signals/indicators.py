"""Indicators from closing prices: Wilder's RSI, and a trend from two moving averages.

There is no value where it would not be reliable: after too few bars, or when the price did not move.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from nexus_pipeline.errors import UnavailableError

WARM_UP_BARS: Final = 150
"""Bars before the first RSI(14): at 30 bars it can still be 7 points off the RSI of the full
history, at 50 two points, at 100 a twentieth of a point."""
DEAD_BAND: Final = 0.0005
"""Relative distance of the two averages below which there is no trend: 5 basis points."""

Trend = Literal["bullish", "bearish", "neutral"]


class MissingExtra(UnavailableError):
    """A package that an optional feature needs is not installed; the text says what to install."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f'{package} is not installed; run: pip install "nexus-pipeline[{extra}]"')


@dataclass(frozen=True, slots=True)
class RsiPoint:
    """The RSI at one bar."""

    value: float | None
    """0 to 100; None if the closes of the last `period` bars did not move, which is no signal."""
    bars_used: int
    """Bars from the first one to this one: all of them go into Wilder's average."""


def warm_up_bars(period: int) -> int:
    """Bars that an RSI of this period needs: the longer it is, the more slowly Wilder's average forgets."""
    return max(WARM_UP_BARS, math.ceil(WARM_UP_BARS * period / 14))


def rsi(closes: Sequence[float], period: int = 14, *, warm_up: int | None = None) -> list[RsiPoint | None]:
    """Relative strength index of each bar, by TA-Lib; None for the first `warm_up` - 1 bars.

    The formula is J. Welles Wilder's ("New Concepts in Technical Trading Systems", 1978): 100 - 100 / (1 +
    average gain / average loss), the averages starting as plain means of the first `period` changes and
    smoothed by 1 / `period` from there on.

    Where the last `period` changes were all zero, TA-Lib repeats the value before them, or returns 0 when nothing
    ever moved, which would be evaluated as a BUY: here such a point has no value.

    Args:
        closes: closing prices, oldest first, all finite and greater than 0.
        period: changes in the average, 2 or more.
        warm_up: bars needed for a value, unset: `warm_up_bars(period)`; never less than `period` + 1.

    Raises:
        ValueError: an argument is out of range (the text names the index of a close).
        MissingExtra: TA-Lib is not installed.
    """
    if period < 2:
        raise ValueError(f"period must be 2 or more, not {period}")
    scaled = _checked(closes)
    needed = max(period + 1, warm_up_bars(period) if warm_up is None else warm_up)
    if len(scaled) < needed:
        return [None] * len(scaled)
    points: list[RsiPoint | None] = []
    unmoved = 0
    for index, value in enumerate(_talib_rsi(scaled, period)):
        unmoved = unmoved + 1 if index and scaled[index] == scaled[index - 1] else 0
        bars = index + 1
        points.append(None if bars < needed else RsiPoint(None if unmoved >= period else value, bars))
    return points


def trend(closes: Sequence[float], fast: int = 20, slow: int = 50, *, dead_band: float = DEAD_BAND) -> list[Trend]:
    """The trend at each bar: the average of the last `fast` closes against that of the last `slow`.

    Both are simple moving averages. The trend is bullish where the fast one is above the slow one by more
    than `dead_band` of the slow one, bearish where it is below by more than that, neutral between: without
    the band, averages that lie on each other would change the trend with every tick. Bars before the slow
    average exists are neutral. `closes` are as for `rsi`; 1 <= `fast` < `slow` and `dead_band` >= 0.

    Raises:
        ValueError: an argument is out of range (the text names the index of a close).
    """
    if not 1 <= fast < slow:
        raise ValueError(f"the fast average needs fewer bars than the slow one, not {fast} and {slow}")
    if not dead_band >= 0:
        raise ValueError(f"dead_band must be 0 or more, not {dead_band}")
    scaled = _checked(closes)
    trends: list[Trend] = ["neutral"] * min(slow - 1, len(scaled))
    for end in range(slow, len(scaled) + 1):
        fast_average, slow_average = (math.fsum(scaled[end - bars : end]) / bars for bars in (fast, slow))
        distance = fast_average - slow_average
        if abs(distance) <= dead_band * slow_average:
            trends.append("neutral")
        else:
            trends.append("bullish" if distance > 0 else "bearish")
    return trends


def _checked(closes: Sequence[float]) -> list[float]:
    """The closes, checked and divided by a power of two, which changes no digit, so that the largest is near 1.

    Otherwise TA-Lib 0.6 treats movements below 1e-14 as zero and returns 0, and prices near the largest float overflow.
    """
    for index, close in enumerate(closes):
        if not (math.isfinite(close) and close > 0):
            raise ValueError(f"close {index} is {close}: every close must be a finite number above 0")
    _, exponent = math.frexp(max(closes, default=1.0))
    return [math.ldexp(close, -exponent) for close in closes]


def _talib_rsi(closes: list[float], period: int) -> list[float]:
    try:
        import numpy
        import talib
    except ImportError as error:
        raise MissingExtra(error.name or "ta-lib", "market") from error
    values: list[float] = talib.RSI(numpy.array(closes, dtype=numpy.float64), timeperiod=period).tolist()
    return values
