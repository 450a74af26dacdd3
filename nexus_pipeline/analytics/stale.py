"""Which hours are stale, and in which runs they are rebuilt."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

    Once an hour it marks some: the moment to reduce equal marks to one, except of an asset that is being rebuilt.
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
    is stale, unless there are more than `max_ranges`: then those with the smallest gaps between them are joined.
    """
    needed: dict[datetime, set[str]] = defaultdict(set)
    for asset, partitions in stale.items():
        for partition in partitions:
            needed[partition].add(asset)
    single = [Range(partition, partition, frozenset(needed[partition])) for partition in sorted(needed)]
    ranges = _join(single, lambda left, right: left.assets == right.assets and left.last + length == right.first)
    gaps = sorted(range(1, len(ranges)), key=lambda place: ranges[place].first - ranges[place - 1].last)
    separate = {ranges[place].first for place in gaps[max(0, len(ranges) - max_ranges) :]}
    joined = _join(ranges, lambda _, right: right.first not in separate)
    return [part for whole in reversed(joined) for part in _split(whole, length)]


def _join(ranges: Sequence[Range], together: Callable[[Range, Range], bool]) -> list[Range]:
    """The ranges, where each is joined with the one before it if the two belong together."""
    joined = list(ranges[:1])
    for right in ranges[1:]:
        left = joined[-1]
        if together(left, right):
            joined[-1] = Range(left.first, right.last, left.assets | right.assets)
        else:
            joined.append(right)
    return joined


def _split(whole: Range, length: timedelta) -> Iterator[Range]:
    """A range in parts of at most MAX_PARTITIONS_PER_RANGE partitions, newest first."""
    last = whole.last
    while last >= whole.first:
        first = max(whole.first, last - (MAX_PARTITIONS_PER_RANGE - 1) * length)
        yield Range(first, last, whole.assets)
        last = first - length


def day_of(moment: datetime) -> datetime:
    """The start of the day, in UTC."""
    return hour_of(moment).replace(hour=0)
