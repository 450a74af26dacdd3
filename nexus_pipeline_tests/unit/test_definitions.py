"""What Dagster loads: the names that others rely on, and how sensor, job and ops are set."""

from __future__ import annotations

import dagster as dg
from dagster._core.execution.api import create_execution_plan

from nexus_pipeline.definitions import defs

REPOSITORY = defs.get_repository_def()
JOB = defs.resolve_job_def("process_trading_workflow")


def test_definitions_can_be_loaded_whole() -> None:
    dg.Definitions.validate_loadable(defs)


def test_the_assets_that_the_main_job_reads_and_writes_are_there() -> None:
    keys = {key.to_user_string() for key in REPOSITORY.asset_graph.get_all_asset_keys()}
    assert {"workflow_main_queue", "workflow_executions", "workflow_results", "workflow_errors"} <= keys


def test_executions_come_from_the_queue() -> None:
    node = REPOSITORY.asset_graph.get(dg.AssetKey("workflow_executions"))
    assert node.parent_keys == {dg.AssetKey("workflow_main_queue")}


def test_the_sensor_runs_by_default_and_every_second_on_the_main_job() -> None:
    sensor = REPOSITORY.get_sensor_def("workflow_main_queue_sensor")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 1
    assert [target.job_name for target in sensor.targets] == ["process_trading_workflow"]


def test_old_runs_are_purged_by_default_every_hour() -> None:
    schedule = REPOSITORY.get_schedule_def("purge_queue_runs_schedule")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert schedule.job_name == "purge_queue_runs"
    assert schedule.cron_schedule == "17 * * * *"


def test_the_steps_of_a_run_are_plan_mapped_batches_and_summary_in_one_process() -> None:
    assert JOB.executor_def is dg.in_process_executor
    assert {node.name for node in JOB.nodes} == {"plan", "batch", "summary"}
    assert JOB.graph.node_named("plan").definition.output_defs[0].is_dynamic
    steps = create_execution_plan(JOB).get_all_steps_in_topo_order()
    assert [step.key for step in steps] == ["plan", "batch[?]", "summary"]


def test_steps_that_need_the_database_are_tried_again_with_backoff_and_jitter() -> None:
    for name in ("plan", "batch"):
        policy = JOB.graph.node_named(name).definition.retry_policy
        assert policy is not None, name
        assert policy.max_retries == 3
        assert policy.backoff is dg.Backoff.EXPONENTIAL
        assert policy.jitter is dg.Jitter.FULL


def test_a_crashed_run_starts_from_its_first_step_again() -> None:
    assert JOB.tags["dagster/retry_strategy"] == "ALL_STEPS"
    assert JOB.tags["nexus/queue"] == "workflow_main_queue"


def test_every_op_and_job_says_what_it_does() -> None:
    for job in ("process_trading_workflow", "purge_queue_runs"):
        found = defs.resolve_job_def(job)
        assert found.description, job
        for node in found.nodes:
            assert node.definition.description, node.name
