"""Replacing a window of hours: the right rows, only those of the window, by index, all or nothing, one at a time."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest

from nexus_pipeline.analytics.columns import HOURLY_METRIC_COLUMNS, METRIC_COLUMNS, SIGNAL_COLUMNS
from nexus_pipeline.analytics.hours import HOUR, Window
from nexus_pipeline.analytics.windows import HOURLY_METRICS, METRICS, SIGNALS, hours_of, replace_window
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.statements import queries
from nexus_pipeline_tests.support.analytics import ALL, differences, execution, hour, stale, window
from nexus_pipeline_tests.support.commands import PROJECT
from nexus_pipeline_tests.support.queues import one

ASSETS = [SIGNALS, HOURLY_METRICS, METRICS]
YEAR = (PROJECT / "benchmarks" / "year_of_executions.sql").read_text()


def load(connection: Connection, total: int, start: str = "2025-01-01T00:00:00Z", hours: int = 8760) -> None:
    connection.execute(YEAR, {"start": start, "hours": hours, "total": total, "first": 0, "last": total - 1})
    connection.execute("ANALYZE workflow_executions")


@pytest.mark.parametrize("asset", ASSETS)
def test_a_window_over_all_executions_equals_the_truth_row_by_row(connection: Connection, asset: str) -> None:
    load(connection, 5_000, hours=200)
    done = replace_window(connection, asset, ALL)
    assert done.rows > 100
    assert differences(connection, asset) == []


@pytest.mark.parametrize("asset", ASSETS)
def test_hour_by_hour_makes_the_same_rows_as_one_range_and_twice_the_same_as_once(
    connection: Connection, asset: str
) -> None:
    load(connection, 2_000, "2026-01-10T00:00:00Z", hours=12)
    replace_window(connection, asset, ALL)
    at_once = connection.execute(f"SELECT * FROM {asset} ORDER BY 1, 2, 3").fetchall()
    connection.execute(f"DELETE FROM {asset}")
    for start in window("2026-01-06T00", 24 * 6).hours():
        for _ in range(2):
            replace_window(connection, asset, Window(start, start + HOUR))
    assert connection.execute(f"SELECT * FROM {asset} ORDER BY 1, 2, 3").fetchall() == at_once


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


@pytest.mark.parametrize("asset", ASSETS)
def test_an_hour_without_executions_has_no_row_and_loses_those_it_had(connection: Connection, asset: str) -> None:
    execution(connection, hour("2026-03-01T10"))
    assert replace_window(connection, asset, window("2026-03-01T10")).rows > 0
    connection.execute("DELETE FROM workflow_executions")
    done = replace_window(connection, asset, window("2026-03-01T08", 6))
    assert done.rows == 0
    assert one(connection, f"SELECT count(*) FROM {asset}") == 0


def test_executions_without_symbol_and_failures_before_a_strategy_have_a_name_that_says_so(
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
def test_a_row_that_somebody_wrote_by_hand_does_not_stop_its_hour(connection: Connection, message: str) -> None:
    execution(connection, hour("2026-03-01T10"), price=5)
    for status in ("completed", "error", "retrying", "pending"):
        connection.execute(
            "INSERT INTO workflow_executions (workflow_type, input_data, output_data, status, created_at)"
            " VALUES ('other', %s, %s, %s, %s)",
            (message, message, status, hour("2026-03-01T10")),
        )
    for asset in ASSETS:
        replace_window(connection, asset, window("2026-03-01T10"))
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


@pytest.mark.parametrize("statement", ["insert_signals", "insert_hourly_metrics", "insert_metrics"])
def test_one_hour_of_a_large_table_is_read_by_index(connection: Connection, statement: str) -> None:
    load(connection, 50_000)
    bounds = {"start": hour("2025-06-15T10"), "before": hour("2025-06-15T11")}
    plan = explained(connection, statement, bounds)
    nodes = [node for node in _nodes(plan) if node.get("Relation Name") == "workflow_executions"]
    assert nodes
    assert {node["Node Type"] for node in nodes} <= {"Index Scan", "Bitmap Heap Scan", "Index Only Scan"}, plan


@pytest.mark.parametrize("statement", ["delete_signals", "delete_hourly_metrics", "delete_metrics", "take_marks"])
def test_the_rows_of_one_hour_are_deleted_by_index(connection: Connection, statement: str) -> None:
    load(connection, 20_000)
    for asset in ASSETS:
        replace_window(connection, asset, ALL)
    if statement == "take_marks":
        connection.execute("UPDATE workflow_executions SET updated_at = now()")  # a mark for every hour
    for table in (*ASSETS, "nexus.stale_marks"):
        connection.execute(f"ANALYZE {table}")
    bounds = {"start": hour("2025-06-15T10"), "before": hour("2025-06-15T11"), "asset": SIGNALS}
    plan = explained(connection, statement, bounds)
    assert "Seq Scan" not in {node["Node Type"] for node in _nodes(plan)}, plan


def explained(connection: Connection, statement: str, bounds: dict[str, object]) -> dict:
    text = getattr(queries("analytics"), statement).sql
    row = connection.execute(f"EXPLAIN (FORMAT JSON) {text}", bounds).fetchone()
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
                    for asset in ASSETS[number % 2 :: 2] if round_ else ASSETS:
                        replace_window(own, asset, window("2026-01-06T00", 24 * 6 + number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    for asset in ASSETS:
        assert differences(connection, asset) == []


@pytest.mark.parametrize("asset", ASSETS)
def test_a_connection_that_dies_in_mid_window_leaves_the_window_as_it_was(
    connection: Connection, conninfo: str, asset: str
) -> None:
    load(connection, 3_000, "2026-01-10T00:00:00Z", hours=10)
    replace_window(connection, asset, ALL)
    before = connection.execute(f"SELECT * FROM {asset} ORDER BY 1, 2, 3").fetchall()
    execution(connection, hour("2026-01-10T05"))
    marks = stale(connection, asset)
    # A lock on the executions holds the window's work up after it deleted its rows; then its server process is ended.
    with psycopg.connect(conninfo) as locker:
        locker.execute("LOCK TABLE workflow_executions IN ACCESS EXCLUSIVE MODE")
        broken: list[BaseException] = []

        def work() -> None:
            try:
                with psycopg.connect(conninfo, autocommit=True, application_name="victim") as own:
                    replace_window(own, asset, ALL)
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
        thread.join(30)
    assert len(broken) == 1
    assert connection.execute(f"SELECT * FROM {asset} ORDER BY 1, 2, 3").fetchall() == before
    assert stale(connection, asset) == marks != set()
    replace_window(connection, asset, ALL)
    assert differences(connection, asset) == []


@pytest.mark.parametrize(
    ("table", "columns"),
    [(SIGNALS, SIGNAL_COLUMNS), (HOURLY_METRICS, HOURLY_METRIC_COLUMNS), (METRICS, METRIC_COLUMNS)],
)
def test_the_columns_that_the_ui_shows_are_those_of_the_table(
    connection: Connection, table: str, columns: tuple[tuple[str, str, str], ...]
) -> None:
    rows = connection.execute(
        "SELECT column_name::text, data_type::text FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = %s ORDER BY ordinal_position",
        (table,),
    ).fetchall()
    assert rows == [(name, kind) for name, kind, _ in columns]


def test_what_a_materialisation_tells_of_an_hour_adds_its_rows_up(connection: Connection) -> None:
    for number in range(8):
        execution(connection, hour("2026-03-01T10"), rsi=number * 12, symbol=f"S{number}", price=number)
    execution(connection, hour("2026-03-01T10"), status="error", symbol="S0")
    replace_window(connection, SIGNALS, ALL)
    told = hours_of(connection, SIGNALS, window("2026-03-01T10"))[hour("2026-03-01T10")]
    assert (told["rows"], told["executions"], told["completed"], told["failed"]) == (9, 9, 8, 1)
    assert (told["buy_signals"], told["sell_signals"], told["hold_signals"]) == (3, 2, 3)
    assert float(told["avg_rsi"]) == 42
    assert len(told["top"]) == 5
    assert json.loads(json.dumps(told)) == told
    assert hours_of(connection, SIGNALS, window("2026-03-02T10")) == {}


def test_the_migration_goes_back_and_forth_and_marks_what_was_there(conninfo: str) -> None:
    from nexus_pipeline.database.migrations import migrate, rollback

    with psycopg.connect(conninfo, autocommit=True) as own:
        execution(own, hour("2026-03-01T10"), occurred=hour("2026-02-01T10"))
        replace_window(own, METRICS, ALL)
        assert rollback(conninfo, "0006.ledger") == ["0007.analytics"]
        assert migrate(conninfo) == ["0007.analytics"]
        assert stale(own, SIGNALS) == {hour("2026-02-01T10")}
        assert stale(own, METRICS) == stale(own, HOURLY_METRICS) == {hour("2026-03-01T10")}
