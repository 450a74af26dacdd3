"""Late data: a change of an execution marks exactly its hours, and is never lost to a rebuild at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_pipeline.analytics.hours import HOUR, Window, hour_of
from nexus_pipeline.analytics.sensors import find_stale
from nexus_pipeline.analytics.stale import mark_closed_hours, stale_partitions
from nexus_pipeline.analytics.tables import DAILY_REPORT, HOURLY_METRICS, METRICS, SIGNALS, TABLES
from nexus_pipeline.analytics.windows import replace_window, replacing
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.queues.dead_letters import redrive
from nexus_pipeline_tests.support.analytics import (
    ALL,
    differences,
    execution,
    hour,
    hours_from,
    rebuild_all,
    stale,
    window,
)
from nexus_pipeline_tests.support.queues import drain, let_leases_end, one, send

FAILS_TWICE = """
CREATE SEQUENCE tries;
CREATE FUNCTION flaky(request jsonb, decided_at timestamptz) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('tries') < 3 THEN RAISE EXCEPTION 'not yet'; END IF;
    RETURN '{"signal": "BUY", "enhanced_signal": "BUY", "rsi": 20}';
END $$;
SELECT nexus.register_strategy('flaky', '1', 'flaky(jsonb, timestamptz)');
"""


def this_hour() -> datetime:
    return hour_of(datetime.now(UTC))


def test_a_late_execution_marks_its_event_hour_and_its_processing_hour_and_no_other(connection: Connection) -> None:
    rebuild_all(connection)
    execution(connection, hour("2026-03-05T12"), occurred=hour("2026-03-01T10"))
    assert stale(connection, SIGNALS.name) == hours_from(["2026-03-01T10"])
    assert stale(connection, HOURLY_METRICS.name) == stale(connection, METRICS.name) == hours_from(["2026-03-05T12"])


def test_a_change_of_event_time_marks_the_hour_it_left_and_the_hour_it_came_to(connection: Connection) -> None:
    execution(connection, hour("2026-03-05T12"), occurred=hour("2026-03-01T10"))
    rebuild_all(connection)
    assert stale(connection, SIGNALS.name) == set()
    connection.execute("UPDATE workflow_executions SET occurred_at = %s", (hour("2026-03-02T03"),))
    assert stale(connection, SIGNALS.name) == hours_from(["2026-03-01T10", "2026-03-02T03"])
    rebuild_all(connection)
    connection.execute("DELETE FROM workflow_executions")
    assert stale(connection, SIGNALS.name) == hours_from(["2026-03-02T03"])


def test_emptying_the_executions_marks_every_hour_that_has_rows(connection: Connection) -> None:
    for text in ("2026-03-01T10", "2026-03-02T11"):
        execution(connection, hour(text))
    rebuild_all(connection)
    connection.execute("TRUNCATE workflow_executions")
    for table in TABLES:
        assert stale(connection, table.name) == hours_from(["2026-03-01T10", "2026-03-02T11"])
    rebuild_all(connection)
    assert one(connection, "SELECT count(*) FROM hourly_signal_aggregates") == 0


def test_what_was_rolled_back_leaves_no_mark(connection: Connection) -> None:
    with connection.transaction(force_rollback=True):
        execution(connection, hour("2026-03-05T12"))
    assert stale(connection, SIGNALS.name) == set()


def test_a_retry_that_ends_later_and_a_redrive_are_found_and_counted_once(connection: Connection) -> None:
    connection.execute(FAILS_TWICE)
    send(connection, [{"rsi": 25, "strategy": "flaky", "occurred_at": "2026-03-01T10:30:00Z"}, {"no": "rsi"}])
    drain(connection)
    assert stale(connection, SIGNALS.name) >= hours_from(["2026-03-01T10"])
    rebuild_all(connection)
    row = connection.execute("SELECT successful, retried, dead_lettered FROM hourly_workflow_metrics").fetchone()
    assert row == (1, 2, 1)
    assert one(connection, "SELECT sum(executions) FROM hourly_signal_aggregates") == 2
    redrive(connection)
    let_leases_end(connection)
    drain(connection)
    assert stale(connection, HOURLY_METRICS.name) == {this_hour()}
    rebuild_all(connection)
    assert one(connection, "SELECT sum(dead_lettered) FROM hourly_workflow_metrics") == 2
    for table in TABLES:
        assert differences(connection, table) == []


def test_settling_does_not_wait_for_another_settling_of_the_same_hour(conninfo: str) -> None:
    with psycopg.connect(conninfo) as first, psycopg.connect(conninfo) as second:
        second.execute("SET lock_timeout = '2s'")
        execution(first, hour("2026-03-05T12"))
        execution(second, hour("2026-03-05T12"))  # the first has not committed
        second.commit()
        first.commit()


def test_settling_does_not_wait_for_the_rebuild_of_its_hour(conninfo: str, connection: Connection) -> None:
    execution(connection, hour("2026-03-05T12"))
    with psycopg.connect(conninfo, autocommit=True) as maker, replacing(maker, SIGNALS.name) as named:
        named.take_marks(maker, asset=SIGNALS.name, start=ALL.start, before=ALL.before)
        connection.execute("SET lock_timeout = '2s'")
        execution(connection, hour("2026-03-05T12"))


def test_what_commits_during_the_rebuild_of_its_hour_is_included_or_leaves_the_hour_stale(
    conninfo: str, connection: Connection
) -> None:
    """Each interleaving: it begins before or after the marks are taken, and commits before or after the reading."""
    at = window("2026-03-05T12")
    bounds = {"start": at.start, "before": at.before}
    for began_before_taking in (True, False):
        for committed_before_reading in (True, False):
            connection.execute("DELETE FROM workflow_executions")
            rebuild_all(connection)
            with psycopg.connect(conninfo) as writer, psycopg.connect(conninfo, autocommit=True) as maker:
                if began_before_taking:
                    execution(writer, at.start)
                with replacing(maker, SIGNALS.name) as named:
                    named.take_marks(maker, asset=SIGNALS.name, **bounds)
                    if not began_before_taking:
                        execution(writer, at.start)
                    if committed_before_reading:
                        writer.commit()
                    maker.execute(SIGNALS.compose(named.delete_rows), bounds)
                    rows = SIGNALS.statements.insert(maker, **bounds)
                writer.commit()
            assert rows == (1 if committed_before_reading else 0)
            assert stale(connection, SIGNALS.name) == {at.start}
            replace_window(connection, SIGNALS, at)
            assert differences(connection, SIGNALS) == []
            assert stale(connection, SIGNALS.name) == set()


def test_the_marks_of_hours_that_are_not_rebuilt_are_reduced_to_one_each(connection: Connection, conninfo: str) -> None:
    for _ in range(5):
        execution(connection, hour("2026-03-05T12"), occurred=hour("2001-01-01T00"))
        execution(connection, hour("2026-03-05T12"), occurred=hour("2090-01-01T00"))
    assert one(connection, "SELECT count(*) FROM nexus.stale_marks WHERE asset = %s", SIGNALS.name) == 10
    connection.execute("UPDATE nexus.installation SET closed_until = closed_until - interval '1 hour'")
    with psycopg.connect(conninfo, autocommit=True) as maker, replacing(maker, METRICS.name):
        mark_closed_hours(connection)
    assert stale(connection, SIGNALS.name) == {*hours_from(["2001-01-01T00", "2090-01-01T00"]), this_hour() - HOUR}
    assert one(connection, "SELECT count(*) FROM nexus.stale_marks WHERE asset = %s", SIGNALS.name) == 3
    assert one(connection, "SELECT count(*) FROM nexus.stale_marks WHERE asset = %s", METRICS.name) == 11  # locked


def test_stale_hours_are_found_by_jumping_and_not_by_reading_every_mark(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO nexus.stale_marks (asset, start) SELECT 'x', '2026-01-01Z'::timestamptz + (i % 3) * interval '1 h'"
        " FROM generate_series(1, 60000) i"
    )
    connection.execute("ANALYZE nexus.stale_marks")
    found = stale_partitions(connection, "x", hour("2025-01-01T00"), hour("2027-01-01T00"))
    assert found == [hour(f"2026-01-01T0{number}") for number in range(3)]
    row = connection.execute(
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)"
        " SELECT * FROM nexus.stale_partitions('x', '2025-01-01Z', '2027-01-01Z')"
    ).fetchone()
    assert row is not None
    assert row[0][0]["Plan"]["Shared Hit Blocks"] + row[0][0]["Plan"]["Shared Read Blocks"] < 60


def test_hours_that_closed_are_marked_once_also_when_nothing_happened_in_them(connection: Connection) -> None:
    assert mark_closed_hours(connection) == 0
    connection.execute("UPDATE nexus.installation SET closed_until = closed_until - interval '60 hours'")
    assert mark_closed_hours(connection) == 60
    assert mark_closed_hours(connection) == 0
    weekend = {this_hour() - number * HOUR for number in range(1, 61)}
    for table in TABLES:
        assert stale(connection, table.name) == weekend


def test_two_that_mark_closed_hours_at_once_mark_each_once(connection: Connection, conninfo: str) -> None:
    connection.execute("UPDATE nexus.installation SET closed_until = closed_until - interval '5 hours'")
    found: list[int] = []

    def work() -> None:
        with psycopg.connect(conninfo, autocommit=True) as own:
            found.append(mark_closed_hours(own))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(240)
    assert sorted(found) == [0, 0, 0, 5]


def test_only_closed_hours_that_have_a_partition_are_stale(connection: Connection) -> None:
    now = datetime(2026, 3, 10, 12, 20, tzinfo=UTC)
    start = hour("2026-03-01T00")
    for text in ("2026-02-01T00", "2026-03-01T00", "2026-03-10T11", "2026-03-10T12", "2026-04-01T00"):
        execution(connection, now, occurred=hour(text))
    assert find_stale(connection, start, now)[SIGNALS.name] == [hour("2026-03-01T00"), hour("2026-03-10T11")]


def test_the_hour_that_just_closed_is_left_to_the_schedule_for_a_moment(connection: Connection) -> None:
    start = hour("2026-03-01T00")
    execution(connection, hour("2026-03-10T11"))
    closed = hour("2026-03-10T12")
    assert find_stale(connection, start, closed + timedelta(seconds=60))[SIGNALS.name] == []
    assert find_stale(connection, start, closed + timedelta(seconds=100))[SIGNALS.name] == [hour("2026-03-10T11")]


def test_a_days_report_is_stale_once_it_was_built_and_waits_for_its_hours(connection: Connection) -> None:
    start, now = hour("2026-03-01T00"), hour("2026-03-10T12")
    connection.execute("UPDATE nexus.installation SET installed_hour = %s", (hour("2099-01-01T00"),))
    execution(connection, hour("2026-03-05T12"))
    rebuild_all(connection)
    assert stale(connection, DAILY_REPORT) == set()  # there was never a report of that day
    connection.execute("INSERT INTO nexus.daily_reports (day) VALUES (%s)", (hour("2026-03-05T00"),))
    execution(connection, hour("2026-03-05T13"))
    replace_window(connection, SIGNALS, window("2026-03-05T13"))
    assert stale(connection, DAILY_REPORT) == {hour("2026-03-05T00")}
    assert find_stale(connection, start, now)[DAILY_REPORT] == []  # its metrics are stale
    replace_window(connection, HOURLY_METRICS, window("2026-03-05T13"))
    assert find_stale(connection, start, now)[DAILY_REPORT] == [hour("2026-03-05T00")]


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(0, 30), st.one_of(st.none(), st.integers(0, 30)), st.integers(0, 3)),
        st.tuples(st.just("batch"), st.integers(0, 30), st.integers(1, 9)),
        st.tuples(st.just("move"), st.integers(0, 30), st.integers(0, 30)),
        st.tuples(st.just("finish"), st.integers(0, 30)),
        st.tuples(st.just("delete"), st.integers(0, 30)),
        st.tuples(st.just("rebuild"), st.integers(0, 30), st.integers(1, 12)),
        st.tuples(st.just("heal")),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=25)
@given(actions=ACTIONS)
def test_rebuilding_the_stale_hours_gives_the_expected_rows_whatever_arrives_in_whatever_order(
    server_connection: Connection, actions: list[tuple]
) -> None:
    connection = server_connection
    connection.execute("TRUNCATE workflow_executions")
    rebuild_all(connection)
    first = hour("2026-03-01T00")
    for name, *given_ in actions:
        if name == "arrive":
            created, occurred, status = given_
            execution(
                connection,
                first + created * HOUR,
                occurred=None if occurred is None else first + occurred * HOUR,
                status=("completed", "completed", "retrying", "error")[status],
                symbol=f"S{created % 3}",
                price=created,
            )
        elif name == "batch":
            connection.execute(
                "INSERT INTO workflow_executions (workflow_type, input_data, output_data, status, created_at)"
                " SELECT 'trading_signal', '{\"rsi\": 50}', nexus.enhanced_rsi(50, 1, 1, '{}', 0), 'completed',"
                " %s::timestamptz + i * interval '1 hour' FROM generate_series(1, %s) i",
                (first + given_[0] * HOUR, given_[1]),
            )
        elif name == "move":
            connection.execute(
                "UPDATE workflow_executions SET occurred_at = %s WHERE nexus.hour_of(created_at) = %s",
                (first + given_[1] * HOUR, first + given_[0] * HOUR),
            )
        elif name == "finish":
            connection.execute(
                "UPDATE workflow_executions SET status = 'error' WHERE status = 'retrying' AND"
                " nexus.hour_of(created_at) = %s",
                (first + given_[0] * HOUR,),
            )
        elif name == "delete":
            connection.execute(
                "DELETE FROM workflow_executions WHERE nexus.hour_of(created_at) = %s", (first + given_[0] * HOUR,)
            )
        elif name == "rebuild":
            for table in TABLES:
                start = first + given_[0] * HOUR
                replace_window(connection, table, Window(start, start + given_[1] * HOUR))
        else:
            heal(connection)
    heal(connection)
    for table in TABLES:
        assert differences(connection, table) == []
        assert stale(connection, table.name) == set()


def heal(connection: Connection) -> None:
    """What the sensor's runs do: rebuild exactly the stale hours."""
    for table in TABLES:
        for start in stale_partitions(connection, table.name, ALL.start, ALL.before):
            replace_window(connection, table, Window(start, start + HOUR))


