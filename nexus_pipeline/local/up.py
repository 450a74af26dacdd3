"""`nexus up`: start the database, the Dagster UI, the daemon and the code server."""

import re
import signal
import sys
import threading
import time
from types import FrameType

from nexus_pipeline.database.connection import dagster_conninfo
from nexus_pipeline.database.ready import ready_database
from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.errors import ConflictError, NexusError, UnavailableError
from nexus_pipeline.local import running
from nexus_pipeline.local.processes import Stack, last_line, log_file, port_fault, spawn
from nexus_pipeline.settings import Settings


def check_free(settings: Settings, port: int) -> None:
    """Refuse to start twice in one home folder (ConflictError), or on a port that is in use (UnavailableError)."""
    if running.recorded(settings.home):
        raise ConflictError(f"nexus up is already running in {settings.home}: nexus down stops it")
    if port_fault(port) is not None:
        raise UnavailableError(f"port {port} is taken: choose another with --port")


def run(settings: Settings, port: int) -> None:
    """Start everything, stay until Ctrl-C or SIGTERM, then drain and stop what was started here.

    Raises as `check_free`, and UnavailableError when the database or a process does not start or keeps ending.
    """
    check_free(settings, port)
    own_server = settings.database_url is None and embedded.find(settings.home) is None
    ready_database(settings)
    dagster_conninfo(settings)
    _say("the database is ready")
    stack = Stack(settings.home, port)
    stop = threading.Event()
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    drain_seconds = 0
    try:
        stack.start()
        _say(f"Dagster UI   {stack.url}")  # `run_detached` reads this line
        _say("send one     nexus send --rsi 25 --symbol EURUSD")
        _say("see it       nexus executions")
        _say("Ctrl-C drains and stops everything")
        while not stop.wait(1):
            for line in [*_tend_database(settings), *stack.tend()]:
                _say(line)
        drain_seconds = settings.seconds_per_run + settings.lease_seconds
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _stop(stack, drain_seconds)
        if own_server:
            embedded.stop(settings.home)
            _say("the database is stopped")


def run_detached(settings: Settings, port: int) -> str:
    """Start everything in the background; returns the URL of the Dagster UI as soon as it answers. Raises as `run`."""
    check_free(settings, port)
    log = log_file(settings.home, "up")
    with log.open("wb") as output:
        command = [sys.executable, "-m", "nexus_pipeline.cli", "up", "--port", str(port)]
        child = spawn(command, settings.home, output)
    while child.poll() is None:
        if found := re.search(r"Dagster UI +(\S+)\n", log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.1)
    raise UnavailableError(last_line(log).removeprefix("nexus: "))


def _tend_database(settings: Settings) -> list[str]:
    """Restarts the embedded server if it has ended; returns lines to print."""
    if settings.database_url is not None or embedded.find(settings.home) is not None:
        return []
    try:
        embedded.start(settings.home)
    except NexusError as error:
        return [str(error)]
    return ["the database was down: started again"]


def _stop(stack: Stack, drain_seconds: float) -> None:
    """Stops the processes; Ctrl-C meanwhile interrupts the runs instead of waiting for them."""

    def hurry(_number: int, _frame: FrameType | None) -> None:
        _say("interrupting the runs: messages that they have not settled go back to the queue")
        stack.interrupt_runs()

    previous = signal.signal(signal.SIGINT, hurry)
    _say("stopping")
    try:
        stack.stop(_say, drain_seconds)
    finally:
        signal.signal(signal.SIGINT, previous)


def _say(text: str) -> None:
    print(f"nexus up: {text}", flush=True)
