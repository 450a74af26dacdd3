"""Hours and windows of hours, in UTC: what may be asked for, and the clear error for what may not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nexus_pipeline.errors import UserError

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class WindowError(UserError):
    """A time or a range that cannot be worked on; the text is one line that says why."""


@dataclass(frozen=True)
class Window:
    """The hours from `start` (inclusive) to `before` (exclusive), both full hours in UTC."""

    start: datetime
    before: datetime

    def __post_init__(self) -> None:
        for moment in (self.start, self.before):
            if moment.utcoffset() != timedelta(0) or moment != hour_of(moment):
                raise WindowError(f"{moment.isoformat()} is no full hour in UTC")
        if self.before <= self.start:
            raise WindowError(
                f"the range ends at {self.before.isoformat()}, before it starts at {self.start.isoformat()}"
            )

    def __len__(self) -> int:
        """How many hours."""
        return round((self.before - self.start) / HOUR)

    def hours(self) -> Iterator[datetime]:
        """Each hour's start, oldest first."""
        return (self.start + number * HOUR for number in range(len(self)))


def hour_of(moment: datetime) -> datetime:
    """The start of the hour, in UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def parse_hour(text: str, name: str) -> datetime:
    """A full hour in UTC out of ISO 8601 text with an offset, as in 2026-03-29T00:00:00+00:00.

    The offset is asked for because a wall-clock hour is two hours, or none, where daylight-saving time changes.

    Args:
        text: what the user wrote.
        name: what the user calls it, for the error.

    Raises:
        WindowError: it is no time, has no offset, or is no full hour in UTC.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise WindowError(f"{name}: {text!r} is no ISO 8601 time, as in 2026-01-31T09:00:00Z") from None
    if moment.tzinfo is None:
        raise WindowError(f"{name}: {text!r} has no offset: write 2026-01-31T09:00:00Z, or with +02:00 and the like")
    if moment != hour_of(moment):
        raise WindowError(f"{name}: {text!r} is no full hour in UTC")
    return moment.astimezone(UTC)


def first_hour(partitions_start: datetime, now: datetime) -> datetime:
    """The first hour that has a partition: the first full hour from NEXUS_PARTITIONS_START on.

    Raises:
        WindowError: it lies in the future, so that there would be no partition at all.
    """
    first = hour_of(partitions_start + HOUR - timedelta(microseconds=1))
    if first > now:
        raise WindowError(f"NEXUS_PARTITIONS_START: {partitions_start.isoformat()} lies in the future")
    return first


def window_in_partitions(start: datetime, before: datetime, partitions_start: datetime, now: datetime) -> Window:
    """The window, when every hour of it has a partition: from the first up to and with the open hour.

    Raises:
        WindowError: it is turned round, empty, or reaches outside.
    """
    window = Window(start, before)
    first, end = first_hour(partitions_start, now), hour_of(now) + HOUR
    if start >= end:
        raise WindowError(f"the range starts at {start.isoformat()}, in the future")
    if start < first:
        raise WindowError(
            f"the range starts at {start.isoformat()}, before the first partition {first.isoformat()}"
            " (NEXUS_PARTITIONS_START)"
        )
    if before > end:
        raise WindowError(
            f"the range ends at {before.isoformat()}, after the open hour, which ends at {end.isoformat()}"
        )
    return window
