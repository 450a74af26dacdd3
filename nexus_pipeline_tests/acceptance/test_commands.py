"""The commands of CI and of a first try, as users run them: nothing is set but NEXUS_HOME."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nexus_pipeline.database.connection import connect, server_conninfo
from nexus_pipeline.settings import Settings
from nexus_pipeline_tests.support.commands import DAGSTER, JOB, NEXUS, PROJECT, environment, home, nexus_json, run
from nexus_pipeline_tests.support.queues import assert_each_has_one_outcome, balanced

__all__ = ["home"]


def test_definitions_validate_with_nothing_set(home: Path) -> None:
    done = run([*DAGSTER, "definitions", "validate"], environment(home))
    assert done.returncode == 0, done.stderr
    assert "Validation successful" in done.stderr + done.stdout


def test_job_execute_with_nothing_set_processes_the_queue_and_ends_with_0(home: Path) -> None:
    env = environment(home)
    sent = nexus_json(env, "send", "--rsi", "25", "--symbol", "EURUSD", "--count", "30")
    assert sent["sent"] == 30
    done = run(JOB, env)
    assert done.returncode == 0, done.stderr
    status = nexus_json(env, "status")
    assert (status["sent"], status["completed"], status["waiting"], status["adds_up"]) == (30, 30, 0, True)
    assert [row["signal"] for row in nexus_json(env, "executions", "--limit", "1")] == ["BUY"]
    again = run(JOB, env)
    assert again.returncode == 0, again.stderr
    with connect(server_conninfo(Settings(home=home))) as connection:
        assert_each_has_one_outcome(connection, range(sent["first_msg_id"], sent["last_msg_id"] + 1))
        balanced(connection)


def test_job_execute_with_an_invalid_config_ends_with_1_and_names_the_field(home: Path, tmp_path: Path) -> None:
    env = environment(home)
    config = tmp_path / "config.yaml"  # JSON is YAML
    config.write_text(json.dumps({"ops": {"plan": {"config": {"max_seconds": "soon"}}}}))
    done = run([*JOB, "-c", str(config)], env)
    assert done.returncode == 1
    assert "max_seconds" in done.stderr
    config.write_text(json.dumps({"ops": {"plan": {"config": {"queue": "not_there"}}}}))
    missing = run([*JOB, "-c", str(config)], env)
    assert missing.returncode == 1
    assert "there is no queue not_there" in missing.stderr


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"NEXUS_DATABASE_URL": "postgresql://me:secret@127.0.0.1:1/base"},
            "no connection to PostgreSQL at 127.0.0.1:1/base",
        ),
        ({"NEXUS_DATABASE_URL": "not a url"}, "NEXUS_DATABASE_URL: is no libpq URL"),
        ({"NEXUS_BATCH_SIZE": "0"}, "NEXUS_BATCH_SIZE: "),
    ],
)
def test_job_execute_with_an_invalid_variable_ends_with_1_and_names_it(
    home: Path, variables: dict[str, str], said: str
) -> None:
    done = run(JOB, environment(home, **variables))
    assert done.returncode == 1
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert not home.exists()


def test_the_demo_adds_up_and_a_second_run_adds_nothing_and_says_so(home: Path) -> None:
    # Ten weeks of aggregates instead of a year, to be quick.
    since = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(weeks=10)
    env = {**environment(home), "NEXUS_PARTITIONS_START": since.isoformat()}
    first = run([*NEXUS, "demo", "--json"], env, seconds=200)
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout.splitlines()[-1])
    decided = [day for day in report["by_day"] if day["day"] >= f"{since:%Y-%m-%d}"]
    assert report["aggregates"]["decisions"] == sum(day["BUY"] + day["SELL"] + day["HOLD"] for day in decided) > 500
    assert 9 <= len(report["aggregates"]["by_week"]) <= 11
    assert report["bars"] == 6_225
    assert report["sent"] == report["completed"] + report["dead_lettered"] == report["requests"] == report["sent_now"]
    assert (report["waiting"], report["duplicates"], report["lost"], report["adds_up"]) == (0, 0, 0, True)
    assert report["bars"] == report["requests"] + report["warm_up"] + report["no_movement"]
    second = run([*NEXUS, "demo", "--json"], env, seconds=200)
    assert second.returncode == 0, second.stderr
    again = json.loads(second.stdout.splitlines()[-1])
    assert (again["sent_now"], again["sent_before"]) == (0, report["sent"])
    assert [again[name] for name in ("sent", "completed", "dead_lettered", "waiting", "duplicates")] == [
        report[name] for name in ("sent", "completed", "dead_lettered", "waiting", "duplicates")
    ]
    assert "were sent before: nothing is added twice" in second.stderr


def test_the_wheel_carries_the_sql_and_the_instance_configuration_and_no_tests(tmp_path: Path) -> None:
    code = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        configuration = archive.read("nexus_pipeline/dagster.yaml")
    for path in (PROJECT / "sql").rglob("*.sql"):
        assert f"nexus_pipeline/{path.relative_to(PROJECT)}" in names
    for path in (PROJECT / "nexus_pipeline").rglob("*.py"):
        assert str(path.relative_to(PROJECT)) in names
    assert configuration == (PROJECT / "dagster.yaml").read_bytes()
    assert not [name for name in names if name.startswith(("nexus_pipeline_tests", "benchmarks"))]
