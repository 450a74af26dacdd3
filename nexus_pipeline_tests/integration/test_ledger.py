"""The counts add up after every step, in whatever order, and do not when something is wrong."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.queues.dead_letters import discard, redrive
from nexus_pipeline.queues.leases import Lease, RetryPolicy, claim, release, settle
from nexus_pipeline.queues.ledger import depth, ledger
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.queues.sending import enqueue
from nexus_pipeline_tests.support.queues import (
    balanced,
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
MESSAGES = ['{"rsi": 25}', '{"rsi": 75.5, "symbol": "S"}', '{"rsi": 101}', "null", '{"rsi": 1, "strategy": "raising"}',
            '{"rsi": 1, "strategy": "unknown"}']  # fmt: skip
STEPS = st.one_of(
    st.tuples(st.just("send"), st.lists(st.sampled_from(MESSAGES), min_size=1, max_size=6)),
    st.tuples(st.just("claim"), st.integers(1, 5)),
    st.tuples(st.sampled_from(["settle", "settle again", "release"]), st.integers(0, 9)),
    st.tuples(st.sampled_from(["leases end", "redrive", "discard"]), st.none()),
)


class Workers:
    """Carries out steps of workers and operators, and remembers every lease that was ever held."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.sent: list[int] = []
        self.held: list[Lease] = []
        self.past: list[Lease] = []

    def take(self, name: str, argument: object) -> None:
        """One step; a step that has nothing to work on does nothing."""
        match name, argument:
            case "send", list(texts):
                self.sent += [put(self.connection, text) for text in texts]
            case "claim", int(quantity):
                lease = claim(self.connection, MAIN_QUEUE, quantity, 1000)
                self.held += [] if lease is None else [lease]
            case "settle" | "release", int(which) if self.held:
                lease = self.held.pop(which % len(self.held))
                self.past.append(lease)
                settle(self.connection, lease, SLOW) if name == "settle" else release(self.connection, lease)
            case "settle again", int(which) if self.past:
                # Late, after whatever happened since.
                settle(self.connection, self.past[which % len(self.past)], SLOW)
            case "leases end", _:
                # Workers that died, or are just slow: they may still settle.
                let_leases_end(self.connection)
            case "redrive" | "discard", _:
                done = (redrive if name == "redrive" else discard)(self.connection, max_rows=2).done
                self.sent += [each.new_msg_id for each in done if each.new_msg_id is not None]


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(STEPS, min_size=5, max_size=40))
def test_the_counts_add_up_after_every_step_and_each_message_ends_in_one_outcome(
    connection: Connection, steps: list[tuple[str, object]]
) -> None:
    connection.execute(
        "TRUNCATE pgmq.q_workflow_main_queue, pgmq.a_workflow_main_queue, pgmq.q_workflow_errors,"
        " pgmq.q_workflow_results, workflow_executions CASCADE"
    )
    raising_strategy(connection)
    workers = Workers(connection)
    for name, argument in steps:
        workers.take(name, argument)
        assert balanced(connection).sent == len(workers.sent)
    drain(connection, 3)
    counted = balanced(connection)
    assert counted.completed + counted.dead_lettered == counted.sent == len(workers.sent)
    finals = connection.execute(
        "SELECT msg_id FROM workflow_executions WHERE status IN ('completed', 'error') ORDER BY msg_id"
    ).fetchall()
    assert [row[0] for row in finals] == sorted(workers.sent)
    assert one(connection, "SELECT count(*) FROM pgmq.q_workflow_results") == counted.completed
    dead_letters = one(
        connection,
        "SELECT (SELECT count(*) FROM pgmq.q_workflow_errors) + (SELECT count(*) FROM nexus.dead_letter_actions a"
        " JOIN workflow_executions e ON e.id::text = a.execution_id)",
    )
    assert dead_letters == counted.dead_lettered


