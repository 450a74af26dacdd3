"""`nexus up`: the database, the Dagster UI, the daemon and the code server, with one command."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from nexus_pipeline.database.connection import dagster_conninfo
from nexus_pipeline.database.ready import ready_database
from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.errors import NexusError
from nexus_pipeline.local.processes import Stack, StackError, environment
from nexus_pipeline.settings import Settings


def run(settings: Settings, port: int = 3000, detach: bool = False) -> int:
    """Starts everything and stays until Ctrl-C or SIGTERM; then drains, stops all, and the database if it started it.

    `detach` leaves everything running and returns as soon as the UI answers (`nexus down` stops it).

    Returns the exit code.
    """
    if detach:
        return _detached(settings, port)
    found = settings.database_url is None and embedded.find(settings.home) is not None
    ready_database(settings)
    dagster_conninfo(settings)
    _say("the database is ready")
    stack = Stack(settings.home, port)
    stop = threading.Event()
    failure = ""
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        stack.start()
        _say(f"Dagster UI   {stack.url}")
        _say("send one     nexus send --rsi 25 --symbol EURUSD")
        _say("see it       nexus executions")
        _say("Ctrl-C drains and stops everything")
        while not stop.wait(1):
            for line in [*_tend_database(settings), *stack.tend()]:
                _say(line)
    except StackError as error:
        failure = str(error)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    _stop(stack, 0 if failure else settings.seconds_per_run + settings.lease_seconds)
    if settings.database_url is None and not found:
        embedded.stop(settings.home)
        _say("the database is stopped")
    if failure:
        # The last that is said, and so what `--detach` shows.
        print(f"nexus up: {failure}", file=sys.stderr)
        return 1
    return 0


def _tend_database(settings: Settings) -> list[str]:
    """Starts the embedded server again when it ended by itself; returns what there is to say."""
    if settings.database_url is not None or embedded.find(settings.home) is not None:
        return []
    try:
        embedded.start(settings.home)
    except NexusError as error:
        return [str(error)]
    return ["the database was down: started again"]


def _stop(stack: Stack, drain_seconds: float) -> None:
    """Stops in order; a second Ctrl-C interrupts the runs instead of waiting for them."""

    def hurry(_number: int, _frame: FrameType | None) -> None:
        _say("interrupting the runs: what they have not settled goes back to the queue")
        stack.kill_runs()

    previous = signal.signal(signal.SIGINT, hurry)
    try:
        _say("stopping")
        stack.stop(_say, drain_seconds)
    finally:
        signal.signal(signal.SIGINT, previous)


def _detached(settings: Settings, port: int) -> int:
    """Runs `nexus up` in the background, and waits until it says where to click."""
    home = settings.home.resolve()
    log = home / "logs" / "up.log"
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "nexus_pipeline.cli", "up", "--port", str(port)],
            env=environment(settings.home),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while child.poll() is None:
        if "Dagster UI" in log.read_text(errors="replace"):
            _say(f"Dagster UI   http://127.0.0.1:{port}")
            _say(f"running in the background (log: {_shown(log)}); `nexus down` stops it")
            return 0
        time.sleep(0.1)
    print(log.read_text(errors="replace").strip().splitlines()[-1], file=sys.stderr)
    return 1


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _say(text: str) -> None:
    print(f"nexus up: {text}", flush=True)
