"""What the tests of commands share: homes, ports, processes, and waiting for what must come about."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import nexus_pipeline
from nexus_pipeline.database.connection import connect
from nexus_pipeline.database.ready import ready_database
from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.local import running
from nexus_pipeline.queues.ledger import ledger
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.settings import Settings

PROJECT = Path(nexus_pipeline.__file__).resolve().parents[1]
DAGSTER = [sys.executable, "-m", "dagster"]
NEXUS = [sys.executable, "-m", "nexus_pipeline.cli"]
STARTS_WITHIN_SECONDS = 90
JOB = [*DAGSTER, "job", "execute", "-m", "nexus_pipeline.definitions", "-j", "process_trading_workflow"]


@contextmanager
def home_of_its_own() -> Iterator[Path]:
    """A home folder yet to be made, with a path short enough for sockets; what still runs in it is ended."""
    folder = Path(tempfile.mkdtemp(prefix="nx-", dir="/tmp"))
    home = folder / "h"
    try:
        yield home
    finally:
        running.stop(home, seconds=5)
        end_all(left_behind(home))
        embedded.stop(home)
        shutil.rmtree(folder)


@pytest.fixture
def home() -> Iterator[Path]:
    with home_of_its_own() as made:
        yield made


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a user's shell has with nothing of ours set but the home folder."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("NEXUS_", "DAGSTER_"))}
    own["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{own.get('PATH', os.defpath)}"
    return {**own, "NEXUS_HOME": str(home), **more}


def run(
    command: Sequence[str], env: dict[str, str], seconds: float = 400, cwd: Path = PROJECT
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, which must come within the seconds: a limit for one that hangs, not for its speed."""
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=seconds, check=False)


def nexus_json(env: dict[str, str], *arguments: str) -> Any:
    """What `nexus ... --json` prints on its last line."""
    done = run([*NEXUS, *arguments, "--json"], env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


class Background:
    """A command that goes on, in a session of its own, with its output in a file."""

    def __init__(self, command: Sequence[str], env: dict[str, str], log: Path, cwd: Path = PROJECT) -> None:
        self.log = log
        with log.open("wb") as output:
            self.popen = subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for_text(self, text: str, seconds: float) -> None:
        """Waits until it has said `text`."""
        wait_until(lambda: text in self.text or self.popen.poll() is not None, seconds, lambda: self.text)
        assert text in self.text, self.text

    def end(self) -> None:
        """Ends it and all that it started, whatever state they are in."""
        with suppress(psutil.NoSuchProcess):
            own = psutil.Process(self.popen.pid)
            end_all([own, *own.children(recursive=True)])
        self.popen.wait(240)


@contextmanager
def background(command: Sequence[str], env: dict[str, str], log: Path, cwd: Path = PROJECT) -> Iterator[Background]:
    """A command that goes on until the end of the test."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    started = Background(command, env, log, cwd)
    try:
        yield started
    finally:
        started.end()


def end_all(processes: Sequence[psutil.Process]) -> None:
    """Kills these processes and waits until they are gone."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(list(processes), timeout=10)


def left_behind(home: Path) -> list[psutil.Process]:
    """The processes, other than the database server, whose environment names this home folder."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("NEXUS_HOME") == str(home) and process.status() != psutil.STATUS_ZOMBIE
            if mine and process.name() != "postgres" and process.pid != os.getpid():
                found.append(process)
        except psutil.Error:
            continue
    return found


def free_port() -> int:
    """A port where nobody listens, for a command that opens it later.

    It lies below the ports that the system gives to outgoing connections, and each worker of pytest-xdist looks in a
    range of its own: nobody else takes it meanwhile.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
    while True:
        port = 12_000 + worker * 5_000 + random.randrange(5_000)
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def wait_until(true: Callable[[], bool], seconds: float, why_not: Callable[[], object] = lambda: "") -> None:
    """Waits until something is so, at most `seconds` of an idle machine: a loaded one gets as much longer as it needs.

    The load is measured while waiting: the time that a short computation takes, against the processor time in it.
    """
    began = time.monotonic()
    loads: list[float] = []
    while not true():
        waited = time.monotonic() - began
        if waited > len(loads):
            loads.append(_load())
        if waited > seconds * max(1.0, statistics.fmean(loads)):
            raise AssertionError(f"not so after {waited:.0f} s: {why_not()}")
        time.sleep(0.1)


def _load() -> float:
    """How many processes share a processor with this one: 1.0 on an idle machine."""
    began, used = time.perf_counter(), time.process_time()
    while time.process_time() - used < 0.02:
        pass
    return (time.perf_counter() - began) / (time.process_time() - used)


def answers(port: int) -> bool:
    """Whether Dagster's web server answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=2):
            return True
    except OSError:
        return False


def graphql(port: int, query: str) -> Any:
    """The data that Dagster's web server answers a query with."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)
    assert "errors" not in answer, answer
    return answer["data"]


def runs_listed(port: int) -> list[dict[str, str]]:
    """The runs of the main job that the UI lists, newest first: each with its runId and status."""
    of_the_job = 'filter: {pipelineName: "process_trading_workflow"}'
    found = graphql(port, f"{{ runsOrError({of_the_job}) {{ ... on Runs {{ results {{ runId status }} }} }} }}")
    return list(found["runsOrError"]["results"])


def up(port: int) -> list[str]:
    """The command `nexus up`."""
    return [*NEXUS, "up", "--port", str(port)]


def completed(home: Path) -> int:
    """How many messages are completed."""
    with connect(ready_database(Settings(home=home))) as connection:
        return ledger(connection, MAIN_QUEUE).completed


def send_and_wait(home: Path, env: dict[str, str], seconds: float = 15) -> None:
    """Sends one request, which must be decided within `seconds`."""
    before = completed(home)
    assert nexus_json(env, "send", "--rsi", "25")["sent"] == 1
    wait_until(lambda: completed(home) == before + 1, seconds, lambda: nexus_json(env, "status"))


def wait_for_ui(command: Background, port: int) -> None:
    """Waits until the web server of a command in the background answers."""
    wait_until(lambda: answers(port) or command.popen.poll() is not None, STARTS_WITHIN_SECONDS, lambda: command.text)
    assert command.popen.poll() is None, command.text


def wait_for_sensors(port: int, command: Background | None = None) -> None:
    """Waits until the daemon evaluates sensors, which begins some time after the UI answers."""

    def healthy() -> bool:
        found = graphql(port, "{ instance { daemonHealth { allDaemonStatuses { daemonType healthy } } } }")
        return {"daemonType": "SENSOR", "healthy": True} in found["instance"]["daemonHealth"]["allDaemonStatuses"]

    wait_until(healthy, STARTS_WITHIN_SECONDS, lambda: command.text if command is not None else "")
