"""The processes that `nexus up` recorded: `nexus down` ends them and no others."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from nexus_pipeline.local import running
from nexus_pipeline_tests.support.cli import Nexus


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def test_down_ends_the_recorded_processes_and_removes_the_record(
    nexus: Nexus, tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    running.record(home, {"webserver": sleeper.pid})
    assert (home / "up.json").stat().st_mode & 0o777 == 0o600
    ended = nexus("down", "--json")
    assert (ended.code, json.loads(ended.out)) == (0, {"stopped": ["webserver"], "server": False})
    sleeper.wait(240)
    assert not psutil.pid_exists(sleeper.pid)
    assert not (home / "up.json").exists()


def test_down_does_not_end_another_process_with_a_recorded_pid(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    began = psutil.Process(sleeper.pid).create_time()
    entries = {"webserver": {"pid": sleeper.pid, "created": began - 60}}
    (tmp_path / "up.json").write_text(json.dumps({"pids": entries}))
    assert running.recorded(tmp_path) == {}
    assert running.stop(tmp_path) == []
    time.sleep(0.2)
    assert sleeper.poll() is None


def test_a_process_that_has_ended_is_not_recorded(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    running.record(tmp_path, {"daemon": ended.pid, "webserver": sleeper.pid})
    assert list(running.recorded(tmp_path)) == ["webserver"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"pids": 5}', '{"pids": {"a": 5}}', '{"pids": {"a": {"pid": -1, "created": 0}}}']
)
def test_down_ignores_and_removes_an_invalid_record(nexus: Nexus, tmp_path: Path, text: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "up.json").write_text(text)
    assert nexus("down").code == 0
    assert not (home / "up.json").exists()


def test_down_without_anything_running_succeeds_and_creates_nothing(nexus: Nexus, tmp_path: Path) -> None:
    ended = nexus("down")
    assert (ended.code, ended.err) == (0, "")
    assert not (tmp_path / "home").exists()
