"""Hours, windows, partitions, and the runs that rebuild stale hours: what holds without a database."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_pipeline.analytics.backfill import MAX_RUNS, parts_of
from nexus_pipeline.analytics.hours import (
    DAY,
    HOUR,
    Window,
    WindowError,
    first_hour,
    hour_of,
    parse_hour,
    require_partitions,
)
from nexus_pipeline.analytics.partitions import (
    hour_key,
    hour_of_key,
    partitions_from,
    tags_of,
    window_of_tags,
)
from nexus_pipeline.analytics.previews import markdown_table
from nexus_pipeline.analytics.report import report_lines, sparkline
from nexus_pipeline.analytics.stale import MAX_PARTITIONS_PER_RANGE, MAX_RANGES, Range, ranges_to_rebuild
from nexus_pipeline_tests.support.analytics import hours_in

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 22, 20, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("yesterday", "not an ISO 8601 time"),
        ("2026-02-30T00:00:00Z", "not an ISO 8601 time"),
        ("2027-02-29T00:00:00Z", "not an ISO 8601 time"),
        ("0001-01-01T00:00:00+05:00", "not an ISO 8601 time"),
        ("2026-01-31T09:00:00", "has no offset"),
        ("2026-01-31", "has no offset"),
        ("2026-01-31T09:30:00Z", "not a full hour in UTC"),
        ("2026-01-31T09:00:00+05:30", "not a full hour in UTC"),
    ],
)
def test_a_time_that_is_not_an_hour_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(WindowError, match=why) as caught:
        parse_hour(text, "--from")
    assert str(caught.value).startswith("--from: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2026-01-31T09:00:00Z", datetime(2026, 1, 31, 9, tzinfo=UTC)),
        ("2026-10-25T02:00:00+02:00", datetime(2026, 10, 25, 0, tzinfo=UTC)),  # the same wall-clock hour,
        ("2026-10-25T02:00:00+01:00", datetime(2026, 10, 25, 1, tzinfo=UTC)),  # twice
        ("2028-02-29T00:00:00-05:00", datetime(2028, 2, 29, 5, tzinfo=UTC)),
        ("2026-01-31T00:30:00+05:30", datetime(2026, 1, 30, 19, tzinfo=UTC)),
    ],
)
def test_a_time_with_offset_is_its_hour_in_utc(text: str, hour: datetime) -> None:
    assert parse_hour(text, "--from") == hour


@pytest.mark.parametrize(
    ("start", "before", "why"),
    [
        (START + 5 * HOUR, START + 2 * HOUR, "before it starts"),
        (START + 5 * HOUR, START + 5 * HOUR, "before it starts"),
        (hour_of(NOW) + HOUR, hour_of(NOW) + 2 * HOUR, "in the future"),
        (START - HOUR, START + HOUR, "before the first partition"),
        (START, hour_of(NOW) + 2 * HOUR, "after the open hour"),
    ],
)
def test_a_range_that_is_reversed_or_reaches_outside_is_refused(start: datetime, before: datetime, why: str) -> None:
    with pytest.raises(WindowError, match=why):
        require_partitions(Window(start, before), START, NOW)


def test_a_range_may_reach_from_the_first_hour_to_the_end_of_the_open_one() -> None:
    window = Window(START, hour_of(NOW) + HOUR)
    require_partitions(window, START, NOW)
    assert len(window) == 325 * 24 + 21


def test_a_start_in_the_future_is_refused_by_name() -> None:
    future = datetime.now(UTC) + DAY
    with pytest.raises(WindowError, match=r"NEXUS_PARTITIONS_START: .* is in the future"):
        partitions_from(future)


def test_a_start_within_an_hour_begins_with_the_next_full_hour() -> None:
    assert first_hour(START + timedelta(minutes=1), NOW) == START + HOUR
    assert first_hour(START, NOW) == START
    hours, days, _ = partitions_from(START + timedelta(minutes=1))
    assert (hours.get_first_partition_key(), days.get_first_partition_key()) == ("2026-01-01-01:00", "2026-01-01")


def test_the_open_hour_has_a_partition_and_the_next_has_none() -> None:
    open_hour = hour_of(datetime.now(UTC))
    partitions, _, _ = partitions_from(START)
    assert partitions.has_partition_key(hour_key(open_hour))
    assert not partitions.has_partition_key(hour_key(open_hour + 2 * HOUR))
    assert not partitions.has_partition_key(hour_key(START - HOUR))


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2024-02-29"])
def test_every_day_has_24_partitions_also_where_the_clocks_change_and_on_a_leap_day(day: str) -> None:
    partitions, _, _ = partitions_from(datetime(2024, 1, 1, tzinfo=UTC))
    keys = [key for key in partitions.get_partition_keys() if key.startswith(day)]
    assert keys == [f"{day}-{number:02d}:00" for number in range(24)]


def test_a_key_and_its_hour_name_each_other() -> None:
    assert hour_of_key(hour_key(hour_of(NOW))) == hour_of(NOW)
    with pytest.raises(WindowError, match="no partition is named '2026-01-01 00:00'"):
        hour_of_key("2026-01-01 00:00")
    with pytest.raises(WindowError, match="not a full hour"):
        window_of_tags(tags_of("2026-01-01-00:30", "2026-01-01-00:30"))


def test_the_tags_of_a_run_name_its_window() -> None:
    assert window_of_tags(tags_of("2026-01-01-00:00", "2026-01-01-00:00")) == Window(START, START + HOUR)
    assert window_of_tags(tags_of("2026-01-01-00:00", "2026-01-02-23:00")) == Window(START, START + 2 * DAY)
    assert window_of_tags(tags_of("2026-01-01", "2026-01-02")) == Window(START, START + 2 * DAY)
    assert window_of_tags({}) is None
    with pytest.raises(WindowError, match="before it starts"):
        window_of_tags(tags_of("2026-01-02-00:00", "2026-01-01-00:00"))


@pytest.mark.parametrize("hours", [1, 743, 744, 745, 8760, 8784, 100_000])
def test_a_backfill_of_any_length_is_at_most_60_runs_that_cover_each_hour_once(hours: int) -> None:
    window = Window(START, START + hours * HOUR)
    parts = list(parts_of(window))
    assert len(parts) <= MAX_RUNS == 60
    assert [hour for part in parts for hour in hours_in(part)] == hours_in(window)


def test_a_year_by_week_is_at_most_60_runs() -> None:
    _, _, weeks = partitions_from(datetime.now(UTC) - 365 * DAY)
    assert len(weeks.get_partition_keys()) <= 54


HOURS = st.sets(st.integers(0, 400), max_size=120)


@given(HOURS, HOURS, st.integers(1, 30))
def test_the_ranges_cover_every_stale_hour_newest_first_and_overlap_nowhere(
    first: set[int], second: set[int], most: int
) -> None:
    stale = {"a": {START + n * HOUR for n in first}, "b": {START + n * HOUR for n in second}}
    ranges = ranges_to_rebuild(stale, HOUR, most)
    assert len(ranges) <= most
    assert all(newer.first > older.last for newer, older in itertools.pairwise(ranges))
    for asset, hours in stale.items():
        covered = {
            found.first + n * HOUR
            for found in ranges
            if asset in found.assets
            for n in range(round((found.last - found.first) / HOUR) + 1)
        }
        assert hours <= covered
        if len(ranges) < most:
            assert hours == covered


def test_ranges_are_joined_over_the_smallest_gap() -> None:
    hours = [START + n * HOUR for n in (0, 1, 3, 10, 30)]
    assert [(r.first, r.last) for r in ranges_to_rebuild({"a": hours}, HOUR, 3)] == [
        (hours[4], hours[4]),
        (hours[3], hours[3]),
        (hours[0], hours[2]),
    ]


def test_a_weekend_is_one_range_and_a_year_is_a_few_the_newest_first() -> None:
    weekend = [START + n * HOUR for n in range(60)]
    assert ranges_to_rebuild({"a": weekend}) == [Range(weekend[0], weekend[-1], frozenset("a"))]
    year = ranges_to_rebuild({"a": [START + n * HOUR for n in range(8760)]})
    assert len(year) == 12
    assert len(year) < MAX_RANGES
    assert year[0].last == START + 8759 * HOUR
    assert max(round((r.last - r.first) / HOUR) + 1 for r in year) == MAX_PARTITIONS_PER_RANGE


def test_nothing_stale_is_no_range() -> None:
    assert ranges_to_rebuild({}) == ranges_to_rebuild({"a": []}) == []


def test_text_from_outside_cannot_break_a_markdown_table() -> None:
    table = markdown_table(("a", "b"), [("x|y\n| z |", "<b>`\\|"), (None, 7)])
    lines = table.splitlines()
    assert len(lines) == 4
    assert lines[2] == "| x\\|y \\| z \\| | &lt;b>'\\\\\\| |"
    assert lines[3] == "|  | 7 |"


@pytest.mark.parametrize(
    ("values", "bars"),
    [([], ""), ([0, 0], "  "), ([None, 1], " █"), ([1, 2, 4, 8], "▂▃▅█"), ([0, 0.001, 8], " ▁█")],
)
def test_a_sparkline_has_a_bar_for_each_value_and_none_for_nothing(values: list[float | None], bars: str) -> None:
    assert sparkline(values) == bars


def test_a_report_of_many_hours_is_as_wide_as_a_terminal_and_loses_nothing() -> None:
    counts = dict.fromkeys(("successful", "failed", "retried", "buy_signals", "sell_signals", "hold_signals"), 0)
    times = {"p95_processing_time": None}
    hours = [{"total_executions": 1, **counts, **times, "avg_processing_time": float(n)} for n in range(1000)]
    lines = report_lines(hours)
    assert {len(bars) for _, bars, _ in lines} == {91}
    assert lines[0] == ("executions", "█" * 91, "1,000")
    assert [total for name, _, total in lines if name == "average, ms"] == ["999.0"]
    assert [total for name, _, total in lines if name == "p95, ms"] == ["–"]
