"""Sending from SQL: in order, all or nothing, and each event once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg
import pytest

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.errors import UserError
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.queues.sending import RejectedRequests, Sent, enqueue, require_queue
from nexus_pipeline_tests.support.queues import assert_each_has_one_outcome, balanced, drain, one


def event(event_id: object, rsi: float = 25, source: str | None = "bars") -> str:
    body: dict[str, object] = {"rsi": rsi, "event_id": event_id}
    return json.dumps(body if source is None else body | {"source": source})


def queued(connection: Connection) -> list[object]:
    """RSI of the queued messages in the order of their ids."""
    rows = connection.execute("SELECT message -> 'rsi' FROM pgmq.q_workflow_main_queue ORDER BY msg_id")
    return [row[0] for row in rows]


def test_requests_are_queued_in_their_order_whether_they_name_an_event_or_not(connection: Connection) -> None:
    requests = [
        event(f"e{997 * number % 1000}", number) if number % 3 else json.dumps({"rsi": number})
        for number in range(1000)
    ]
    sent = enqueue(connection, MAIN_QUEUE, requests)
    assert sent == Sent(1000, 0, 1, 1000)
    assert queued(connection) == list(range(1000))


def test_nothing_to_send_sends_nothing(connection: Connection) -> None:
    assert enqueue(connection, MAIN_QUEUE, []) == Sent(0, 0, None, None)


def test_an_event_is_queued_once_inside_a_batch_and_its_first_request_counts(connection: Connection) -> None:
    sent = enqueue(connection, MAIN_QUEUE, [event("a", 1), event("b", 2), event("a", 3), event("b", 4), event("c", 5)])
    assert sent == Sent(3, 2, 1, 3)
    assert queued(connection) == [1, 2, 5]


def test_an_event_is_queued_once_over_all_batches_also_when_its_message_is_long_done(connection: Connection) -> None:
    assert enqueue(connection, MAIN_QUEUE, [event("a"), event("b")]).sent == 2
    assert drain(connection).completed == 2
    assert enqueue(connection, MAIN_QUEUE, [event("a"), event("c"), event("b")]) == Sent(1, 2, 3, 3)
    assert enqueue(connection, MAIN_QUEUE, [event("a"), event("b"), event("c")]) == Sent(0, 3, None, None)
    drain(connection)
    assert_each_has_one_outcome(connection, [1, 2, 3])


def test_the_same_event_id_of_another_source_or_in_another_queue_is_another_event(connection: Connection) -> None:
    connection.execute("SELECT nexus.serve_queue('mine')")
    assert enqueue(connection, MAIN_QUEUE, [event("a"), event("a", source="other"), event("a", source=None)]).sent == 3
    assert enqueue(connection, "mine", [event("a")]).sent == 1
    assert enqueue(connection, MAIN_QUEUE, [event("a", source=None)]).duplicates == 1


@pytest.mark.parametrize(
    "request_text",
    ['{"rsi": 1, "event_id": null}', '{"rsi": 1, "event_id": ""}', '{"rsi": 1, "event_id": "' + "x" * 201 + '"}',
     '{"rsi": 1, "event_id": "e", "source": "' + "x" * 201 + '"}', '{"rsi": 1, "event_id": "e", "source": ""}',
     '{"rsi": 1, "event_id": 1}', '{"rsi": 1, "event_id": true}', '{"rsi": 1, "event_id": {"a": 1}}',
     '{"rsi": 1, "event_id": "e", "source": 5}', '{"rsi": 1, "event_id": ["e"]}',
     "null", "7", '["event_id"]', '"event_id"'],
)  # fmt: skip
def test_a_request_without_a_valid_event_id_is_sent_each_time(connection: Connection, request_text: str) -> None:
    assert enqueue(connection, MAIN_QUEUE, [request_text, request_text]) == Sent(2, 0, 1, 2)


def test_an_invalid_event_id_or_source_does_not_take_the_name_of_a_valid_one(connection: Connection) -> None:
    invalid = [{"event_id": {"a": 1}}, {"event_id": True}, {"event_id": 77}, {"event_id": "x", "source": 5}]
    valid = [{"event_id": '{"a": 1}'}, {"event_id": "true"}, {"event_id": "77"}, {"event_id": "x", "source": "5"}]
    batch = [json.dumps({"rsi": 25, **each}) for each in (*invalid, *valid)]
    assert enqueue(connection, MAIN_QUEUE, batch) == Sent(8, 0, 1, 8)
    assert (drained := drain(connection)).completed == 4, drained
    assert enqueue(connection, MAIN_QUEUE, batch[4:]).duplicates == 4


def test_the_longest_event_id_and_source_are_kept(connection: Connection) -> None:
    request = event("\U0001f600" * 200, source="\U0001f4c8" * 200)
    assert enqueue(connection, MAIN_QUEUE, [request, request]) == Sent(1, 1, 1, 1)


def test_a_send_that_fails_leaves_neither_messages_nor_events(connection: Connection) -> None:
    with pytest.raises(psycopg.DataError):
        enqueue(connection, MAIN_QUEUE, [event("a"), '{"rsi": NaN}'])
    with connection.transaction(force_rollback=True):
        assert enqueue(connection, MAIN_QUEUE, [event("a")]).sent == 1
    assert one(connection, "SELECT count(*) FROM nexus.idempotency_keys") == 0
    assert enqueue(connection, MAIN_QUEUE, [event("a")]).sent == 1
    assert balanced(connection).sent == 1


def test_by_default_sql_applies_no_rule_and_an_invalid_request_becomes_a_dead_letter(connection: Connection) -> None:
    batch = ['{"rsi": 25}', '{"rsi": 101, "event_id": "a"}', "null"]
    row = connection.execute("SELECT * FROM nexus.enqueue('workflow_main_queue', %s::jsonb[])", (batch,)).fetchone()
    assert row == (3, 0, 1, 3, None)
    done = drain(connection)
    assert (done.completed, done.dead_lettered) == (1, 2)


def test_with_validate_sql_names_every_invalid_request_and_sends_none(connection: Connection) -> None:
    call = "SELECT * FROM nexus.enqueue('workflow_main_queue', %s::jsonb[], validate => true)"
    batch = ['{"rsi": 25, "event_id": "a"}', '{"rsi": 101, "price": -1}', "null", None, '{"rsi": 75}']
    row = connection.execute(call, (batch,)).fetchone()
    kind = {"field": "message", "reason": "must be a JSON object, not null"}
    faults = [
        {"position": 2, "field": "rsi", "reason": "must be a number from 0 to 100"},
        {"position": 3, **kind},
        {"position": 4, **kind},
    ]
    assert row == (0, 0, None, None, faults)
    assert queued(connection) == []
    assert one(connection, "SELECT count(*) FROM nexus.idempotency_keys") == 0
    assert connection.execute(call, ([batch[0], batch[0], batch[4]],)).fetchone() == (2, 1, 1, 2, None)
    for nothing in ([], None):
        assert connection.execute(call, (nothing,)).fetchone() == (0, 0, None, None, None)


def test_the_sender_role_sends_and_is_told_the_faults_and_reads_no_decision(connection: Connection) -> None:
    connection.execute("SET ROLE nexus_sender")
    assert enqueue(connection, MAIN_QUEUE, [event("a")], validate=True) == Sent(1, 0, 1, 1)
    with pytest.raises(RejectedRequests, match="rsi: must be a number from 0 to 100"):
        enqueue(connection, MAIN_QUEUE, [event("b", 101)], validate=True)
    require_queue(connection, MAIN_QUEUE)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT * FROM workflow_executions")


def test_a_delayed_message_waits_unread_until_its_time(connection: Connection) -> None:
    enqueue(connection, MAIN_QUEUE, ['{"rsi": 25}'], delay_seconds=3600)
    assert one(connection, "SELECT count(*) FROM nexus.claim('workflow_main_queue', 1, 1)") == 0
    assert one(connection, "SELECT vt - clock_timestamp() > interval '59 min' FROM pgmq.q_workflow_main_queue")


def test_two_senders_of_the_same_events_in_opposite_order_send_each_once_and_never_deadlock(
    connection: Connection, conninfo: str
) -> None:
    senders = 4
    together = Barrier(senders)

    def send_all(number: int) -> int:
        total = 0
        with psycopg.connect(conninfo, autocommit=True) as sender:
            for batch in range(10):
                events = [event(f"{batch}-{place}") for place in range(300)]
                together.wait(timeout=240)
                total += enqueue(sender, MAIN_QUEUE, events[:: -1 if number % 2 else 1]).sent
        return total

    with ThreadPoolExecutor(senders) as threads:
        totals = list(threads.map(send_all, range(senders)))
    assert sum(totals) == 3000
    assert one(connection, "SELECT count(DISTINCT message ->> 'event_id') FROM pgmq.q_workflow_main_queue") == 3000
    assert balanced(connection).sent == 3000


def test_a_queue_name_that_cannot_be_one_is_refused_before_anything_is_sent(connection: Connection) -> None:
    with pytest.raises(UserError, match="must be 1 to 47 of a-z, 0-9 and _"):
        enqueue(connection, "Main Queue", ['{"rsi": 25}'])
