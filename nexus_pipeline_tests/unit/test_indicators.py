"""Indicators equal the published formulas, and have no value where it would not be reliable."""

from __future__ import annotations

import math
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_pipeline.signals.indicators import MissingExtra, RsiPoint, rsi, trend, warm_up_bars

# The worked example of StockCharts' ChartSchool, RSI(14).
CHART_SCHOOL = [
    44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826, 45.8931,
    46.0328, 45.6140, 46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222, 45.6439, 46.2122, 46.2521,
    45.7137, 46.4515, 45.7835, 45.3548, 44.0288, 44.1783, 44.2181, 44.5672, 43.4205, 42.6628, 43.1314,
]  # fmt: skip
PRICES = st.floats(min_value=0.5, max_value=2.0)


def wilder(closes: list[float], period: int) -> list[float | None]:
    """Wilder's RSI as in the textbook; None before the first value or without movement."""
    changes = [after - before for before, after in pairwise(closes)]
    values: list[float | None] = [None] * min(period, len(closes))
    gain = loss = 0.0
    for index in range(period - 1, len(changes)):
        if index == period - 1:
            gain = sum(max(change, 0) for change in changes[:period]) / period
            loss = sum(max(-change, 0) for change in changes[:period]) / period
        else:
            gain = (gain * (period - 1) + max(changes[index], 0)) / period
            loss = (loss * (period - 1) + max(-changes[index], 0)) / period
        moved = any(changes[index - period + 1 : index + 1])
        values.append((100 - 100 / (1 + gain / loss) if loss else 100.0) if moved else None)
    return values


def values_of(points: list[RsiPoint | None]) -> list[float | None]:
    return [None if point is None else point.value for point in points]


def test_the_rsi_of_the_published_example_is_the_published_one() -> None:
    points = rsi(CHART_SCHOOL, warm_up=15)
    assert points[:14] == [None] * 14
    first, last = points[14], points[-1]
    assert first is not None
    assert last is not None
    assert first.value == pytest.approx(70.5328, abs=5e-5)
    assert last.value == pytest.approx(37.7730, abs=5e-5)
    assert (first.bars_used, last.bars_used) == (15, 33)


# Steps of a ten-thousandth: real prices come in ticks, and ticks bring flat stretches with them.
@given(st.lists(st.integers(5_000, 20_000).map(lambda ticks: ticks / 10_000), max_size=80), st.integers(2, 20))
def test_the_rsi_equals_the_textbook_formula(closes: list[float], period: int) -> None:
    ours = values_of(rsi(closes, period, warm_up=0))
    assert ours == [None if value is None else pytest.approx(value, abs=1e-7) for value in wilder(closes, period)]


@given(st.lists(PRICES, min_size=150, max_size=170), st.sampled_from([1e-200, 1e-15, 1e-6, 1e6, 8e307]))
def test_the_rsi_is_from_0_to_100_and_does_not_depend_on_the_unit(closes: list[float], unit: float) -> None:
    points = rsi(closes)
    scaled = rsi([close * unit for close in closes])
    for point, other in zip(points, scaled, strict=True):
        assert (point is None) == (other is None)
        if point is not None and other is not None and point.value is not None and other.value is not None:
            assert 0 <= point.value <= 100
            assert point.value == pytest.approx(other.value, abs=1e-6)


def test_bars_in_warm_up_have_no_rsi() -> None:
    closes = [1 + index % 7 / 100 for index in range(151)]
    points = rsi(closes)
    assert points[:149] == [None] * 149
    assert [point.bars_used for point in points[149:] if point] == [150, 151]
    assert rsi(closes[:149]) == [None] * 149
    assert rsi([]) == []


def test_a_longer_period_needs_a_longer_warm_up() -> None:
    assert [warm_up_bars(period) for period in (2, 14, 28)] == [150, 150, 300]
    assert rsi([1 + index % 7 / 100 for index in range(299)], 28) == [None] * 299


def test_a_price_that_never_moved_is_flagged_and_not_a_buy() -> None:
    points = rsi([1.5] * 160)
    assert points[149:] == [RsiPoint(None, bars) for bars in range(150, 161)]
    assert all(point is not None and point.value is None for point in points[149:])


def test_a_price_that_stopped_moving_is_flagged_from_the_14th_unmoved_bar_until_it_moves() -> None:
    moving = [1 + index % 7 / 100 for index in range(150)]
    points = rsi([*moving, *[moving[-1]] * 14, 2.0])
    assert [point.value is None for point in points[149:] if point] == [False] * 14 + [True, False]


def test_a_price_that_only_rises_has_100_and_one_that_only_falls_0() -> None:
    rising = [1 + index / 100 for index in range(150)]
    assert values_of(rsi(rising))[-1] == 100
    assert values_of(rsi(rising[::-1]))[-1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0])
@pytest.mark.parametrize("index", [0, 7, 159])
def test_a_close_that_is_not_a_price_is_refused_by_its_index(bad: float, index: int) -> None:
    closes = [1.0 + at % 3 for at in range(160)]
    closes[index] = bad
    for indicator in (rsi, trend):
        with pytest.raises(ValueError, match=f"close {index} is"):
            indicator(closes)


@pytest.mark.parametrize("period", [1, 0, -14])
def test_a_period_below_2_is_refused(period: int) -> None:
    with pytest.raises(ValueError, match="period must be 2 or more"):
        rsi(CHART_SCHOOL, period)


@pytest.mark.parametrize("package", ["talib", "numpy"])
def test_without_ta_lib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf'{package} is not installed; run: pip install "nexus-pipeline\[market\]"'):
        rsi([1.0 + at % 3 for at in range(160)])


def test_the_trend_follows_the_averages() -> None:
    rising = [1.01**index for index in range(80)]
    assert trend(rising) == ["neutral"] * 49 + ["bullish"] * 31
    assert trend(rising[::-1]) == ["neutral"] * 49 + ["bearish"] * 31
    assert trend([1.1] * 80) == ["neutral"] * 80
    assert trend([]) == []


def test_within_the_dead_band_there_is_no_trend() -> None:
    # Two bars at 1 and two at `last`: the averages of 2 and 4 bars are `last` and (1 + last) / 2.
    assert trend([1, 1, 1.0009, 1.0009], 2, 4)[-1] == "neutral"
    assert trend([1, 1, 1.0011, 1.0011], 2, 4)[-1] == "bullish"
    assert trend([1, 1, 0.9989, 0.9989], 2, 4)[-1] == "bearish"
    assert trend([1, 1, 1.0009, 1.0009], 2, 4, dead_band=0)[-1] == "bullish"


@given(st.lists(PRICES, max_size=120))
def test_the_trend_of_a_bar_never_depends_on_later_bars(closes: list[float]) -> None:
    whole = trend(closes)
    for end in range(0, len(closes) + 1, 10):
        # Scaled by 4, a power of two, so that the greatest price of the part cannot matter either.
        assert trend([4 * close for close in closes[:end]]) == whole[:end]


@pytest.mark.parametrize(
    ("fast", "slow", "band"), [(50, 20, 0.0), (20, 20, 0.0), (0, 20, 0.0), (2, 4, -1.0), (2, 4, math.nan)]
)
def test_averages_that_make_no_sense_are_refused(fast: int, slow: int, band: float) -> None:
    with pytest.raises(ValueError, match=r"average|dead_band"):
        trend([1.0] * 60, fast, slow, dead_band=band)
