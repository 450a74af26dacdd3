"""Real candles, and the signal requests made from them.

The candles are those of EURUSD for each hour of the year 2017, read from the installed package gym-anytrading, of which
nothing is imported or copied.
"""

import csv
import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

from nexus_pipeline.errors import UserError
from nexus_pipeline.signals.indicators import MissingExtra, rsi, trend

BAR: Final = timedelta(hours=1)
WEEK: Final = timedelta(weeks=1)

_COLUMNS: Final = ["Time", "Open", "High", "Low", "Close", "Volume"]


@dataclass(frozen=True, slots=True)
class Candle:
    """The prices of one hour, and its volume in units of the base currency. UserError: they contradict each other."""

    opened_at: datetime  # start of the hour, UTC
    open: float
    high: float
    low: float
    close: float
    volume: float

    def __post_init__(self) -> None:
        prices = (self.open, self.high, self.low, self.close)
        rules = {
            "its time must be in UTC": self.opened_at.utcoffset() == timedelta(0),
            "every price must be a finite number above 0": all(0 < price < math.inf for price in prices),
            "open and close must lie between low and high": self.low == min(prices) and self.high == max(prices),
            "the volume must be a finite number, 0 or more": 0 <= self.volume < math.inf,
        }
        for rule, kept in rules.items():
            if not kept:
                raise UserError(f"candle {self.opened_at}: {rule}")

    @property
    def closed_at(self) -> datetime:
        """End of the hour, UTC."""
        return self.opened_at + BAR


@dataclass(frozen=True, slots=True)
class CandleRequests:
    """Signal requests, oldest first, and how many bars have none: too few before them for an RSI, or no movement."""

    requests: tuple[dict[str, object], ...]
    warm_up: int
    no_movement: int


def eurusd_hourly() -> list[Candle]:
    """The 6,225 hourly EURUSD candles (ask prices) of 2017, oldest first.

    The file does not name its time zone. It is UTC: the week begins on Sundays at 22:00, during daylight saving time in
    New York at 21:00, which is 17:00 in New York all year round.

    Raises:
        MissingExtra: gym-anytrading is not installed.
        UserError: its file is missing or has another form.
    """
    spec = importlib.util.find_spec("gym_anytrading")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("gym-anytrading", "demo")
    return read_candles(Path(spec.submodule_search_locations[0], "datasets", "data", "FOREX_EURUSD_1H_ASK.csv"))


def read_candles(path: Path) -> list[Candle]:
    """The candles of a CSV file; UserError: it cannot be read, a line is not a candle, or they are out of order."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            if next(rows, None) != _COLUMNS:
                raise UserError(f"{path.name}: the columns must be {', '.join(_COLUMNS)}")
            candles = [_candle(row, f"{path.name}, line {rows.line_num}") for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path.name} cannot be read: {error}") from error
    check_series(candles)
    return candles


def check_series(candles: Sequence[Candle]) -> None:
    """Refuse (UserError) no candles, or overlapping ones. Gaps are no error: an RSI counts bars, not hours."""
    if not candles:
        raise UserError("there are no candles")
    for before, after in pairwise(candles):
        if after.opened_at < before.closed_at:
            raise UserError(f"candle {after.opened_at}: it must not open before {before.closed_at}")


def weeks_to(last: Candle, now: datetime) -> int:
    """Whole weeks, so that days and hours stay, to add so that `last` closes in the 7 days up to `now`."""
    return (now - last.closed_at) // WEEK


def requests(candles: Sequence[Candle], *, symbol: str, source: str, weeks: int) -> CandleRequests:
    """One signal request for each closed candle that has an RSI(14), with its times moved by `weeks`.

    The event time is the close of the moved candle. The event id names the original candle, so that the same candle
    moved by another number of weeks is still the same event.

    Raises:
        ValueError: `symbol` does not have 1 to 100 characters, or `source` 1 to 200.
        MissingExtra: TA-Lib is not installed.
    """
    if not 1 <= len(symbol) <= 100 or not 1 <= len(source) <= 200:
        raise ValueError("symbol and source must have 1 to 100 and 1 to 200 characters")
    check_series(candles)
    closes = [candle.close for candle in candles]
    found: list[dict[str, object]] = []
    warm_up = no_movement = 0
    for candle, point, direction in zip(candles, rsi(closes), trend(closes), strict=True):
        if point is None:
            warm_up += 1
        elif point.value is None:
            no_movement += 1
        else:
            context = {"trend": direction, "bars_used": point.bars_used, "shifted_weeks": weeks}
            found.append(
                {
                    "rsi": round(point.value, 4),
                    "price": _plain(candle.close),
                    "volume": _plain(candle.volume),
                    "market_context": context,
                    "symbol": symbol,
                    "source": source,
                    "event_id": f"{symbol}-1h-{_iso(candle.opened_at)}",
                    "occurred_at": _iso(candle.closed_at + weeks * WEEK),
                }
            )
    return CandleRequests(tuple(found), warm_up, no_movement)


def _candle(row: list[str], place: str) -> Candle:
    if len(row) != len(_COLUMNS):
        raise UserError(f"{place}: it has {len(row)} values, not {len(_COLUMNS)}")
    try:
        opened_at = datetime.strptime(row[0], "%d.%m.%Y %H:%M:%S.%f").replace(tzinfo=UTC)
        return Candle(opened_at, *map(float, row[1:]))
    except (ValueError, UserError) as error:
        raise UserError(f"{place}: {error}") from error


def _iso(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def _plain(number: float) -> float | int:
    """The number in its shortest form in JSON: whole numbers without a decimal point."""
    return int(number) if number.is_integer() else number
