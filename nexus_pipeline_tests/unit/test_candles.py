"""What the candles must be, and which signal requests they must make."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_pipeline.demo.candles import (
    BAR,
    WEEK,
    Candle,
    check_series,
    eurusd_hourly,
    read_candles,
    requests,
    weeks_to,
)
from nexus_pipeline.errors import UserError
from nexus_pipeline.signals.indicators import MissingExtra
from nexus_pipeline.signals.request import json_text

START = datetime(2017, 5, 1, tzinfo=UTC)
HEADER = "Time,Open,High,Low,Close,Volume\n"


def candle(hour: int, close: float, volume: float = 1000.0) -> Candle:
    return Candle(START + hour * BAR, close, close, close, close, volume)


def series(closes: list[float]) -> list[Candle]:
    return [candle(hour, close) for hour, close in enumerate(closes)]


@pytest.fixture(scope="module")
def eurusd() -> list[Candle]:
    return eurusd_hourly()


def test_the_real_candles_are_all_there_in_order_with_the_gaps_of_the_market(eurusd: list[Candle]) -> None:
    assert len(eurusd) == 6225
    assert eurusd[0] == Candle(datetime(2017, 1, 1, 22, tzinfo=UTC), 1.05236, 1.05253, 1.05221, 1.05227, 143539993.3)
    assert eurusd[-1].closed_at == datetime(2017, 12, 29, 22, tzinfo=UTC)
    assert sum(after.opened_at > before.closed_at for before, after in pairwise(eurusd)) == 52  # 51 weekends, Christmas


def test_the_real_candles_are_in_utc(eurusd: list[Candle]) -> None:
    """The market opens on Sundays at 17:00 in New York, summer and winter."""
    openings = [
        after.opened_at.astimezone(ZoneInfo("America/New_York"))
        for before, after in pairwise(eurusd)
        if after.opened_at - before.opened_at > 40 * BAR
    ]
    at_five = [opening for opening in openings if (opening.weekday(), opening.hour) == (6, 17)]
    assert (len(at_five), len(openings)) == (50, 51)  # on Christmas Eve it opened an hour later


def test_the_package_is_read_without_importing_it() -> None:
    code = (
        "import sys; from nexus_pipeline.demo.candles import eurusd_hourly; eurusd_hourly();"
        "sys.exit('gym_anytrading' in sys.modules or 'pandas' in sys.modules or 'talib' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False, timeout=240).returncode == 0


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gym_anytrading", None)
    with pytest.raises(
        MissingExtra, match=r'gym-anytrading is not installed; run: pip install "nexus-pipeline\[demo\]"'
    ):
        eurusd_hourly()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the columns must be Time, Open, High, Low, Close, Volume"),
        ("Date,Close\n", "the columns must be"),
        (HEADER, "there are no candles"),
        (HEADER + "01.01.2017 22:00:00.000,1,1,1,1\n", "line 2: it has 5 values, not 6"),
        (HEADER + "2017-01-01,1,1,1,1,1\n", "line 2: time data"),
        (HEADER + "01.01.2017 22:00:00.000,1,1,1,x,1\n", "line 2: could not convert string to float"),
        (HEADER + "01.01.2017 22:00:00.000,1,1,1,nan,1\n", "line 2: candle .* every price"),
        (HEADER + "01.01.2017 22:00:00.000,1,1,1,1,1\n" * 2, "must not open before 2017-01-01 23:00"),
    ],
)
def test_a_file_that_holds_no_candles_is_refused_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "candles.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=said):
        read_candles(path)


def test_a_file_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"candles\.csv cannot be read"):
        read_candles(tmp_path / "candles.csv")


@pytest.mark.parametrize(
    "change",
    [
        {"high": 0.9},
        {"low": 1.1},
        {"open": 5.0},
        {"close": float("nan")},
        {"low": 0.0},
        {"high": float("inf")},
        {"volume": -1.0},
        {"volume": float("inf")},
        {"opened_at": datetime(2017, 5, 1)},
        {"opened_at": datetime(2017, 5, 1, tzinfo=timezone(BAR))},
    ],
)
def test_numbers_that_cannot_be_one_candle_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match="candle 2017-05-01"):
        replace(candle(0, 1.0), **change)  # type: ignore[arg-type]


def test_candles_out_of_order_doubled_or_overlapping_are_refused() -> None:
    half_past = replace(candle(1, 1.0), opened_at=START + BAR / 2)
    for bad in ([candle(1, 1.0), candle(0, 1.0)], [candle(0, 1.0)] * 2, [candle(0, 1.0), half_past], []):
        with pytest.raises(UserError):
            requests(bad, symbol="X", source="test", weeks=0)
    check_series([candle(0, 1.0), candle(1, 1.0), candle(4, 1.0)])  # a gap is allowed


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_whole_weeks_bring_the_last_close_to_the_7_days_before_now(now: datetime) -> None:
    last = candle(1, 1.0)
    age = now - (last.closed_at + weeks_to(last, now) * WEEK)
    assert timedelta(0) <= age < WEEK


def test_weeks_need_an_offset() -> None:
    with pytest.raises(TypeError, match="offset-naive"):
        weeks_to(candle(0, 1.0), datetime(2026, 1, 1))
    assert weeks_to(candle(0, 1.0), START + BAR) == 0


def test_every_real_bar_past_warm_up_makes_one_request(eurusd: list[Candle]) -> None:
    now = datetime(2026, 7, 15, 12, 34, tzinfo=UTC)
    weeks = weeks_to(eurusd[-1], now)
    made = requests(eurusd, symbol="EURUSD", source="demo", weeks=weeks)
    assert (made.warm_up, made.no_movement, len(made.requests)) == (149, 0, 6076)
    assert len({request["event_id"] for request in made.requests}) == len(made.requests)
    times = [datetime.fromisoformat(str(request["occurred_at"])) for request in made.requests]
    assert times == [bar.closed_at + weeks * WEEK for bar in eurusd[149:]]
    assert now - WEEK < times[-1] <= now
    for request, bar in zip(made.requests, eurusd[149:], strict=True):
        assert json_text(request) == json.dumps(request)
        assert (request["price"], request["volume"]) == (bar.close, bar.volume)


def test_a_request_says_what_it_was_made_from(eurusd: list[Candle]) -> None:
    made = requests(eurusd, symbol="EURUSD", source="demo", weeks=2)
    assert json_text(made.requests[0]) == (
        '{"rsi": 68.8241, "price": 1.0616, "volume": 10703009766,'
        ' "market_context": {"trend": "neutral", "bars_used": 150, "shifted_weeks": 2},'
        ' "symbol": "EURUSD", "source": "demo", "event_id": "EURUSD-1h-2017-01-10T03:00:00Z",'
        ' "occurred_at": "2017-01-24T04:00:00Z"}'
    )
    trends = {json.loads(json_text(request))["market_context"]["trend"] for request in made.requests}
    assert trends == {"bullish", "bearish", "neutral"}


def test_another_week_changes_the_times_but_not_the_events(eurusd: list[Candle]) -> None:
    one = requests(eurusd, symbol="EURUSD", source="demo", weeks=1)
    two = requests(eurusd, symbol="EURUSD", source="demo", weeks=2)
    assert [request["event_id"] for request in one.requests] == [request["event_id"] for request in two.requests]
    for sooner, later in zip(one.requests, two.requests, strict=True):
        assert datetime.fromisoformat(str(later["occurred_at"])) - WEEK == datetime.fromisoformat(
            str(sooner["occurred_at"])
        )


@given(
    st.lists(st.integers(9_990, 10_010).map(lambda ticks: ticks / 10_000), min_size=1, max_size=140),
    st.integers(0, 60),
    st.integers(-500, 500),
)
def test_every_bar_is_a_request_or_counted_as_none(closes: list[float], flat: int, weeks: int) -> None:
    candles = series([*closes, *[closes[-1]] * flat])
    made = requests(candles, symbol="X", source="test", weeks=weeks)
    assert len(candles) == made.warm_up + made.no_movement + len(made.requests)
    assert made.warm_up == min(149, len(candles))


def test_bars_without_movement_make_no_request_and_are_counted() -> None:
    moving = [1 + hour % 7 / 100 for hour in range(150)]
    made = requests(series([*moving, *[moving[-1]] * 20, 1.5]), symbol="X", source="test", weeks=0)
    assert (made.warm_up, made.no_movement, len(made.requests)) == (149, 7, 15)


@pytest.mark.parametrize(("symbol", "source"), [("", "test"), ("X" * 101, "test"), ("X", ""), ("X", "s" * 201)])
def test_a_name_that_does_not_fit_is_refused(symbol: str, source: str) -> None:
    with pytest.raises(ValueError, match="symbol and source"):
        requests([candle(0, 1.0)], symbol=symbol, source=source, weeks=0)
