"""The partitions of the assets: hours and days in UTC, including the open one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from nexus_pipeline.analytics.hours import DAY, HOUR, Window, WindowError, first_hour, hour_of
from nexus_pipeline.analytics.start import partitions_start
from nexus_pipeline.settings import load_settings

HOUR_FORMAT = "%Y-%m-%d-%H:%M"
DAY_FORMAT = "%Y-%m-%d"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
PARTITION_TAG = "dagster/partition"


def hour_partitions(start: datetime) -> dg.HourlyPartitionsDefinition:
    """Hours, from the first full one to the open one.

    Raises:
        WindowError: the start is in the future.
    """
    return dg.HourlyPartitionsDefinition(first_hour(start, datetime.now(UTC)), timezone="UTC", end_offset=1)


def day_partitions(start: datetime) -> dg.DailyPartitionsDefinition:
    """Days, from that of the first hour to the open one.

    Raises:
        WindowError: the start is in the future.
    """
    first = first_hour(start, datetime.now(UTC))
    return dg.DailyPartitionsDefinition(first.strftime(DAY_FORMAT), timezone="UTC", end_offset=1)


def week_partitions(start: datetime) -> dg.WeeklyPartitionsDefinition:
    """Weeks, from the Sunday at or before the first hour: the runs of `hourly_aggregates_by_week`.

    Raises:
        WindowError: the start is in the future.
    """
    first = first_hour(start, datetime.now(UTC))
    sunday = first - timedelta(days=first.isoweekday() % 7)
    return dg.WeeklyPartitionsDefinition(sunday.strftime(DAY_FORMAT), timezone="UTC", end_offset=1)


def hour_key(hour: datetime) -> str:
    """The partition key of the hour of a moment: 2026-01-31-09:00."""
    return hour_of(hour).strftime(HOUR_FORMAT)


def day_key(day: datetime) -> str:
    """The partition key of a day: 2026-01-31."""
    return day.astimezone(UTC).strftime(DAY_FORMAT)


def hour_of_key(key: str) -> datetime:
    """The start of the hour or day with this key.

    Raises:
        WindowError: there is no such key.
    """
    for form in (HOUR_FORMAT, DAY_FORMAT):
        try:
            return datetime.strptime(key, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    raise WindowError(f"no partition is named {key!r}: an hour is written 2026-01-31-09:00, in UTC")


def tags_of(first: str, last: str) -> dict[str, str]:
    """The tags of a run of the partitions from `first` to `last`, both included."""
    return {PARTITION_TAG: first} if first == last else {RANGE_START_TAG: first, RANGE_END_TAG: last}


def window_of_tags(tags: Mapping[str, str]) -> Window | None:
    """The hours of a run of one partition or of a range; None for a run without a partition.

    Raises:
        WindowError: a tag is not a partition key.
    """
    first = tags.get(PARTITION_TAG) or tags.get(RANGE_START_TAG)
    last = tags.get(PARTITION_TAG) or tags.get(RANGE_END_TAG)
    if first is None or last is None:
        return None
    length = HOUR if len(last) == len("2026-01-31-09:00") else DAY
    return Window(hour_of_key(first), hour_of_key(last) + length)


def open_end(now: datetime) -> datetime:
    """The end of the open hour."""
    return hour_of(now) + HOUR


_START = partitions_start(load_settings())
hourly = hour_partitions(_START)
daily = day_partitions(_START)
weekly = week_partitions(_START)
