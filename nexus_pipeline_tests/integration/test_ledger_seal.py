"""The sealed ledger equals a full recount, whenever it was sealed and in whatever order transactions commit."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.queues.dead_letters import discard, redrive
from nexus_pipeline.queues.leases import RetryPolicy, claim, settle
from nexus_pipeline.queues.ledger import Ledger, ledger, seal
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.queues.sending import enqueue
from nexus_pipeline_tests.support.queues import (
    drain,
    let_leases_end,
    must_claim,
    one,
    put,
    raising_strategy,
    send,
    send_signals,
)

SLOW = RetryPolicy(max_attempts=3, base_seconds=1000, max_seconds=1000)
MESSAGES = ['{"rsi": 25}', '{"rsi": 101}', '{"rsi": 1, "strategy": "raising"}']
STEPS = st.one_of(
    st.just(("seal", 0)),
    st.tuples(st.sampled_from(["send", "send delayed", "begin and send", "work"]), st.integers(1, 5)),
    st.tuples(st.sampled_from(["commit", "roll back"]), st.integers(0, 9)),
    st.tuples(st.sampled_from(["leases end", "redrive", "discard", "archive", "delete"]), st.integers(1, 2)),
)


def counts(connection: Connection, *, recount: bool = False, queue: str = MAIN_QUEUE) -> Ledger:
    """The ledger without what moves with the clock: a retry that becomes due is waiting."""
    found = ledger(connection, queue, recount=recount)
    return replace(found, waiting=found.waiting + found.retrying, retrying=0, oldest_wait_s=None)


def assert_equal_to_recount(connection: Connection, queue: str = MAIN_QUEUE) -> Ledger:
    recounted = counts(connection, recount=True, queue=queue)
    assert counts(connection, queue=queue) == recounted
    return recounted


def newest_msg_id(connection: Connection) -> int:
    return int(one(connection, "SELECT nexus.newest_msg_id(%s)", MAIN_QUEUE))


@contextmanager
def open_transaction(conninfo: str) -> Iterator[Connection]:
    """A session in a transaction that has sent a message."""
    with psycopg.connect(conninfo) as sender:
        send_signals(sender, 1)
        yield sender


class Operations:
    """Carries out steps of senders, workers and operators. Senders may keep their transactions open."""

    def __init__(self, connection: Connection, conninfo: str) -> None:
        self.connection = connection
        self.conninfo = conninfo
        self.open: list[Connection] = []

    def take(self, name: str, number: int) -> None:
        """One step; a step that has nothing to work on does nothing."""
        match name:
            case "seal":
                seal(self.connection, MAIN_QUEUE)
            case "send":
                for index in range(number):
                    put(self.connection, MESSAGES[index % len(MESSAGES)])
            case "send delayed":
                enqueue(self.connection, MAIN_QUEUE, ['{"rsi": 1}'] * number, delay_seconds=600)
            case "begin and send":
                self.open.append(psycopg.connect(self.conninfo))
                put(self.open[-1], MESSAGES[number % len(MESSAGES)])
            case "commit" | "roll back" if self.open:
                sender = self.open.pop(number % len(self.open))
                sender.commit() if name == "commit" else sender.rollback()
                sender.close()
            case "work":
                lease = claim(self.connection, MAIN_QUEUE, number, 1000)
                if lease is not None and number != 2:  # else the worker dies
                    settle(self.connection, lease, SLOW)
            case "leases end":
                let_leases_end(self.connection)
            case "redrive" | "discard":
                (redrive if name == "redrive" else discard)(self.connection, max_rows=number)
            case "archive" | "delete":  # by hand: the message is lost, or was never sent
                self.connection.execute(
                    f"SELECT pgmq.{name}('{MAIN_QUEUE}', (SELECT min(msg_id) FROM pgmq.q_{MAIN_QUEUE}))"
                )

    def close(self) -> None:
        for sender in self.open:
            sender.rollback()  # closing alone ends the transaction a moment later
            sender.close()


@hypothesis_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(STEPS, min_size=10, max_size=60))
def test_the_sealed_ledger_equals_a_recount_after_every_step(
    connection: Connection, conninfo: str, steps: list[tuple[str, int]]
) -> None:
    connection.execute(
        "TRUNCATE pgmq.q_workflow_main_queue, pgmq.a_workflow_main_queue, pgmq.q_workflow_errors,"
        " pgmq.q_workflow_results, workflow_executions CASCADE"
    )
    raising_strategy(connection)
    operations = Operations(connection, conninfo)
    try:
        for name, number in steps:
            operations.take(name, number)
            assert_equal_to_recount(connection)
    finally:
        operations.close()
    # With nobody in the way, the seal reaches the newest message.
    seal(connection, MAIN_QUEUE)
    assert seal(connection, MAIN_QUEUE) == newest_msg_id(connection)
    assert_equal_to_recount(connection)


def test_the_sealed_ledger_equals_a_recount_under_concurrent_senders_workers_and_sealers(
    connection: Connection, conninfo: str
) -> None:
    ends_at = time.monotonic() + 4

    def sender(number: int) -> int:
        chance = random.Random(number)
        sent = 0
        with psycopg.connect(conninfo) as session:
            while time.monotonic() < ends_at:
                count = chance.randint(1, 20)
                send_signals(session, count)
                time.sleep(chance.random() / 50)
                if chance.random() < 0.2:
                    session.rollback()
                else:
                    session.commit()
                    sent += count
        return sent

    def worker(_: int) -> None:
        with psycopg.connect(conninfo, autocommit=True) as session:
            while time.monotonic() < ends_at:
                lease = claim(session, MAIN_QUEUE, 30, 30)
                if lease is not None:
                    settle(session, lease, SLOW)

    def sealer(_: int) -> None:
        with psycopg.connect(conninfo, autocommit=True) as session:
            while time.monotonic() < ends_at:
                seal(session, MAIN_QUEUE)
                found = ledger(session, MAIN_QUEUE)
                assert found.adds_up, found

    with ThreadPoolExecutor(7) as threads:
        senders = [threads.submit(sender, number) for number in range(3)]
        others = [threads.submit(task, 0) for task in (worker, worker, sealer, sealer)]
        sent = sum(each.result() for each in senders)
        for each in others:
            each.result()
    assert int(one(connection, "SELECT sealed_up_to FROM nexus.ledger_seals")) > sent / 4  # it did advance
    assert assert_equal_to_recount(connection).sent == sent
    drain(connection)
    seal(connection, MAIN_QUEUE)
    assert assert_equal_to_recount(connection).completed == sent


def test_a_message_committed_late_is_not_below_the_seal(connection: Connection, conninfo: str) -> None:
    with open_transaction(conninfo) as late:
        send_signals(connection, 10)
        drain(connection)
        for _ in range(3):
            assert seal(connection, MAIN_QUEUE) == 0
        late.commit()
    assert seal(connection, MAIN_QUEUE) == 11
    assert assert_equal_to_recount(connection).waiting == 1
    drain(connection)
    assert assert_equal_to_recount(connection).completed == 11


def test_the_seal_advances_although_some_sender_always_has_a_transaction_open(
    connection: Connection, conninfo: str
) -> None:
    with open_transaction(conninfo) as first:
        assert seal(connection, MAIN_QUEUE) == 0
        with open_transaction(conninfo) as second:
            first.commit()
            assert seal(connection, MAIN_QUEUE) == 1  # what was drawn when only the first was open
            with open_transaction(conninfo):
                second.commit()
                assert seal(connection, MAIN_QUEUE) == 2
                assert_equal_to_recount(connection)


def test_messages_still_in_the_queue_do_not_hold_up_the_seal(connection: Connection) -> None:
    enqueue(connection, MAIN_QUEUE, ['{"rsi": 1}'] * 3, delay_seconds=86_400)
    send_signals(connection, 20)
    settle(connection, must_claim(connection, 20), SLOW)
    assert seal(connection, MAIN_QUEUE) == 23
    assert one(connection, "SELECT open_ids FROM nexus.ledger_seals") == [1, 2, 3]
    assert assert_equal_to_recount(connection).waiting == 3
    drain(connection)
    assert assert_equal_to_recount(connection).completed == 23
    seal(connection, MAIN_QUEUE)
    assert one(connection, "SELECT open_ids FROM nexus.ledger_seals") == []


def test_the_seal_ends_within_a_backlog_and_follows_when_it_is_worked_off(connection: Connection) -> None:
    send_signals(connection, 2_500)
    settle(connection, must_claim(connection, 100), SLOW)
    assert seal(connection, MAIN_QUEUE) == 2_100
    assert_equal_to_recount(connection)
    settle(connection, must_claim(connection, 1_000), SLOW)
    assert_equal_to_recount(connection)
    assert seal(connection, MAIN_QUEUE) == 2_500
    drain(connection, 1_000)
    assert assert_equal_to_recount(connection).completed == 2_500


def test_sealing_waits_for_enough_messages_and_starts_again_on_request(connection: Connection) -> None:
    send_signals(connection, 10)
    drain(connection)
    assert seal(connection, MAIN_QUEUE, min_messages=11) == 0
    assert seal(connection, MAIN_QUEUE, min_messages=10) == 10
    # Damage below the seal is found by a recount, and by the ledger after sealing from the first message again.
    connection.execute("DELETE FROM workflow_executions WHERE msg_id = 5")
    assert ledger(connection, MAIN_QUEUE).lost == 0
    assert ledger(connection, MAIN_QUEUE, recount=True).lost == 1
    seal(connection, MAIN_QUEUE, recount=True)
    assert ledger(connection, MAIN_QUEUE).lost == 1


def test_a_finished_message_put_back_into_the_queue_below_the_seal_does_not_add_up(connection: Connection) -> None:
    send_signals(connection, 5)
    drain(connection)
    seal(connection, MAIN_QUEUE)
    connection.execute(
        "INSERT INTO pgmq.q_workflow_main_queue (msg_id, enqueued_at, vt, message) OVERRIDING SYSTEM VALUE"
        " SELECT msg_id, enqueued_at, vt, message FROM pgmq.a_workflow_main_queue WHERE msg_id = 2"
    )
    assert assert_equal_to_recount(connection).doubled == 1


@pytest.mark.parametrize(
    "damage",
    [
        "TRUNCATE pgmq.a_workflow_main_queue",
        "TRUNCATE workflow_executions CASCADE",
        "SELECT pgmq.drop_queue('workflow_main_queue'), pgmq.create('workflow_main_queue')",
    ],
)
def test_a_seal_does_not_outlive_its_tables(connection: Connection, damage: str) -> None:
    send_signals(connection, 30)
    drain(connection)
    seal(connection, MAIN_QUEUE)
    connection.execute(damage)
    assert_equal_to_recount(connection)
    send_signals(connection, 20)
    drain(connection, policy=SLOW)
    assert_equal_to_recount(connection)
    # Executions of the earlier queue, some with higher ids than the new one has, stay `unarchived`.
    for _ in range(2):
        seal(connection, MAIN_QUEUE)
        assert_equal_to_recount(connection)
        send_signals(connection, 20)
        drain(connection)


def test_sealing_ignores_the_default_isolation_level_and_refuses_a_snapshot(connection: Connection) -> None:
    send_signals(connection, 3)
    drain(connection)
    connection.execute("SET default_transaction_isolation = 'serializable'")
    assert seal(connection, MAIN_QUEUE) == 3
    with pytest.raises(psycopg.errors.InvalidTransactionState, match="READ COMMITTED"):
        connection.execute("SELECT nexus.seal_ledger('workflow_main_queue')")


def test_sealing_leaves_a_queue_that_is_just_being_sealed_to_the_other_session(
    connection: Connection, conninfo: str
) -> None:
    send(connection, [{"rsi": 1}])
    with psycopg.connect(conninfo) as other:
        other.execute("SELECT nexus.seal_ledger('workflow_main_queue')")
        assert seal(connection, MAIN_QUEUE) is None
    assert seal(connection, MAIN_QUEUE) == 1


def test_the_cost_of_the_ledger_does_not_grow_with_the_archive(connection: Connection) -> None:
    def pages() -> int:
        plan = one(
            connection, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM nexus.ledger('workflow_main_queue')"
        )[0]["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    connection.execute(
        "INSERT INTO pgmq.a_workflow_main_queue (msg_id, enqueued_at, vt, message)"
        " SELECT n, 'today', now(), '{}' FROM generate_series(1, 30000) n"
    )
    connection.execute(
        "INSERT INTO workflow_executions (workflow_type, input_data, status, queue_name, msg_id, enqueued_at)"
        " SELECT 'trading_signal', '{}', 'completed', 'workflow_main_queue', n, 'today'"
        "  FROM generate_series(1, 30000) n"
    )
    connection.execute("SELECT setval('pgmq.q_workflow_main_queue_msg_id_seq', 30000)")
    connection.execute("ANALYZE workflow_executions, pgmq.a_workflow_main_queue")
    pages()
    whole = pages()
    seal(connection, MAIN_QUEUE)
    pages()
    assert pages() < whole / 5, (pages(), whole)
