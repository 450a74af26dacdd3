"""Which hours are stale, and in which runs they are rebuilt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nexus_pipeline.analytics.hours import HOUR, hour_of
from nexus_pipeline.analytics.tables import DAILY_REPORT, TABLES
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries

MAX_PARTITIONS_PER_RANGE = 31 * 24
"""A month of hours. The newest ranges come first."""
MAX_RANGES = 20
"""Separate ranges that are rebuilt one by one. More of them are joined over the smallest gaps, and the hours in those
are rebuilt without need, which changes nothing: a run costs seconds, an hour in it milliseconds."""


@dataclass(frozen=True)
class Range:
    """Adjacent partitions for one run: from `first` to `last`, both included, of these assets."""

    first: datetime
    last: datetime
    assets: frozenset[str]


def stale_partitions(connection: Connection, asset: str, since: datetime, before: datetime) -> list[datetime]:
    """The stale partitions of the asset by their start in UTC, oldest first."""
    rows = queries("stale").stale_partitions(connection, asset=asset, since=since, before=before)
    return [start.astimezone(UTC) for (start,) in rows]


def mark_closed_hours(connection: Connection) -> int:
    """Marks the hours that closed since the last call; returns how many.

    That is once an hour, and therefore also the moment to reduce equal marks to one. An asset that is being rebuilt is
    left for the next time.
    """
    named = queries("stale")
    closed = int(named.mark_closed_hours(connection))
    if closed:
        for asset in (*(table.name for table in TABLES), DAILY_REPORT):
            with connection.transaction():
                if named.try_lock_rebuild(connection, asset=asset):
                    named.compact_marks(connection, asset=asset)
    return closed


def ranges_to_rebuild(
    stale: Mapping[str, Iterable[datetime]], length: timedelta = HOUR, max_ranges: int = MAX_RANGES
) -> list[Range]:
    """The ranges that cover stale partitions, newest first.

    Adjacent partitions that are stale in the same assets are one range, so that each asset is rebuilt exactly where it
    is stale, as long as `max_ranges` ranges are enough.

    Args:
        stale: partition starts by asset.
        length: of a partition.
        max_ranges: more ranges than this are joined over the smallest gaps.
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
    joined = _join(ranges, max_ranges)
    return [part for whole in reversed(joined) for part in _split(whole, length)]


def _join(ranges: Sequence[Range], max_ranges: int) -> list[Range]:
    """The same ranges, joined over the smallest gaps until `max_ranges` are left."""
    if len(ranges) <= max_ranges:
        return list(ranges)
    gaps = sorted(range(1, len(ranges)), key=lambda place: ranges[place].first - ranges[place - 1].last)
    kept = set(gaps[len(ranges) - max_ranges :])
    joined = [ranges[0]]
    for place in range(1, len(ranges)):
        if place in kept:
            joined.append(ranges[place])
        else:
            joined[-1] = Range(joined[-1].first, ranges[place].last, joined[-1].assets | ranges[place].assets)
    return joined


def _split(whole: Range, length: timedelta) -> list[Range]:
    """A range in parts of at most MAX_PARTITIONS_PER_RANGE partitions, newest first."""
    parts = []
    last = whole.last
    while last >= whole.first:
        first = max(whole.first, last - (MAX_PARTITIONS_PER_RANGE - 1) * length)
        parts.append(Range(first, last, whole.assets))
        last = first - length
    return parts


def day_of(moment: datetime) -> datetime:
    """The start of the day, in UTC."""
    return hour_of(moment).replace(hour=0)
