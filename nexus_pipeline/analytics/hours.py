"""Hours and windows of hours, in UTC, and clear errors for those that cannot be used."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nexus_pipeline.errors import UserError

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class WindowError(UserError):
    """A time or a range of hours that cannot be used."""


@dataclass(frozen=True)
class Window:
    """The hours from `start` (inclusive) to `before` (exclusive), both full hours in UTC."""

    start: datetime
    before: datetime

    def __post_init__(self) -> None:
        for moment in (self.start, self.before):
            if moment.utcoffset() != timedelta(0) or moment != hour_of(moment):
                raise WindowError(f"{moment.isoformat()} is not a full hour in UTC")
        if self.before <= self.start:
            raise WindowError(
                f"the range ends at {self.before.isoformat()}, before it starts at {self.start.isoformat()}"
            )

    def __len__(self) -> int:
        """How many hours."""
        return round((self.before - self.start) / HOUR)


def hour_of(moment: datetime) -> datetime:
    """The start of the hour, in UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def parse_time(text: str, name: str) -> datetime:
    """The time, in UTC, of ISO 8601 text with an offset; `name` is what the user calls it, for the error.

    The offset is asked for because a wall-clock hour is two hours, or none, where daylight-saving time changes.

    Raises:
        WindowError: it is no time, has no offset, or lies before the year 1 in UTC.
    """
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise WindowError(f"{name}: {text!r} is not an ISO 8601 time such as 2026-01-31T09:00:00Z") from None
    raise WindowError(f"{name}: {text!r} has no offset: write 2026-01-31T09:00:00Z, or +02:00 instead of Z")


def parse_hour(text: str, name: str) -> datetime:
    """A full hour in UTC; text, name and errors as for `parse_time`."""
    moment = parse_time(text, name)
    if moment != hour_of(moment):
        raise WindowError(f"{name}: {text!r} is not a full hour in UTC")
    return moment


def first_hour(start: datetime, now: datetime) -> datetime:
    """The first hour that has a partition: the first full hour at or after the start.

    Raises:
        WindowError: it is in the future, so that there would be no partition.
    """
    first = hour_of(start + HOUR - timedelta(microseconds=1))
    if first > now:
        raise WindowError(f"NEXUS_PARTITIONS_START: {start.isoformat()} is in the future")
    return first


def require_partitions(window: Window, start: datetime, now: datetime) -> None:
    """Check that each hour of the window has a partition: from the first, by `partitions_start`, to the open one.

    Raises:
        WindowError: it reaches outside.
    """
    first, end = first_hour(start, now), hour_of(now) + HOUR
    starts, ends = f"the range starts at {window.start.isoformat()}", f"the range ends at {window.before.isoformat()}"
    if window.start >= end:
        raise WindowError(f"{starts}, in the future")
    if window.start < first:
        raise WindowError(f"{starts}, before the first partition {first.isoformat()} (NEXUS_PARTITIONS_START)")
    if window.before > end:
        raise WindowError(f"{ends}, after the open hour, which ends at {end.isoformat()}")
