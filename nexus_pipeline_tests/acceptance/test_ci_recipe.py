"""The recipe for CI, run as a build runs it: exit code 0, and 1 when a check fails or the definitions do not load."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from nexus_pipeline.database.connection import Connection
from nexus_pipeline_tests.support.commands import PROJECT
from nexus_pipeline_tests.support.dagster import dagster_database, dagster_template
from nexus_pipeline_tests.support.queues import one

__all__ = ["dagster_database", "dagster_template"]


@pytest.fixture
def build(nexus_env: dict[str, str], dagster_database: str) -> dict[str, str]:
    return {**nexus_env, "NEXUS_DAGSTER_DATABASE_URL": dagster_database, "NEXUS_CI_REQUESTS": "50"}


def run(env: dict[str, str], folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=240, check=False)


def recipe(env: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return run(env, folder, "sh", str(PROJECT / "deploy" / "ci" / "run.sh"))


def test_the_recipe_passes_in_a_folder_of_its_own_and_its_checks_are_known_afterwards(
    build: dict[str, str], connection: Connection, tmp_path: Path
) -> None:
    before = run(build, tmp_path, "nexus", "checks")
    assert (before.returncode, "no check has run yet" in before.stderr) == (1, True)
    done = recipe(build, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert one(connection, "SELECT sum(completed) FROM hourly_signal_aggregates") == 50
    shown = [line for line in done.stdout.splitlines() if "_reconcile" in line]
    assert [line.split()[:2] for line in shown[:2]] == [
        ["passed", "hourly_signal_aggregates"],
        ["passed", "hourly_workflow_metrics"],
    ]


def test_the_recipe_fails_the_build_when_a_check_fails(
    build: dict[str, str], connection: Connection, tmp_path: Path
) -> None:
    connection.execute(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.executions = 7; RETURN NEW; END';"
        "CREATE TRIGGER spoil BEFORE INSERT ON hourly_signal_aggregates FOR EACH ROW EXECUTE FUNCTION spoil()"
    )
    failed = recipe(build, tmp_path)
    assert failed.returncode == 1
    assert "hourly_signal_aggregates_reconcile" in failed.stdout + failed.stderr
    listed = run(build, tmp_path, "nexus", "checks")
    assert (listed.returncode, "1 check: hourly_signal_aggregates_reconcile (failed)" in listed.stderr) == (1, True)


def test_definitions_that_do_not_load_fail_the_build_at_once(build: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "broken_definitions.py").write_text("raise RuntimeError('no')\n")
    done = recipe({**build, "PYTHONPATH": str(tmp_path), "NEXUS_CI_DEFINITIONS": "broken_definitions"}, tmp_path)
    assert done.returncode != 0
    assert "requests are processed" not in done.stdout