def test_each_state_is_counted(connection: Connection) -> None:
    raising_strategy(connection)
    send(connection, [{"rsi": 25}, {"rsi": 26}, {}, {"rsi": 1, "strategy": "raising"}])
    settle(connection, must_claim(connection), SLOW)
    send_signals(connection, 5)
    must_claim(connection, 2)
    enqueue(connection, MAIN_QUEUE, ['{"rsi": 1}'], delay_seconds=600)
    found = balanced(connection)
    assert (found.sent, found.waiting, found.leased, found.retrying, found.completed, found.dead_lettered) == (
        10, 4, 2, 1, 2, 1,
    )  # fmt: skip
    assert found.oldest_wait_s is not None
    assert 0 < found.oldest_wait_s < 60


def test_an_empty_queue_adds_up_and_has_no_backlog(connection: Connection) -> None:
    found = balanced(connection)
    assert (found.sent, found.oldest_wait_s) == (0, None)
    assert (depth(connection, MAIN_QUEUE).waiting, depth(connection, MAIN_QUEUE).oldest_wait_s) == (0, None)


def test_depth_counts_what_a_claim_would_get_now_up_to_its_limit(connection: Connection) -> None:
    send_signals(connection, 20)
    must_claim(connection, 5)
    enqueue(connection, MAIN_QUEUE, ['{"rsi": 1}'], delay_seconds=600)
    connection.execute(
        "UPDATE pgmq.q_workflow_main_queue SET vt = vt - interval '90 s'"
        " WHERE msg_id = (SELECT max(msg_id) - 1 FROM pgmq.q_workflow_main_queue)"
    )
    found = depth(connection, MAIN_QUEUE)
    assert found.waiting == 15
    assert found.oldest_wait_s is not None
    assert 90 <= found.oldest_wait_s < 150
    assert depth(connection, MAIN_QUEUE, up_to=7).waiting == 7


@pytest.mark.parametrize(
    ("damage", "field", "count"),
    [
        ("DELETE FROM workflow_executions WHERE msg_id = 2", "lost", 1),
        (
            "INSERT INTO workflow_executions (workflow_type, input_data, status, queue_name, msg_id, enqueued_at)"
            " SELECT workflow_type, input_data, 'error', queue_name, msg_id, enqueued_at FROM workflow_executions"
            " WHERE msg_id = 2",
            "doubled",
            1,
        ),
        (
            "INSERT INTO pgmq.q_workflow_main_queue (msg_id, enqueued_at, vt, message) OVERRIDING SYSTEM VALUE"
            " SELECT msg_id, enqueued_at, vt, message FROM pgmq.a_workflow_main_queue WHERE msg_id = 2",
            "doubled",
            1,
        ),
    ],
)
def test_damage_does_not_add_up(connection: Connection, damage: str, field: str, count: int) -> None:
    send_signals(connection, 3)
    drain(connection)
    assert ledger(connection, MAIN_QUEUE).adds_up
    if field == "doubled" and "workflow_executions (" in damage:
        # The database refuses a second outcome: the damage needs the last line of defence gone.
        connection.execute("DROP INDEX workflow_executions_one_outcome")
    connection.execute(damage)
    found = ledger(connection, MAIN_QUEUE)
    assert not found.adds_up
    assert getattr(found, field) == count


def test_a_purged_archive_is_not_counted_as_loss(connection: Connection) -> None:
    send_signals(connection, 3)
    drain(connection)
    connection.execute("DELETE FROM pgmq.a_workflow_main_queue WHERE msg_id < 3")
    found = ledger(connection, MAIN_QUEUE)
    assert (found.adds_up, found.unarchived, found.sent, found.completed) == (True, 2, 1, 1)


def test_a_queue_that_was_dropped_and_created_again_counts_its_new_messages_only(connection: Connection) -> None:
    connection.execute("SELECT nexus.serve_queue('mine')")
    for round_number in (1, 2):
        ids = send_signals(connection, 3, "mine")
        assert ids == [1, 2, 3]
        drain(connection, queue="mine")
        found = ledger(connection, "mine")
        assert (found.sent, found.completed, found.lost, found.doubled) == (3, 3, 0, 0)
        assert found.unarchived == 3 * (round_number - 1)
        connection.execute("SELECT pgmq.drop_queue('mine')")
        connection.execute("SELECT nexus.serve_queue('mine')")