@pytest.fixture(scope="module")
def server_connection(server_url: str, template_database: Callable[[], str]):
    """One database for all examples of a property: creating one takes longer than an example."""
    from uuid import uuid4

    from nexus_pipeline_tests.support import servers

    name = f"nexus_property_{uuid4().hex[:12]}"
    with (
        servers.temporary_database(server_url, name, template_database()) as url,
        psycopg.connect(url, autocommit=True) as opened,
    ):
        yield opened


def test_rebuilding_the_stale_hours_gives_the_expected_rows_with_writers_and_rebuilds_at_once(
    conninfo: str, connection: Connection
) -> None:
    """Three write late, early and twice into 20 hours; meanwhile two rebuild stale hours and one whole ranges."""
    first = hour("2026-03-01T00")
    stop = threading.Event()
    failures: list[BaseException] = []

    def guarded(work) -> threading.Thread:
        def run() -> None:
            try:
                with psycopg.connect(conninfo, autocommit=True) as own:
                    work(own)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def write(number: int):
        def work(own: Connection) -> None:
            for round_ in range(60):
                with own.transaction():
                    execution(
                        own, first + (round_ * 7 + number) % 20 * HOUR, occurred=first + (round_ + number) % 20 * HOUR
                    )
                    if round_ % 5 == number:
                        own.execute(
                            "UPDATE workflow_executions SET occurred_at = occurred_at + interval '1 hour'"
                            " WHERE id IN (SELECT id FROM workflow_executions WHERE nexus.hour_of(created_at) = %s"
                            " ORDER BY id LIMIT 3 FOR UPDATE SKIP LOCKED)",
                            (first + round_ % 20 * HOUR,),
                        )

        return work

    def rebuild(own: Connection) -> None:
        while not stop.is_set():
            own.execute("UPDATE nexus.installation SET closed_until = nexus.hour_of(now()) - interval '1 hour'")
            mark_closed_hours(own)
            heal(own)

    def rebuild_ranges(own: Connection) -> None:
        while not stop.is_set():
            for table in TABLES:
                replace_window(own, table, Window(first, first + 25 * HOUR))

    rebuilders = [guarded(rebuild), guarded(rebuild), guarded(rebuild_ranges)]
    for writer in [guarded(write(number)) for number in range(3)]:
        writer.join(240)
    stop.set()
    for rebuilder in rebuilders:
        rebuilder.join(240)
    assert failures == []
    assert one(connection, "SELECT count(*) FROM workflow_executions") == 180
    heal(connection)
    for table in TABLES:
        assert differences(connection, table) == []
        assert stale(connection, table.name) == set()
