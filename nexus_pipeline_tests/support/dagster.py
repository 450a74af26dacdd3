"""A real Dagster instance with our storage in the test's databases, and what tests read from it."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
import sqlalchemy
from psycopg_pool import ConnectionPool

from nexus_pipeline.dagster_instance.engine import dagster_url, shared_engine
from nexus_pipeline.dagster_instance.storage import NexusStorage
from nexus_pipeline.database.ready import shared_pool
from nexus_pipeline.definitions import defs
from nexus_pipeline_tests.support import servers
from nexus_pipeline_tests.support.commands import PROJECT


@pytest.fixture(scope="session")
def dagster_template(server_url: str) -> Iterator[str]:
    """The name of a database with Dagster's tables and no sessions: creating the tables takes seconds."""
    name = f"nexus_dagster_template_{uuid4().hex[:12]}"
    with servers.temporary_database(server_url, name) as url:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NEXUS_DAGSTER_DATABASE_URL", url)
            NexusStorage()
            forget_pools()
        yield name


@pytest.fixture
def dagster_database(server_url: str, dagster_template: str) -> Iterator[str]:
    """The URL of a database with Dagster's tables, for this test only."""
    with servers.temporary_database(server_url, f"nexus_dagster_{uuid4().hex[:12]}", dagster_template) as url:
        yield url


@pytest.fixture
def instance(
    conninfo: str, dagster_database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[dg.DagsterInstance]:
    """The instance of dagster.yaml; NEXUS_* variables point at the test's databases for as long."""
    monkeypatch.setenv("NEXUS_DATABASE_URL", conninfo)
    monkeypatch.setenv("NEXUS_DAGSTER_DATABASE_URL", dagster_database)
    monkeypatch.setenv("NEXUS_HOME", str(tmp_path / "home"))
    folder = tmp_path / "dagster"
    folder.mkdir()
    shutil.copyfile(PROJECT / "dagster.yaml", folder / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(folder)) as created:
        yield created
    forget_pools()


def forget_pools() -> None:
    """Close the pools of this process, so that the next test starts without any."""
    shared_pool.cache_clear()
    dagster_url.cache_clear()
    shared_engine.cache_clear()
    for found in gc.get_objects():
        if isinstance(found, ConnectionPool):
            found.close()
        elif isinstance(found, sqlalchemy.Engine):
            found.dispose()


def execute(instance: dg.DagsterInstance, **config: object) -> dg.ExecuteInProcessResult:
    """Run the main job in this process, with this configuration of its `plan` op."""
    return defs.resolve_job_def("process_trading_workflow").execute_in_process(
        instance=instance, run_config={"ops": {"plan": {"config": config}}}, raise_on_error=False
    )


def step_metadata(result: dg.ExecuteInProcessResult, op: str) -> list[dict[str, Any]]:
    """The output metadata of each step of an op, in order."""
    return [
        {name: value.value for name, value in event.step_output_data.metadata.items()}
        for event in result.all_events
        if event.is_successful_output and str(event.step_key).split("[")[0] == op
    ]


def failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """The error text of each failed step."""
    return [
        str(event.step_failure_data.user_failure_data.description)
        for event in result.all_events
        if event.is_step_failure and event.step_failure_data.user_failure_data is not None
    ]


def tries_again(result: dg.ExecuteInProcessResult) -> int:
    """How many times a step was retried."""
    return sum(event.is_step_restarted for event in result.all_events)
