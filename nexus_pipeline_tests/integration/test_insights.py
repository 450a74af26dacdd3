"""The read model: what is going on, from one snapshot, for readers too, at a cost that does not grow with the past."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql

from nexus_pipeline.analytics.hours import DAY, HOUR, hour_of
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.errors import NotFoundError, UserError
from nexus_pipeline.insights import SEAL_AFTER_MESSAGES, StalePartitions, queue_status
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline_tests.support.queues import drain, let_leases_end, must_claim, one, send, send_signals

FIRST_HOUR = datetime(2026, 1, 1, tzinfo=UTC)


def seals(connection: Connection) -> int:
    return int(one(connection, "SELECT count(*) FROM nexus.ledger_seals"))


def archived(connection: Connection, count: int) -> None:
    """As many completed messages, as settling leaves them."""
    connection.execute(
        "INSERT INTO pgmq.a_workflow_main_queue (msg_id, enqueued_at, vt, message)"
        " SELECT n, 'today', now(), '{}' FROM generate_series(1, %s) n",
        (count,),
    )
    connection.execute(
        "INSERT INTO workflow_executions (workflow_type, input_data, status, queue_name, msg_id, enqueued_at)"
        " SELECT 'trading_signal', '{}', 'completed', %s, n, 'today' FROM generate_series(1, %s) n",
        (MAIN_QUEUE, count),
    )
    connection.execute("SELECT setval('pgmq.q_workflow_main_queue_msg_id_seq', %s)", (count,))


def test_the_status_of_a_queue_has_its_states_results_dead_letters_and_pace(connection: Connection) -> None:
    send(connection, [{"rsi": 20}, {"rsi": 50}, {"rsi": 500}, {"rsi": 1, "strategy": "none"}])
    drain(connection)
    send_signals(connection, 4)
    must_claim(connection, 1)
    found = queue_status(connection, MAIN_QUEUE, FIRST_HOUR)
    ledger = found.ledger
    assert ledger.adds_up
    assert (ledger.sent, ledger.waiting, ledger.leased, ledger.completed, ledger.dead_lettered) == (8, 3, 1, 2, 2)
    assert found.results_waiting == 2
    assert {each.error_class: each.letters for each in found.dead_letters} == {
        "invalid_input": 1,
        "unknown_strategy": 1,
    }
    assert found.dead_letters_waiting == 2
    recent = found.recent
    assert (recent.attempts, recent.window_s, round(recent.decisions_per_s * 3600)) == (4, 3600, 4)
    assert recent.wait_p50_ms is not None
    assert recent.wait_p99_ms is not None
    assert 0 <= recent.wait_p50_ms <= recent.wait_p99_ms < 60_000


def test_the_pace_is_that_of_the_newest_attempts_in_the_last_hour(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO workflow_executions (workflow_type, input_data, status, created_at, enqueued_at, started_at,"
        " completed_at)"
        " SELECT 'trading_signal', '{}', CASE WHEN n %% 2 = 0 THEN 'completed' ELSE 'retrying' END, t, t - w, t - p, t"
        "  FROM generate_series(0, %s) n, LATERAL (SELECT clock_timestamp() - n * interval '10 ms',"
        "       interval '300 ms', interval '100 ms') AS x (t, w, p)",
        (20_000,),
    )
    connection.execute(
        "INSERT INTO workflow_executions (workflow_type, input_data, status, created_at)"
        " VALUES ('trading_signal', '{}', 'completed', now() - interval '2 hours')"
    )
    recent = queue_status(connection, MAIN_QUEUE, FIRST_HOUR).recent
    assert recent.attempts == 10_000
    assert 100 <= recent.window_s < 160  # 10,000 times 10 ms, and the time that the test took
    assert recent.decisions_per_s == pytest.approx(5_000 / recent.window_s)
    assert recent.wait_p95_ms == pytest.approx(200)
    assert recent.processing_p95_ms == pytest.approx(100)


def test_closed_hours_and_days_are_stale_from_the_first_partition_on(connection: Connection) -> None:
    connection.execute("TRUNCATE nexus.stale_marks")
    open_hour = hour_of(datetime.now(UTC))
    first = open_hour - timedelta(days=3)
    first_day, today = first.replace(hour=0), open_hour.replace(hour=0)
    marks = {
        "hourly_signal_aggregates": [first - HOUR, first, first, first + HOUR, open_hour - HOUR, open_hour],
        "workflow_metrics": [open_hour],
        "daily_signal_report": [first_day - DAY, first_day, today],
    }
    for asset, starts in marks.items():
        for start in starts:
            connection.execute("INSERT INTO nexus.stale_marks (asset, start) VALUES (%s, %s)", (asset, start))
    found = queue_status(connection, MAIN_QUEUE, first).stale
    assert found == [
        StalePartitions("hourly_signal_aggregates", 3, first, open_hour - HOUR, 1),
        StalePartitions("hourly_workflow_metrics", 0, None, None, 0),
        StalePartitions("workflow_metrics", 0, None, None, 0),
        StalePartitions("daily_signal_report", 1, first_day, first_day, 0),
    ]


def test_looking_seals_once_there_is_much_to_count(connection: Connection) -> None:
    archived(connection, SEAL_AFTER_MESSAGES - 1)
    assert queue_status(connection, MAIN_QUEUE, FIRST_HOUR).ledger.completed == SEAL_AFTER_MESSAGES - 1
    assert seals(connection) == 0
    send_signals(connection, 1)
    assert queue_status(connection, MAIN_QUEUE, FIRST_HOUR).ledger.sent == SEAL_AFTER_MESSAGES
    assert one(connection, "SELECT sealed_up_to FROM nexus.ledger_seals") == SEAL_AFTER_MESSAGES


def test_a_recount_finds_damage_below_the_seal_and_the_next_look_too(connection: Connection) -> None:
    archived(connection, 100)
    queue_status(connection, MAIN_QUEUE, FIRST_HOUR, recount=True)
    assert seals(connection) == 1
    connection.execute("DELETE FROM workflow_executions WHERE msg_id = 50")
    assert queue_status(connection, MAIN_QUEUE, FIRST_HOUR).ledger.adds_up
    assert queue_status(connection, MAIN_QUEUE, FIRST_HOUR, recount=True).ledger.lost == 1
    assert queue_status(connection, MAIN_QUEUE, FIRST_HOUR).ledger.lost == 1


@pytest.mark.parametrize("recount", [False, True])
def test_a_role_that_may_only_read_sees_the_same_and_writes_nothing(connection: Connection, recount: bool) -> None:
    archived(connection, SEAL_AFTER_MESSAGES)
    expected = queue_status(connection, MAIN_QUEUE, FIRST_HOUR)
    connection.execute("DELETE FROM nexus.ledger_seals")
    connection.execute("SET ROLE nexus_reader")
    found = queue_status(connection, MAIN_QUEUE, FIRST_HOUR, recount=recount)
    connection.execute("RESET ROLE")
    assert (found.ledger, found.dead_letters) == (expected.ledger, expected.dead_letters)
    assert seals(connection) == 0


def test_a_session_that_is_read_only_can_look(connection: Connection) -> None:
    archived(connection, SEAL_AFTER_MESSAGES)
    connection.execute("SET default_transaction_read_only = on")
    assert queue_status(connection, MAIN_QUEUE, FIRST_HOUR).ledger.completed == SEAL_AFTER_MESSAGES


def test_results_are_counted_up_to_a_hundred_thousand_and_estimated_beyond(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO pgmq.q_workflow_results (vt, message) SELECT now(), '{}' FROM generate_series(1, 150000)"
    )
    connection.execute("ANALYZE pgmq.q_workflow_results")
    assert queue_status(connection, MAIN_QUEUE, FIRST_HOUR).results_waiting == pytest.approx(150_000, rel=0.05)
    connection.execute("DELETE FROM pgmq.q_workflow_results WHERE msg_id > 99999")
    assert queue_status(connection, MAIN_QUEUE, FIRST_HOUR).results_waiting == 99_999


def test_all_figures_are_of_one_snapshot(connection: Connection, conninfo: str) -> None:
    send_signals(connection, 10)
    with psycopg.connect(conninfo, autocommit=True) as worker:
        # A message settled between the statements of one look would be both waiting and a result.
        for _ in range(10):
            let_leases_end(worker)
            found = queue_status(connection, MAIN_QUEUE, FIRST_HOUR)
            assert found.results_waiting == found.ledger.completed
            drain(worker, 1)
            send_signals(worker, 5)


@pytest.mark.parametrize(("queue", "error"), [("nowhere", NotFoundError), ("No Name", UserError)])
def test_a_queue_that_does_not_exist_is_a_user_error(
    connection: Connection, queue: str, error: type[UserError]
) -> None:
    with pytest.raises(error):
        queue_status(connection, queue, FIRST_HOUR)


def test_reading_imports_neither_dagster_nor_pandas() -> None:
    code = (
        "import sys, nexus_pipeline.insights, nexus_pipeline.executions;"
        " print({'dagster', 'pandas', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_identifiers_reach_no_statement_unquoted(connection: Connection) -> None:
    connection.execute(sql.SQL("SELECT nexus.serve_queue({})").format("a_queue"))
    assert queue_status(connection, "a_queue", FIRST_HOUR).ledger.sent == 0
