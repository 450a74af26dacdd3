"""The recipe for CI, run as a build runs it: exit code 0, and another when a check fails or the definitions do not load."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nexus_pipeline.database.connection import Connection
from nexus_pipeline_tests.command_tools import PROJECT
from nexus_pipeline_tests.dagster_tools import dagster_database, dagster_template
from nexus_pipeline_tests.queue_tools import one

__all__ = ["dagster_database", "dagster_template"]


@pytest.fixture
def build(nexus_env: dict[str, str], dagster_database: str) -> dict[str, str]:
    return {**nexus_env, "NEXUS_DAGSTER_DATABASE_URL": dagster_database, "NEXUS_CI_REQUESTS": "50"}


def recipe(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "deploy/ci/run.sh"], env=env, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_recipe_passes_and_fails_with_a_check(build: dict[str, str], connection: Connection) -> None:
    done = recipe(build)
    assert done.returncode == 0, done.stdout + done.stderr
    assert one(connection, "SELECT sum(completed) FROM hourly_signal_aggregates") == 50
    assert "hourly_signal_aggregates_reconcile" in done.stdout
    connection.execute(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.executions = 7; RETURN NEW; END';"
        "CREATE TRIGGER spoil BEFORE INSERT ON hourly_signal_aggregates FOR EACH ROW EXECUTE FUNCTION spoil()"
    )
    failed = recipe(build)
    assert failed.returncode == 1
    assert "hourly_signal_aggregates_reconcile" in failed.stdout + failed.stderr
    listed = subprocess.run(
        ["nexus", "checks"], env=build, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )
    assert listed.returncode == 1
    assert "1 check: hourly_signal_aggregates_reconcile (failed)" in listed.stderr


def test_definitions_that_do_not_load_fail_the_build_at_once(build: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "broken_definitions.py").write_text("raise RuntimeError('no')\n")
    done = recipe({**build, "PYTHONPATH": str(tmp_path), "NEXUS_CI_DEFINITIONS": "broken_definitions"})
    assert done.returncode != 0
    assert "requests are processed" not in done.stdout
