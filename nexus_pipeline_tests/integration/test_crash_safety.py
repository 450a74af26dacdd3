"""Whatever is killed, whenever: each message has exactly one outcome, and the counts add up."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from nexus_pipeline.database.connection import Connection, connect
from nexus_pipeline.database.migrations import migrate
from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.errors import NexusError
from nexus_pipeline.queues.leases import RetryPolicy
from nexus_pipeline.queues.ledger import ledger
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.queues.sending import enqueue
from nexus_pipeline_tests.support.queues import (
    assert_each_has_one_outcome,
    balanced,
    drain,
    let_leases_end,
    one,
    raising_strategy,
    send,
    send_signals,
)
from nexus_pipeline_tests.support.servers import embedded_server

PATIENT = RetryPolicy(max_attempts=8, base_seconds=0.001, max_seconds=0.001)
LEASE_SECONDS = 1
WAITING_FOR_THE_LOCK = (
    "FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
WORKERS = """
# For each line on standard input a worker is forked, whose pid is printed. It stops where the line says.
import os, random, signal, sys, time
import psycopg
from nexus_pipeline.database.connection import connect
from nexus_pipeline.errors import NexusError
from nexus_pipeline.queues.leases import RetryPolicy, claim, settle

def work(url, stop):
    with connect(url) as connection:
        while True:
            lease = claim(connection, "workflow_main_queue", 20, 1)
            if lease is None:
                time.sleep(0.01)
                continue
            if stop == "claimed":
                reached(stop)
            if stop == "never":
                time.sleep(random.uniform(0, 0.01))  # so that as many are killed between claim and settle as inside
            settle(connection, lease, RetryPolicy(8, 0.001, 0.001))
            if stop == "settled":
                reached(stop)

def reached(stop):
    os.write(1, f"{stop}\\n".encode())
    time.sleep(600)

def keep_working(url, stop):
    while True:
        try:
            work(url, stop)
        except (NexusError, psycopg.Error):
            time.sleep(0.05)  # the server is away: try again

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
url = sys.argv[1]
while line := sys.stdin.readline():
    pid = os.fork()
    if pid == 0:
        os.close(0)
        keep_working(url, line.strip())
    os.write(1, f"{pid}\\n".encode())
