"""Which hours are behind the executions, and in which runs they are made up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from nexus_pipeline.analytics.hours import DAY, HOUR, first_hour, hour_of
from nexus_pipeline.analytics.windows import DAILY_REPORT, HOURLY_METRICS, METRICS, SIGNALS
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries

HOURLY = (SIGNALS, HOURLY_METRICS, METRICS)
# Hours that one run makes up at most: a month. The newest come first, so nobody waits long for them.
LONGEST_RANGE = 31 * 24
# Separate ranges that are made up one by one. More are joined over the smallest gaps, whose hours are then made without
# need, which changes nothing: a run costs seconds, an hour in it milliseconds.
MOST_RANGES = 20


@dataclass(frozen=True)
class Stale:
    """Partitions of an asset that are behind."""

    partitions: int
    """Closed hours (days for the report) that are behind."""
    oldest: datetime | None
    newest: datetime | None
    before_first: int
    """Hours before NEXUS_PARTITIONS_START that executions fall into: nobody makes them, unless the start moves."""


@dataclass(frozen=True)
class Range:
    """Partitions next to each other for one run: from `first` to `last`, both included, of these assets."""

    first: datetime
    last: datetime
    assets: frozenset[str]


def stale_summary(connection: Connection, partitions_start: datetime, now: datetime) -> dict[str, Stale]:
    """How far each asset is behind, for `nexus status` and the checks. Cheap: it jumps through an index.

    Args:
        connection: any.
        partitions_start: NEXUS_PARTITIONS_START.
        now: the end of what is looked at: hours (days) that are still open are not behind.
    """
    summary = {}
    first = first_hour(partitions_start, now)
    for asset in (*HOURLY, DAILY_REPORT):
        length = DAY if asset == DAILY_REPORT else HOUR
        found = stale_partitions(connection, asset, first - length + HOUR, _closed(now, length))
        early = stale_partitions(connection, asset, datetime.min.replace(year=1900, tzinfo=now.tzinfo), first)
        summary[asset] = Stale(
            partitions=len(found),
            oldest=found[0] if found else None,
            newest=found[-1] if found else None,
            before_first=0 if asset == DAILY_REPORT else len(early),
        )
    return summary


def stale_partitions(connection: Connection, asset: str, since: datetime, before: datetime) -> list[datetime]:
    """The partitions of the asset that are behind, by their start in UTC, oldest first."""
    rows = queries("analytics").stale_partitions(connection, asset=asset, since=since, before=before)
    return [row[0] for row in rows]


def mark_closed_hours(connection: Connection) -> int:
    """Marks the hours that closed since the last call; returns how many.

    Once an hour, that is, and so it is where marks that say the same are made one each. An asset whose hours are just
    being made is left for the next time.
    """
    named = queries("analytics")
    closed = int(named.mark_closed_hours(connection))
    if closed:
        for asset in (*HOURLY, DAILY_REPORT):
            with connection.transaction():
                if named.try_replacing(connection, asset=asset):
                    named.compact_marks(connection, asset=asset)
    return closed


def ranges_to_make(
    stale: Mapping[str, Iterable[datetime]], length: timedelta = HOUR, most: int = MOST_RANGES
) -> list[Range]:
    """The ranges that make up stale partitions, newest first.

    Partitions next to each other that the same assets need are one range, so that each asset is made exactly where it
    is behind, as long as `most` ranges are enough.

    Args:
        stale: partition starts by asset.
        length: how long a partition is.
        most: ranges; when there are more, they are joined over the smallest gaps.
    """
    needed: dict[datetime, set[str]] = {}
    for asset, partitions in stale.items():
        for partition in partitions:
            needed.setdefault(partition, set()).add(asset)
    ranges: list[Range] = []
    for partition in sorted(needed):
        assets = frozenset(needed[partition])
        previous = ranges[-1] if ranges else None
        if previous and previous.assets == assets and previous.last + length == partition:
            ranges[-1] = Range(previous.first, partition, assets)
        else:
            ranges.append(Range(partition, partition, assets))
    joined = _join(ranges, most)
    return [part for whole in reversed(joined) for part in _split(whole, length)]


def _join(ranges: Sequence[Range], most: int) -> list[Range]:
    """The same ranges, those with the smallest gaps between them joined until `most` are left."""
    if len(ranges) <= most:
        return list(ranges)
    gaps = sorted(range(1, len(ranges)), key=lambda place: ranges[place].first - ranges[place - 1].last)
    kept = set(gaps[len(ranges) - most :])
    joined = [ranges[0]]
    for place in range(1, len(ranges)):
        if place in kept:
            joined.append(ranges[place])
        else:
            joined[-1] = Range(joined[-1].first, ranges[place].last, joined[-1].assets | ranges[place].assets)
    return joined


def _split(whole: Range, length: timedelta) -> list[Range]:
    """A range in parts of at most LONGEST_RANGE partitions, newest first."""
    parts = []
    last = whole.last
    while last >= whole.first:
        first = max(whole.first, last - (LONGEST_RANGE - 1) * length)
        parts.append(Range(first, last, whole.assets))
        last = first - length
    return parts


def _closed(now: datetime, length: timedelta) -> datetime:
    """Where the last closed partition ends."""
    return hour_of(now) if length == HOUR else hour_of(now).replace(hour=0)
