"""A processing run drains what its budget allows, says what it did, and loses nothing when something goes away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.storage.compute_log_manager import ComputeIOType

from nexus_pipeline.database.connection import Connection, connect
from nexus_pipeline.database.migrations import migrate
from nexus_pipeline.database.ready import shared_pool
from nexus_pipeline.definitions import defs
from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.processing import batch as draining
from nexus_pipeline.processing import ops
from nexus_pipeline.queues.leases import Lease, RetryPolicy, Settlement, claim, settle
from nexus_pipeline.queues.ledger import Depth, depth, ledger
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.settings import load_settings
from nexus_pipeline_tests.support.commands import wait_until
from nexus_pipeline_tests.support.dagster import (
    dagster_database,
    dagster_template,
    execute,
    failures,
    instance,
    step_metadata,
    tries_again,
)
from nexus_pipeline_tests.support.queues import (
    SOON,
    assert_each_has_one_outcome,
    balanced,
    let_leases_end,
    must_claim,
    one,
    put,
    send_signals,
)
from nexus_pipeline_tests.support.servers import embedded_server

__all__ = ["dagster_database", "dagster_template", "instance"]

BATCH_METADATA = {
    "claimed", "completed", "retried", "dead_lettered", "fenced", "suspects", "first_msg_id", "last_msg_id", "ms",
}  # fmt: skip


def materialised(instance: dg.DagsterInstance) -> dict[str, float]:
    """The metadata of the latest materialisation of workflow_executions."""
    event = instance.get_latest_materialization_event(dg.AssetKey("workflow_executions"))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}  # type: ignore[misc]


def make_settling_slow(connection: Connection, seconds: float) -> None:
    """From now on, each settling takes so much longer."""
    connection.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$"
    )
    connection.execute("CREATE TRIGGER slow AFTER INSERT ON workflow_executions EXECUTE FUNCTION slow()")


def test_a_run_settles_all_that_waits_and_each_step_says_what_it_did(
    instance: dg.DagsterInstance, connection: Connection
) -> None:
    ids = send_signals(connection, 250)
    bad = put(connection, '{"rsi": "none"}')
    result = execute(instance, batch_size=100)
    assert result.success
    batches = step_metadata(result, "batch")
    assert [set(found) for found in batches] == [BATCH_METADATA] * 3
    assert [found["claimed"] for found in batches] == [100, 100, 51]
    assert [found["completed"] for found in batches] == [100, 100, 50]
    assert [found["dead_lettered"] for found in batches] == [0, 0, 1]
    assert [(found["first_msg_id"], found["last_msg_id"]) for found in batches] == [
        (ids[0], ids[99]),
        (ids[100], ids[199]),
        (ids[200], bad),
    ]
    assert all(found["ms"] > 0 for found in batches)
    assert_each_has_one_outcome(connection, [*ids, bad])


def test_the_run_is_a_materialisation_of_workflow_executions_with_numbers_that_plot(
    instance: dg.DagsterInstance, connection: Connection
) -> None:
    send_signals(connection, 120)
    result = execute(instance, batch_size=50)
    found = materialised(instance)
    assert all(isinstance(value, int | float) for value in found.values()), found
    assert (found["batches"], found["claimed"], found["completed"], found["dead_lettered"]) == (3, 120, 120, 0)
    assert found["signals_per_second"] > 0
    assert 0 < found["batch_ms_p50"] <= found["batch_ms_p99"]
    assert step_metadata(result, "summary") == [found]


def test_an_empty_queue_makes_a_run_of_no_batches_that_succeeds(instance: dg.DagsterInstance) -> None:
    result = execute(instance)
    assert result.success
    assert step_metadata(result, "batch") == []
    assert (materialised(instance)["batches"], materialised(instance)["claimed"]) == (0, 0)


def test_a_run_takes_no_more_batches_than_its_budget(instance: dg.DagsterInstance, connection: Connection) -> None:
    send_signals(connection, 100)
    assert execute(instance, batch_size=10, max_batches=3).success
    state = balanced(connection)
    assert (state.completed, state.waiting) == (30, 70)


def test_a_run_claims_nothing_after_its_budget_of_seconds(instance: dg.DagsterInstance, connection: Connection) -> None:
    send_signals(connection, 400)
    make_settling_slow(connection, 0.6)
    result = execute(instance, batch_size=10, max_seconds=4)
    assert result.success
    state = balanced(connection)
    # A settling takes 0.6 s, so that there is time for seven batches at most; a loaded machine does fewer.
    assert 0 < state.completed <= 70
    assert state.completed + state.waiting == 400
    # The batches it had no time for are steps that claimed nothing.
    claimed = [found["claimed"] for found in step_metadata(result, "batch")]
    assert len(claimed) == 40
    assert claimed[-1] == 0


def test_a_run_whose_plan_took_all_its_seconds_still_does_its_first_batch(
    instance: dg.DagsterInstance, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_depth(*arguments: Any, **options: Any) -> Depth:
        time.sleep(1.1)
        return depth(*arguments, **options)

    monkeypatch.setattr(ops, "depth", slow_depth)
    send_signals(connection, 20)
    result = execute(instance, batch_size=10, max_seconds=1)
    assert [found["claimed"] for found in step_metadata(result, "batch")] == [10, 0]


def test_batch_size_comes_from_the_variable_where_the_config_names_none(
    instance: dg.DagsterInstance, connection: Connection, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXUS_BATCH_SIZE", "20")
    monkeypatch.setenv("NEXUS_BATCHES_PER_RUN", "2")
    send_signals(connection, 100)
    result = execute(instance)
    assert [found["claimed"] for found in step_metadata(result, "batch")] == [20, 20]


def test_another_queue_is_drained_where_the_config_names_it(
    instance: dg.DagsterInstance, connection: Connection
) -> None:
    connection.execute("SELECT nexus.serve_queue('other_signals')")
    ids = send_signals(connection, 15, queue="other_signals")
    send_signals(connection, 5)
    assert execute(instance, queue="other_signals", batch_size=10).success
    assert_each_has_one_outcome(connection, ids, queue="other_signals")
    assert balanced(connection).waiting == 5


@pytest.mark.parametrize(
    ("queue", "said"),
    [("not_there", "there is no queue not_there"), ("Bad-Name", "Bad-Name"), ("x" * 48, "x" * 48)],
)
def test_a_queue_that_is_none_fails_the_run_at_once_in_one_line(
    instance: dg.DagsterInstance, queue: str, said: str
) -> None:
    result = execute(instance, queue=queue)
    assert not result.success
    (line,) = failures(result)
    assert said in line
    assert "\n" not in line
    assert tries_again(result) == 0


@pytest.mark.parametrize("config", [{"batch_size": 0}, {"max_batches": 501}, {"max_seconds": "soon"}, {"queu": "x"}])
def test_config_out_of_range_is_refused(instance: dg.DagsterInstance, config: dict[str, object]) -> None:
    if "batch_size" in config or "max_batches" in config:
        assert not execute(instance, **config).success
    else:
        with pytest.raises(dg.DagsterInvalidConfigError, match=next(iter(config))):
            execute(instance, **config)


def test_a_lease_that_runs_out_settles_nothing_and_the_message_is_done_once(
    instance: dg.DagsterInstance, connection: Connection, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = send_signals(connection, 10)
    late: list[int] = []

    def settle_too_late(worker: Connection, lease: Lease, policy: RetryPolicy) -> Settlement:
        if not late:
            late.extend(lease.msg_ids)
            let_leases_end(connection)
            for _ in ids:  # they were in a crash, as it seems: they come one by one
                settle(connection, must_claim(connection), policy)
        return settle(worker, lease, policy)

    monkeypatch.setattr(draining, "settle", settle_too_late)
    result = execute(instance)
    assert result.success
    (found,) = step_metadata(result, "batch")
    assert (found["claimed"], found["completed"], found["fenced"]) == (10, 0, 10)
    assert late == ids
    assert_each_has_one_outcome(connection, ids)
    balanced(connection)


def test_suspects_of_a_crash_are_processed_one_by_one_within_a_batch(
    instance: dg.DagsterInstance, connection: Connection
) -> None:
    ids = send_signals(connection, 10)
    must_claim(connection, 4)  # and is never heard of again
    let_leases_end(connection)
    innocents, suspects = execute(instance), execute(instance)
    figures = [step_metadata(result, "batch")[0] for result in (innocents, suspects)]
    assert [(found["claimed"], found["suspects"], found["completed"]) for found in figures] == [(6, 0, 6), (4, 4, 4)]
    assert_each_has_one_outcome(connection, ids)


@contextmanager
def cut_off_while_settling(connection: Connection, conninfo: str, times: int) -> Iterator[list[int]]:
    """Ends the sessions of workers that are settling, so many of them; the list is of their process ids."""
    make_settling_slow(connection, 0.5)
    ended: list[int] = []
    over = threading.Event()

    def cut() -> None:
        with psycopg.connect(conninfo, autocommit=True) as own:
            while len(ended) < times and not over.wait(0.05):
                for (pid,) in own.execute(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
                    " AND query LIKE '%nexus.settle%' AND pid <> pg_backend_pid() LIMIT 1"
                ).fetchall():
                    own.execute("SELECT pg_terminate_backend(%s, 60000)", (pid,))
                    ended.append(pid)

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        yield ended
    finally:
        over.set()
        thread.join()
        connection.execute("DROP TRIGGER slow ON workflow_executions")


def test_a_run_whose_session_is_cut_goes_on_with_the_steps_retry_and_loses_nothing(
    instance: dg.DagsterInstance, connection: Connection, conninfo: str
) -> None:
    ids = send_signals(connection, 40)
    with cut_off_while_settling(connection, conninfo, times=1) as ended:
        result = execute(instance, batch_size=20)
    assert result.success
    assert len(ended) == 1
    assert tries_again(result) == 1
    state = balanced(connection)
    # The batch that was cut off is still leased; its step took the other batch.
    assert (state.completed, state.leased) == (20, 20)
    let_leases_end(connection)
    while ledger(connection, MAIN_QUEUE).waiting:
        assert execute(instance).success
    assert_each_has_one_outcome(connection, ids)
    balanced(connection)


def test_a_run_whose_server_is_stopped_fails_with_a_message_that_says_so_and_loses_nothing(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXUS_LEASE_SECONDS", "1")
    with embedded_server(durable=True) as (info, home):
        with connect(info.url) as first:
            first.execute("CREATE DATABASE work")
        url = embedded.database_url(info, "work")
        migrate(url)
        monkeypatch.setenv("NEXUS_DATABASE_URL", url)
        holder = connect(url)
        ids = send_signals(holder, 300)
        # The second batch waits in its settling for a lock that we hold, until the server is stopped.
        holder.execute(
            "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF (SELECT count(*) FROM workflow_executions) > 10 THEN PERFORM pg_advisory_xact_lock(42); END IF;"
            " RETURN NULL; END $$"
        )
        holder.execute("CREATE TRIGGER hold AFTER INSERT ON workflow_executions EXECUTE FUNCTION hold()")
        holder.execute("SELECT pg_advisory_lock(42)")
        # So long a worker waits for a connection: a second instead of ten, four times.
        monkeypatch.setattr(shared_pool(load_settings()), "timeout", 1.0)

        def stop_in_mid_run() -> None:
            held_up = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            wait_until(lambda: one(holder, held_up) > 0, 60)
            embedded.stop(home)
            holder.close()

        stopper = threading.Thread(target=stop_in_mid_run)
        stopper.start()
        result = execute(instance, batch_size=10, max_seconds=10)
        stopper.join()
        assert not result.success
        lines = failures(result)
        # The first try of each of the 29 takes a second, but those that begin after the deadline do not wait.
        assert 0 < len(lines) < 12
        for line in lines:
            assert line.startswith("the connection to PostgreSQL was lost: ")
            assert line.endswith(
                "Nothing is lost: what was not settled waits in the queue again when its lease ends (1 s)."
            )
        assert tries_again(result) >= 3
        embedded.start(home)
        with connect(url) as connection:
            assert balanced(connection).completed == 10
            let_leases_end(connection)
            while (lease := claim(connection, MAIN_QUEUE, 500, 30)) is not None:
                settle(connection, lease, SOON)
            assert_each_has_one_outcome(connection, ids)
            balanced(connection)


def test_purging_deletes_ended_processing_runs_only_and_only_old_ones(
    instance: dg.DagsterInstance, dagster_database: str
) -> None:
    job = defs.resolve_job_def("process_trading_workflow")
    purge = defs.resolve_job_def("purge_queue_runs")
    status = dg.DagsterRunStatus
    old = {
        each: instance.create_run_for_job(job, status=each).run_id
        for each in (status.SUCCESS, status.FAILURE, status.CANCELED, status.STARTED, status.STARTING)
    }
    other = purge.execute_in_process(instance=instance).run_id
    executed = execute(instance).run_id
    printed = instance.compute_log_manager
    for run_id in (executed, other):
        with printed.open_log_stream([run_id, "compute_logs", "a"], ComputeIOType.STDOUT) as stream:
            assert stream is not None
            stream.write("what it printed")
    with psycopg.connect(dagster_database, autocommit=True) as connection:
        connection.execute("UPDATE runs SET update_timestamp = %s", (datetime.now(UTC) - timedelta(hours=25),))
    young = execute(instance).run_id
    result = purge.execute_in_process(instance=instance)
    assert result.output_for_node("purge") == 4
    left = {record.dagster_run.run_id for record in instance.get_run_records()}
    assert left == {old[status.STARTED], old[status.STARTING], other, young, result.run_id}
    with psycopg.connect(dagster_database, autocommit=True) as connection:
        assert one(connection, "SELECT count(*) FROM event_logs WHERE run_id = %s", executed) == 0
        assert one(connection, "SELECT count(*) FROM event_logs WHERE run_id = %s", young) > 0
    assert not printed.get_log_data([executed, "compute_logs", "a"]).stdout
    assert printed.get_log_data([other, "compute_logs", "a"]).stdout == b"what it printed"


def test_the_hourly_job_seals_the_ledger_of_every_served_queue(
    instance: dg.DagsterInstance, connection: Connection
) -> None:
    connection.execute("SELECT nexus.serve_queue('second')")
    ids = send_signals(connection, 5)
    assert execute(instance).success
    assert defs.resolve_job_def("purge_queue_runs").execute_in_process(instance=instance).success
    seals = connection.execute(
        "SELECT queue_name, sealed_up_to, completed FROM nexus.ledger_seals ORDER BY 1"
    ).fetchall()
    assert seals == [("second", 0, 0), ("workflow_main_queue", ids[-1], 5)]
    balanced(connection)
