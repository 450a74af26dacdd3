"""A whole pipeline under steady sending on a server of the test's own, for the tests of what goes wrong."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from nexus_pipeline.database.connection import connect
from nexus_pipeline.database.migrations import migrate
from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.errors import NexusError
from nexus_pipeline.queues.ledger import Ledger, ledger
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.queues.sending import enqueue
from nexus_pipeline_tests.support.commands import (
    NEXUS,
    Background,
    background,
    environment,
    free_port,
    left_behind,
    runs_listed,
    wait_until,
)
from nexus_pipeline_tests.support.queues import assert_each_has_one_outcome, balanced
from nexus_pipeline_tests.support.servers import embedded_server

PER_SECOND = 200


@pytest.fixture
def server() -> Iterator[tuple[str, Path]]:
    """A server of the test's own, as an operator has one: the URL of a database for the work, and its home."""
    with embedded_server(durable=True) as (info, own_home):
        with connect(info.url) as connection:
            connection.execute("CREATE DATABASE work")
        url = embedded.database_url(info, "work")
        migrate(url)
        yield url, own_home


class Sender:
    """Sends steadily; an event whose sending was not confirmed is sent again, so that each is queued once."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sent = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(240)
        assert not self._thread.is_alive()

    def _send(self) -> None:
        number = 0
        while not self._over.wait(0.25):
            batch = [json.dumps({"rsi": n % 101, "event_id": f"{number}-{n}"}) for n in range(PER_SECOND // 4)]
            try:
                with connect(self.url) as connection:
                    enqueue(connection, MAIN_QUEUE, batch)
            except (NexusError, psycopg.Error):
                continue
            number += 1
            self.sent += len(batch)


@contextmanager
def pipeline(home: Path, url: str) -> Iterator[tuple[Background, int]]:
    """`nexus up` with short leases and small batches, two runs at once, and the port of its UI."""
    env = environment(
        home,
        NEXUS_DATABASE_URL=url,
        NEXUS_LEASE_SECONDS="3",
        NEXUS_BATCH_SIZE="50",
        NEXUS_BATCHES_PER_RUN="20",
        NEXUS_MAX_RUNS="2",
        # A crash is no attempt, so this is not for the kills, but for the server that goes away in mid-settle.
        NEXUS_MAX_ATTEMPTS="20",
    )
    port = free_port()
    with background([*NEXUS, "up", "--port", str(port)], env, home.parent / "up.log") as up:
        up.wait_for_text("Ctrl-C drains and stops everything", 90)
        yield up, port
        assert up.popen.poll() is None, up.text
        up.popen.terminate()
        assert up.popen.wait(240) == 0, up.text
    assert left_behind(home) == []


def runs_at_work(up: Background) -> list[psutil.Process]:
    """The processes of runs, which the code server spawns."""
    found = []
    for process in psutil.Process(up.popen.pid).children(recursive=True):
        try:
            if any("spawn_main" in part for part in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def kill_one_at_work(up: Background, chance: random.Random) -> bool:
    """Kills a run, if one is at work; says whether it did."""
    at_work = runs_at_work(up)
    if not at_work:
        return False
    with suppress(psutil.NoSuchProcess):  # it ended meanwhile
        chance.choice(at_work).kill()
        return True
    return False


def state(url: str) -> Ledger:
    with connect(url) as connection:
        return ledger(connection, MAIN_QUEUE)


def wait_until_drained(url: str, up: Background, seconds: float) -> None:
    def drained() -> bool:
        now = state(url)
        return now.waiting + now.leased + now.retrying == 0

    wait_until(drained, seconds, lambda: f"{state(url)}\n{up.text}")


def wait_for_progress(url: str, up: Background, seconds: float) -> None:
    """Waits until messages are completed that were not yet completed now."""
    before = state(url).completed
    wait_until(lambda: state(url).completed > before, seconds, lambda: f"{state(url)}\n{up.text}")


def assert_every_message_has_one_outcome(url: str, sent: int) -> None:
    with connect(url) as connection:
        book = balanced(connection)
        assert (book.sent, book.completed, book.dead_lettered) == (sent, sent, 0)
        ids = [row[0] for row in connection.execute("SELECT msg_id FROM pgmq.a_workflow_main_queue").fetchall()]
        assert_each_has_one_outcome(connection, ids)


def wait_until_no_run_seems_at_work(port: int) -> None:
    """Waits until Dagster knows of every run that it ended, one way or the other."""
    wait_until(
        lambda: {run["status"] for run in runs_listed(port)} <= {"SUCCESS", "FAILURE"}, 30, lambda: runs_listed(port)
    )
