"""Replacing a window of hours: the right rows, only those of the window, by index, all or nothing, one at a time."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest

from nexus_pipeline.analytics.hours import HOUR, Window
from nexus_pipeline.analytics.previews import numbers_of, preview_of
from nexus_pipeline.analytics.tables import HOURLY_METRICS, METRICS, SIGNALS, TABLES, HourlyTable
from nexus_pipeline.analytics.windows import replace_window, summarize
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries
from nexus_pipeline_tests.support.analytics import (
    ALL,
    differences,
    execution,
    hour,
    hours_in,
    rebuild_all,
    stale,
    window,
)
from nexus_pipeline_tests.support.commands import PROJECT
from nexus_pipeline_tests.support.queues import one

by_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
YEAR = (PROJECT / "benchmarks" / "year_of_executions.sql").read_text()


def load(connection: Connection, total: int, start: str = "2025-01-01T00:00:00Z", hours: int = 8760) -> None:
    connection.execute(YEAR, {"start": start, "hours": hours, "total": total, "first": 0, "last": total - 1})
    connection.execute("ANALYZE workflow_executions")


@by_table
def test_a_window_over_all_executions_has_the_expected_rows(connection: Connection, table: HourlyTable) -> None:
    load(connection, 5_000, hours=200)
    done = replace_window(connection, table, ALL)
    assert done.rows > 100
    assert differences(connection, table) == []


@by_table
def test_hour_by_hour_gives_the_same_rows_as_one_range_and_twice_the_same_as_once(
    connection: Connection, table: HourlyTable
) -> None:
    load(connection, 2_000, "2026-01-10T00:00:00Z", hours=12)
    replace_window(connection, table, ALL)
    at_once = connection.execute(f"SELECT * FROM {table.name} ORDER BY 1, 2, 3").fetchall()
    connection.execute(f"DELETE FROM {table.name}")
    for start in hours_in(window("2026-01-06T00", 24 * 6)):
        for _ in range(2):
            replace_window(connection, table, Window(start, start + HOUR))
    assert connection.execute(f"SELECT * FROM {table.name} ORDER BY 1, 2, 3").fetchall() == at_once


def test_a_window_leaves_every_other_hour_alone(connection: Connection) -> None:
    for text in ("2026-03-01T09", "2026-03-01T10", "2026-03-01T11"):
        execution(connection, hour(text), symbol="A")
        replace_window(connection, SIGNALS, window(text))
    connection.execute("UPDATE hourly_signal_aggregates SET executions = 77")
    replace_window(connection, SIGNALS, window("2026-03-01T10"))
    rows = connection.execute(
        "SELECT extract(hour FROM hour AT TIME ZONE 'UTC')::int, executions FROM hourly_signal_aggregates ORDER BY 1"
    ).fetchall()
    assert rows == [(9, 77), (10, 1), (11, 77)]


@by_table
def test_an_hour_without_executions_has_no_row_and_loses_those_it_had(
    connection: Connection, table: HourlyTable
) -> None:
    execution(connection, hour("2026-03-01T10"))
    assert replace_window(connection, table, window("2026-03-01T10")).rows > 0
    connection.execute("DELETE FROM workflow_executions")
    done = replace_window(connection, table, window("2026-03-01T08", 6))
    assert done.rows == 0
    assert one(connection, f"SELECT count(*) FROM {table.name}") == 0


def test_executions_without_a_symbol_or_strategy_count_as_none(
    connection: Connection,
) -> None:
    at = hour("2026-03-01T10")
    execution(connection, at)
    execution(connection, at, status="error")
    execution(connection, at, status="error", strategy="mine", symbol="A")
    execution(connection, at, status="error", strategy="x" * 300, symbol="B")
    execution(connection, at, status="error", strategy=7, symbol="C")
    replace_window(connection, SIGNALS, ALL)
    rows = connection.execute("SELECT symbol, strategy, completed, failed FROM hourly_signal_aggregates ORDER BY 1, 2")
    assert rows.fetchall() == [
        ("(none)", "(none)", 0, 1),
        ("(none)", "enhanced_rsi", 1, 0),
        ("A", "mine", 0, 1),
        ("B", "(none)", 0, 1),
        ("C", "(none)", 0, 1),
    ]
    assert differences(connection, SIGNALS) == []


@pytest.mark.parametrize("message", ["null", "7", "[1]", '"text"', '{"rsi": "x", "price": "dear", "volume": [1]}'])
def test_a_row_written_by_hand_does_not_stop_its_hour(connection: Connection, message: str) -> None:
    execution(connection, hour("2026-03-01T10"), price=5)
    for status in ("completed", "error", "retrying", "pending"):
        connection.execute(
            "INSERT INTO workflow_executions (workflow_type, input_data, output_data, status, created_at)"
            " VALUES ('other', %s, %s, %s, %s)",
            (message, message, status, hour("2026-03-01T10")),
        )
    for table in TABLES:
        replace_window(connection, table, window("2026-03-01T10"))
    assert one(connection, "SELECT sum(executions) FROM hourly_signal_aggregates") == 3
    assert one(connection, "SELECT min(first_price) FROM hourly_signal_aggregates") == 5
    assert one(connection, "SELECT total_executions FROM hourly_workflow_metrics") == 4
    assert one(connection, "SELECT count(*) FROM workflow_metrics") == 4


def test_first_and_last_price_follow_the_event_time_and_not_the_order_of_processing(connection: Connection) -> None:
    start = hour("2026-03-01T10")
    for minutes, price in ((30, 3), (10, 1), (50, 5), (50, 4), (10, 2)):
        execution(connection, start + 2 * HOUR, occurred=start + timedelta(minutes=minutes), price=price, symbol="A")
    execution(connection, start + 2 * HOUR, occurred=start + timedelta(minutes=5), symbol="A")
    replace_window(connection, SIGNALS, window("2026-03-01T10"))
    row = connection.execute("SELECT executions, first_price, last_price FROM hourly_signal_aggregates").fetchone()
    assert row == (6, 1, 5)


def test_the_hours_of_a_daylight_saving_change_and_of_a_leap_day_are_hours_of_utc(connection: Connection) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    twice = [datetime(2026, 10, 25, 2, 30, tzinfo=berlin, fold=fold) for fold in (0, 1)]
    leap = datetime(2028, 2, 29, 23, 30, tzinfo=UTC)
    connection.execute("SET TIME ZONE 'Asia/Kolkata'")  # half an hour off: no session's zone moves an hour
    for occurred in (*twice, leap):
        execution(connection, hour("2026-11-01T00"), occurred=occurred)
    replace_window(connection, SIGNALS, ALL)
    hours = connection.execute("SELECT hour AT TIME ZONE 'UTC', executions FROM hourly_signal_aggregates ORDER BY 1")
    assert hours.fetchall() == [
        (datetime(2026, 10, 25, 0), 1),
        (datetime(2026, 10, 25, 1), 1),
        (datetime(2028, 2, 29, 23), 1),
    ]


def test_one_hour_of_many_executions_is_read_by_index(connection: Connection) -> None:
    load(connection, 50_000)
    bounds = {"start": hour("2025-06-15T10"), "before": hour("2025-06-15T11")}
    for table in TABLES:
        plan = explained(connection, table.statements.insert.sql, bounds)
        nodes = [node for node in _nodes(plan) if node.get("Relation Name") == "workflow_executions"]
        assert nodes
        assert {node["Node Type"] for node in nodes} <= {"Index Scan", "Bitmap Heap Scan", "Index Only Scan"}, plan


def test_the_rows_and_the_marks_of_one_hour_are_deleted_by_index(connection: Connection) -> None:
    load(connection, 20_000)
    rebuild_all(connection)
    connection.execute("UPDATE workflow_executions SET updated_at = now()")  # a mark for every hour
    for name in (*(table.name for table in TABLES), "nexus.stale_marks"):
        connection.execute(f"ANALYZE {name}")
    bounds = {"start": hour("2025-06-15T10"), "before": hour("2025-06-15T11"), "asset": SIGNALS.name}
    named = queries("windows")
    for text in (named.take_marks.sql, *(table.compose(named.delete_rows).as_string(connection) for table in TABLES)):
        plan = explained(connection, text, bounds)
        assert "Seq Scan" not in {node["Node Type"] for node in _nodes(plan)}, plan


def explained(connection: Connection, statement: str, bounds: dict[str, object]) -> dict:
    row = connection.execute(f"EXPLAIN (FORMAT JSON) {statement}", bounds).fetchone()
    assert row is not None
    return row[0][0]["Plan"]


def _nodes(plan: dict) -> list[dict]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes(child))]


def test_two_at_once_over_overlapping_ranges_leave_the_right_rows(connection: Connection, conninfo: str) -> None:
    load(connection, 6_000, "2026-01-10T00:00:00Z", hours=48)
    failures: list[BaseException] = []
    start = threading.Barrier(4)

    def work(number: int) -> None:
        try:
            with psycopg.connect(conninfo, autocommit=True) as own:
                start.wait()
                for round_ in range(4):
                    for table in TABLES[number % 2 :: 2] if round_ else TABLES:
                        replace_window(own, table, window("2026-01-06T00", 24 * 6 + number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert failures == []
    for table in TABLES:
        assert differences(connection, table) == []


@by_table
def test_a_connection_lost_while_rebuilding_leaves_the_window_as_it_was(
    connection: Connection, conninfo: str, table: HourlyTable
) -> None:
    load(connection, 3_000, "2026-01-10T00:00:00Z", hours=10)
    replace_window(connection, table, ALL)
    before = connection.execute(f"SELECT * FROM {table.name} ORDER BY 1, 2, 3").fetchall()
    execution(connection, hour("2026-01-10T05"))
    marks = stale(connection, table.name)
    # A lock on the executions stops the work after it has deleted its rows; then its server process is terminated.
    with psycopg.connect(conninfo) as locker:
        locker.execute("LOCK TABLE workflow_executions IN ACCESS EXCLUSIVE MODE")
        broken: list[BaseException] = []

        def work() -> None:
            try:
                with psycopg.connect(conninfo, autocommit=True, application_name="victim") as own:
                    replace_window(own, table, ALL)
            except psycopg.Error as error:
                broken.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        for _ in range(200):
            waiting = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'victim'"
                " AND datname = current_database() AND wait_event_type = 'Lock'"
            ).fetchall()
            if waiting:
                break
            threading.Event().wait(0.05)
        thread.join(240)
    assert len(broken) == 1
    assert connection.execute(f"SELECT * FROM {table.name} ORDER BY 1, 2, 3").fetchall() == before
    assert stale(connection, table.name) == marks != set()
    replace_window(connection, table, ALL)
    assert differences(connection, table) == []


@by_table
def test_the_columns_of_the_record_are_those_of_the_table(connection: Connection, table: HourlyTable) -> None:
    rows = connection.execute(
        "SELECT column_name::text, data_type::text FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = %s ORDER BY ordinal_position",
        (table.name,),
    ).fetchall()
    assert rows == [(column.name, column.type) for column in table.columns]
    assert {table.hour_column, *table.key} <= {column.name for column in table.columns}


def test_the_database_has_the_same_hourly_tables_as_the_code(connection: Connection) -> None:
    rows = connection.execute("SELECT name, basis, hour_column FROM nexus.hourly_tables").fetchall()
    assert sorted(rows) == sorted((table.name, table.basis, table.hour_column) for table in TABLES)


@by_table
def test_the_key_of_the_record_is_unique_in_the_table(connection: Connection, table: HourlyTable) -> None:
    keys = connection.execute(
        "SELECT array_agg(a.attname::text ORDER BY a.attname) FROM pg_index i JOIN pg_attribute a"
        " ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) WHERE i.indrelid = %s::regclass AND i.indisunique"
        " GROUP BY i.indexrelid",
        (table.name,),
    ).fetchall()
    assert (sorted(table.key),) in keys


@by_table
def test_an_hour_without_executions_plots_as_zero_and_says_so(connection: Connection, table: HourlyTable) -> None:
    execution(connection, hour("2026-03-01T10"), symbol="A", price=1, volume=2)
    replace_window(connection, table, ALL)
    empty, full = summarize(connection, table, window("2026-03-01T09", 2))
    assert (empty["hour"], full["hour"]) == (hour("2026-03-01T09"), hour("2026-03-01T10"))
    assert (empty["rows"], empty["more"], preview_of(empty)) == (0, 0, "No executions.")
    counts = numbers_of(empty)
    assert counts
    assert set(counts.values()) == {0}
    assert {name for name, value in numbers_of(full).items() if isinstance(value, int)} == set(counts)
    assert len(numbers_of(full)) > len(counts)
    assert "| --- |" in preview_of(full)


def test_the_summary_of_an_hour_adds_its_rows_up(connection: Connection) -> None:
    for number in range(8):
        execution(connection, hour("2026-03-01T10"), rsi=number * 12, symbol=f"S{number}", price=number)
    execution(connection, hour("2026-03-01T10"), status="error", symbol="S0")
    replace_window(connection, SIGNALS, ALL)
    (summary,) = summarize(connection, SIGNALS, window("2026-03-01T10"))
    assert (summary["rows"], summary["executions"], summary["completed"], summary["failed"]) == (9, 9, 8, 1)
    assert (summary["buy_signals"], summary["sell_signals"], summary["hold_signals"]) == (3, 2, 3)
    assert float(summary["avg_rsi"]) == 42
    assert (len(summary["preview"]), summary["more"]) == (5, 4)


def test_the_hours_of_all_executions_are_stale_after_the_migration_was_rolled_back(conninfo: str) -> None:
    from nexus_pipeline.database.migrations import migrate, migration_names, rollback

    names = migration_names()
    analytics = next(place for place, name in enumerate(names) if name.endswith(".analytics"))
    with psycopg.connect(conninfo, autocommit=True) as own:
        execution(own, hour("2026-03-01T10"), occurred=hour("2026-02-01T10"))
        replace_window(own, METRICS, ALL)
        assert rollback(conninfo, names[analytics - 1]) == names[analytics:][::-1]
        assert migrate(conninfo).migrations == names[analytics:]
        assert stale(own, SIGNALS.name) == {hour("2026-02-01T10")}
        assert stale(own, METRICS.name) == stale(own, HOURLY_METRICS.name) == {hour("2026-03-01T10")}