"""


class Workers:
    """Processes that work on the main queue, 20 messages at a time, each with a lease of a second."""

    def __init__(self, url: str) -> None:
        self.nursery = subprocess.Popen(
            [sys.executable, "-c", WORKERS, url],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.pids: list[int] = []

    def start(self, stop: str = "never") -> int:
        """A new worker, which goes on until it is killed, or stops after its first `claimed` or `settled`."""
        assert self.nursery.stdin is not None
        self.nursery.stdin.write(f"{stop}\n")
        self.pids.append(int(self.line()))
        return self.pids[-1]

    def line(self) -> str:
        assert self.nursery.stdout is not None
        return self.nursery.stdout.readline().strip()

    def kill(self, pid: int) -> None:
        """As the kernel does when memory runs out."""
        self.pids.remove(pid)
        worker = psutil.Process(pid)
        os.kill(pid, signal.SIGKILL)
        psutil.wait_procs([worker], timeout=60)


@contextmanager
def workers_at(url: str) -> Iterator[Workers]:
    workers = Workers(url)
    try:
        yield workers
    finally:
        for pid in list(workers.pids):
            workers.kill(pid)
        workers.nursery.kill()
        workers.nursery.communicate()


@pytest.fixture
def workers(conninfo: str) -> Iterator[Workers]:
    with workers_at(conninfo) as made:
        yield made


def wait_until_alone(connection: Connection) -> None:
    """The server goes on with what a killed worker had asked for: wait until that is over."""
    wait_for(
        connection,
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
    )


def wait_for(connection: Connection, condition: str, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not one(connection, condition):
        assert time.monotonic() < deadline, condition
        time.sleep(0.01)


def test_killed_after_its_claim_a_worker_has_done_nothing_and_its_messages_come_back(
    connection: Connection, workers: Workers
) -> None:
    ids = send_signals(connection, 30)
    pid = workers.start("claimed")
    assert workers.line() == "claimed"
    workers.kill(pid)
    found = balanced(connection)
    assert (found.leased + found.waiting, found.completed) == (30, 0)
    workers.start()  # waits for the lease to end, as any worker does
    wait_for(connection, "SELECT completed = 30 FROM nexus.ledger('workflow_main_queue')")
    assert_each_has_one_outcome(connection, ids)
    assert one(connection, "SELECT count(*) FROM pgmq.a_workflow_main_queue WHERE read_ct > 1") == 20


def test_killed_after_its_commit_a_worker_leaves_nothing_to_do_again(connection: Connection, workers: Workers) -> None:
    ids = send_signals(connection, 20)
    pid = workers.start("settled")
    assert workers.line() == "settled"
    workers.kill(pid)
    time.sleep(LEASE_SECONDS + 0.1)
    assert drain(connection, policy=PATIENT).completed == 0
    assert_each_has_one_outcome(connection, ids)
    balanced(connection)


@pytest.mark.parametrize("server_goes_on", [True, False], ids=["server-commits", "server-rolls-back"])
@pytest.mark.parametrize(
    "table",
    ["workflow_executions", "pgmq.q_workflow_results", "pgmq.q_workflow_errors", "pgmq.a_workflow_main_queue"],
)
def test_killed_inside_its_settling_all_of_it_is_done_or_nothing(
    connection: Connection, conninfo: str, workers: Workers, table: str, server_goes_on: bool
) -> None:
    # Settling waits, half-way, for a lock that we hold.
    connection.execute(
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NULL; END $$"
    )
    connection.execute(f"CREATE TRIGGER hold AFTER INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION hold()")
    connection.execute("SELECT pg_advisory_lock(42)")
    ids = send(connection, [{"rsi": number if number % 4 else -1} for number in range(20)])
    pid = workers.start()
    wait_for(connection, f"SELECT count(*) = 1 {WAITING_FOR_THE_LOCK}")
    workers.kill(pid)
    assert (balanced(connection).sent, balanced(connection).completed) == (20, 0)

    # The lease ends, but what is being settled is nobody else's yet.
    time.sleep(LEASE_SECONDS + 0.1)
    assert one(connection, "SELECT count(*) FROM nexus.claim('workflow_main_queue', 100, 1)") == 0
    if server_goes_on:
        connection.execute("SELECT pg_advisory_unlock(42)")
        wait_until_alone(connection)
        assert (balanced(connection).completed, balanced(connection).dead_lettered) == (15, 5)
    else:
        connection.execute(f"SELECT pg_terminate_backend(pid, 60000) {WAITING_FOR_THE_LOCK}")
        assert (balanced(connection).completed, balanced(connection).waiting) == (0, 20)
        connection.execute("SELECT pg_advisory_unlock(42)")
    workers.start()
    wait_for(connection, "SELECT completed + dead_lettered = 20 FROM nexus.ledger('workflow_main_queue')")
    assert_each_has_one_outcome(connection, ids)
    balanced(connection)


def test_two_workers_killed_20_times_at_random_under_load_leave_each_message_one_outcome(
    connection: Connection, workers: Workers
) -> None:
    chance = random.Random(20)
    raising_strategy(connection)
    ids: list[int] = []
    for _ in range(2):
        workers.start()
    for _ in range(20):
        batch: list[object] = [{"rsi": number % 101, "price": number} for number in range(500)]
        batch[7] = {"rsi": "none"}
        batch[77] = {"rsi": 25, "strategy": "raising"}
        before = one(connection, "SELECT count(*) FROM workflow_executions")
        ids += send(connection, batch)
        wait_for(connection, f"SELECT count(*) > {before} FROM workflow_executions")  # the workers are at work
        time.sleep(chance.uniform(0, 0.1))
        workers.kill(chance.choice(workers.pids))
        workers.start()
        assert ledger(connection, MAIN_QUEUE).adds_up
    for pid in list(workers.pids):
        workers.kill(pid)
    wait_until_alone(connection)
    assert balanced(connection).completed > 0
    drain(connection, policy=PATIENT)
    found = balanced(connection)
    assert (found.sent, found.completed, found.dead_lettered) == (10_000, 9_960, 40)
    assert_each_has_one_outcome(connection, ids)
    # The kills did hit: messages were read again by another worker.
    assert one(connection, "SELECT count(*) FROM pgmq.a_workflow_main_queue WHERE read_ct > 1") > 0


@pytest.fixture
def own_server() -> Iterator[tuple[embedded.ServerInfo, Path]]:
    """A server that may be killed: it syncs what it commits."""
    with embedded_server(durable=True) as server:
        yield server


def kill_server(info: embedded.ServerInfo) -> None:
    os.kill(info.pid, signal.SIGKILL)
    wait_for_end = time.monotonic() + 240
    while psutil.pid_exists(info.pid) and time.monotonic() < wait_for_end:
        time.sleep(0.01)


def kill_a_worker_of_the_server(info: embedded.ServerInfo) -> None:
    """One backend killed makes PostgreSQL end them all and recover."""
    with connect(info.url) as connection:
        pid = one(
            connection,
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND application_name = 'nexus' AND pid <> pg_backend_pid() LIMIT 1",
        )
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):  # until this session was ended, too
            wait_for(connection, "SELECT false")


def send_until_it_is_said_to_be_done(url: str, home: Path, requests: list[str]) -> None:
    """A sender that heard nothing sends again: the events name themselves."""
    deadline = time.monotonic() + 240
    while True:
        try:
            with connect(url) as connection:
                enqueue(connection, MAIN_QUEUE, requests)
                return
        except (NexusError, psycopg.Error):
            assert time.monotonic() < deadline
            embedded.start(home)


def test_the_server_killed_in_mid_work_loses_nothing_and_doubles_nothing(
    own_server: tuple[embedded.ServerInfo, Path],
) -> None:
    info, home = own_server
    with connect(info.url) as connection:
        connection.execute("CREATE DATABASE work")
    url = embedded.database_url(info, "work")
    migrate(url)
    rounds = [kill_server, kill_a_worker_of_the_server, kill_server]
    with workers_at(url) as workers:
        for number, kill in enumerate([*rounds, None]):
            requests = [json.dumps({"rsi": n % 101, "event_id": f"{number}-{n}"}) for n in range(1500)]
            send_until_it_is_said_to_be_done(url, home, requests)
            if not workers.pids:
                for _ in range(2):
                    workers.start()
            with connect(url) as connection:
                wait_for(connection, f"SELECT count(*) > {1500 * number + 200} FROM workflow_executions")
            if kill is not None:
                kill(info)
                info = embedded.start(home)
        with connect(url) as connection:
            assert one(connection, "SHOW fsync") == "on"
            wait_for(connection, "SELECT waiting = 0 AND leased = 0 FROM nexus.ledger('workflow_main_queue')")
    with connect(url) as connection:
        let_leases_end(connection)
        found = balanced(connection)
        assert (found.sent, found.completed, found.dead_lettered) == (6000, 6000, 0)
        events = connection.execute("SELECT message ->> 'event_id', msg_id FROM pgmq.a_workflow_main_queue").fetchall()
        assert len({event for event, _ in events}) == 6000
        assert_each_has_one_outcome(connection, [msg_id for _, msg_id in events])
