"""The sensor says what it sees and requests runs for it; it never takes anything out of the queue."""

from __future__ import annotations

import json
import time

import dagster as dg
import psycopg
import pytest

from nexus_pipeline.dagster_instance.resources import NexusDatabase
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.definitions import defs
from nexus_pipeline.processing.jobs import QUEUE_TAG
from nexus_pipeline.processing.sensors import workflow_main_queue_sensor
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline_tests.support.dagster import dagster_database, dagster_template, instance
from nexus_pipeline_tests.support.queues import balanced, must_claim, one, send_signals

__all__ = ["dagster_database", "dagster_template", "instance"]

QUEUED = {QUEUE_TAG: MAIN_QUEUE}


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run takes 100 messages, and three runs are in flight at most."""
    for name, value in {"BATCH_SIZE": "10", "BATCHES_PER_RUN": "10", "MAX_RUNS": "3"}.items():
        monkeypatch.setenv(f"NEXUS_{name}", value)


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    """One evaluation, as the daemon asks for it."""
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"nexus": NexusDatabase()})
    result = workflow_main_queue_sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def a_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> str:
    """A run of the queue in this state."""
    job = defs.resolve_job_def("process_trading_workflow")
    return instance.create_run_for_job(job, status=status, tags=QUEUED).run_id


def skipped(result: dg.SensorResult) -> str:
    assert not result.run_requests
    assert isinstance(result.skip_reason, dg.SkipReason)
    return str(result.skip_reason.skip_message)


def test_an_empty_queue_is_a_reason_to_skip(instance: dg.DagsterInstance) -> None:
    assert skipped(tick(instance)) == "nothing waits in workflow_main_queue; 0 runs in flight"


@pytest.mark.parametrize(("waiting", "runs"), [(1, 1), (100, 1), (101, 2), (1_000, 3)])
def test_what_waits_makes_runs_up_to_the_cap(
    instance: dg.DagsterInstance, connection: Connection, waiting: int, runs: int
) -> None:
    send_signals(connection, waiting)
    assert len(tick(instance).run_requests or []) == runs


def test_runs_in_flight_count_towards_the_cap_and_ended_ones_do_not(
    instance: dg.DagsterInstance, connection: Connection
) -> None:
    send_signals(connection, 1_000)
    status = dg.DagsterRunStatus
    for ended in (status.SUCCESS, status.FAILURE, status.CANCELED):
        a_run(instance, ended)
    assert len(tick(instance).run_requests or []) == 3
    a_run(instance, status.STARTED)
    assert len(tick(instance).run_requests or []) == 2
    for at_work in (status.STARTING, status.NOT_STARTED):
        a_run(instance, at_work)
    reason = skipped(tick(instance))
    assert reason.startswith("1000 wait in workflow_main_queue, the oldest for ")
    assert reason.endswith(" s; 3 runs in flight, at most 3")


def test_runs_that_were_not_heard_of_for_longer_than_a_run_takes_do_not_hold_the_queue_up(
    instance: dg.DagsterInstance, connection: Connection, dagster_database: str
) -> None:
    send_signals(connection, 1_000)
    for _ in range(3):
        a_run(instance, dg.DagsterRunStatus.STARTED)
    assert skipped(tick(instance))
    with psycopg.connect(dagster_database, autocommit=True) as storage:
        storage.execute("UPDATE runs SET update_timestamp = update_timestamp - interval '1 hour'")
    assert len(tick(instance).run_requests or []) == 3


def test_run_keys_never_repeat_so_that_work_of_a_failed_run_runs_again(
    instance: dg.DagsterInstance, connection: Connection
) -> None:
    send_signals(connection, 1_000)
    requests = [request for _ in range(10) for request in tick(instance).run_requests or []]
    assert len(requests) == 30
    assert len({request.run_key for request in requests}) == 30
    for request in requests:
        assert request.tags == {QUEUE_TAG: MAIN_QUEUE, "dagster/max_runtime": "120"}


def test_the_sensor_never_consumes(instance: dg.DagsterInstance, connection: Connection) -> None:
    send_signals(connection, 50)
    before = connection.execute("SELECT * FROM pgmq.q_workflow_main_queue ORDER BY msg_id").fetchall()
    for _ in range(5):
        tick(instance)
    assert connection.execute("SELECT * FROM pgmq.q_workflow_main_queue ORDER BY msg_id").fetchall() == before
    assert one(connection, "SELECT max(read_ct) FROM pgmq.q_workflow_main_queue") == 0
    assert balanced(connection).waiting == 50


def test_leased_messages_are_no_reason_for_a_run(instance: dg.DagsterInstance, connection: Connection) -> None:
    send_signals(connection, 10)
    must_claim(connection, 10)
    assert skipped(tick(instance)) == "nothing waits in workflow_main_queue; 0 runs in flight"


def test_depth_and_age_are_observed_once_a_minute_as_numbers_that_plot(
    instance: dg.DagsterInstance, connection: Connection
) -> None:
    send_signals(connection, 7)
    a_run(instance, dg.DagsterRunStatus.STARTED)
    first = tick(instance)
    (observation,) = first.asset_events
    assert isinstance(observation, dg.AssetObservation)
    assert observation.asset_key == dg.AssetKey("workflow_main_queue")
    values = {name: value.value for name, value in observation.metadata.items()}
    assert (values["waiting"], values["runs_in_flight"]) == (7, 1)
    assert isinstance(values["oldest_wait_s"], float)
    assert values["oldest_wait_s"] > 0

    second = tick(instance, first.cursor)
    assert list(second.asset_events) == []
    assert second.cursor == first.cursor
    a_minute_ago = json.dumps({"observed_at": time.time() - 61})
    third = tick(instance, a_minute_ago)
    assert len(third.asset_events) == 1
    assert third.cursor != a_minute_ago


def test_an_empty_queue_is_observed_too(instance: dg.DagsterInstance) -> None:
    (observation,) = tick(instance).asset_events
    values = {name: value.value for name, value in observation.metadata.items()}
    assert values == {"waiting": 0, "oldest_wait_s": 0.0, "runs_in_flight": 0}


def test_a_session_that_was_cut_off_is_no_error(instance: dg.DagsterInstance, connection: Connection) -> None:
    send_signals(connection, 1)
    assert tick(instance).run_requests
    connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM (SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()) AS others"
    )
    assert tick(instance).run_requests
