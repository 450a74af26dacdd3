"""The partitions of the assets: hours and days in UTC, including the open one."""

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


def partitions_from(
    start: datetime,
) -> tuple[dg.HourlyPartitionsDefinition, dg.DailyPartitionsDefinition, dg.WeeklyPartitionsDefinition]:
    """Hours, days and weeks (from Sunday), from those of the first full hour to the open ones.

    Raises:
        WindowError: the start is in the future.
    """
    first = first_hour(start, datetime.now(UTC))
    sunday = first - timedelta(days=first.isoweekday() % 7)
    return (
        dg.HourlyPartitionsDefinition(first, timezone="UTC", end_offset=1),
        dg.DailyPartitionsDefinition(first.strftime(DAY_FORMAT), timezone="UTC", end_offset=1),
        dg.WeeklyPartitionsDefinition(sunday.strftime(DAY_FORMAT), timezone="UTC", end_offset=1),
    )


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
    try:
        return datetime.strptime(key, HOUR_FORMAT if ":" in key else DAY_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise WindowError(f"no partition is named {key!r}: an hour is written 2026-01-31-09:00, in UTC") from None


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
    return Window(hour_of_key(first), hour_of_key(last) + (HOUR if ":" in last else DAY))


hourly, daily, weekly = partitions_from(partitions_start(load_settings()))
