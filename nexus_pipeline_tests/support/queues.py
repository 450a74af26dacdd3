"""What tests of the queue do again and again: put messages there, let time pass, and count what became of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from nexus_pipeline.database.connection import Connection, connect
from nexus_pipeline.queues.leases import Lease, RetryPolicy, Settlement, claim, settle
from nexus_pipeline.queues.ledger import Ledger, ledger
from nexus_pipeline.queues.names import MAIN_QUEUE

SOON = RetryPolicy(max_attempts=3, base_seconds=0.001, max_seconds=0.001)
"""Retries are due at once, and few."""


def one(connection: Connection, query: str, *parameters: object) -> Any:
    """The first column of the first row."""
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return row[0]


def put(connection: Connection, text: str | None, headers: object = None, queue: str = MAIN_QUEUE) -> int:
    """Puts a message into the queue without any check; JSON text, or None for SQL's NULL."""
    headers_text = None if headers is None else json.dumps(headers)
    return int(one(connection, "SELECT pgmq.send(%s, %s::jsonb, %s::jsonb)", queue, text, headers_text))


def send(connection: Connection, requests: Iterable[object], queue: str = MAIN_QUEUE) -> list[int]:
    """Sends a batch past the event check; returns the msg_ids."""
    texts = [json.dumps(request) for request in requests]
    rows = connection.execute("SELECT pgmq.send_batch(%s, %s::jsonb[])", (queue, texts)).fetchall()
    return [row[0] for row in rows]


def send_signals(connection: Connection, count: int, queue: str = MAIN_QUEUE) -> list[int]:
    """Sends good requests with an RSI from 0 to 100."""
    return send(connection, ({"rsi": number % 101} for number in range(count)), queue)


def let_leases_end(connection: Connection, msg_ids: Sequence[int] | None = None, queue: str = MAIN_QUEUE) -> None:
    """As if the visibility timeout, or the wait for a retry, had passed."""
    connection.execute(
        f"UPDATE pgmq.q_{queue} SET vt = clock_timestamp() - interval '1 ms'"
        " WHERE vt > clock_timestamp() AND (%s::bigint[] IS NULL OR msg_id = ANY (%s::bigint[]))",
        (None if msg_ids is None else list(msg_ids),) * 2,
    )


def must_claim(connection: Connection, quantity: int = 100, lease_seconds: int = 30, queue: str = MAIN_QUEUE) -> Lease:
    """A claim that must find something."""
    lease = claim(connection, queue, quantity, lease_seconds)
    assert lease is not None
    return lease


def drain(
    connection: Connection, quantity: int = 100, policy: RetryPolicy = SOON, queue: str = MAIN_QUEUE
) -> Settlement:
    """Claims and settles until the queue is empty, with no wait for leases and retries; the sums of all settlings."""
    total = Counter[str]()
    for _ in range(10_000):
        lease = claim(connection, queue, quantity, 30)
        if lease is None:
            let_leases_end(connection, queue=queue)
            lease = claim(connection, queue, quantity, 30)
        if lease is None:
            return Settlement(total["completed"], total["retried"], total["dead_lettered"], total["fenced"])
        total.update(vars(settle(connection, lease, policy)))
    raise AssertionError("the queue does not get empty")


def balanced(connection: Connection, queue: str = MAIN_QUEUE) -> Ledger:
    """The ledger, which must add up."""
    found = ledger(connection, queue)
    assert found.adds_up, found
    assert found.unarchived == 0, found
    return found


def errors_of(connection: Connection) -> dict[int, tuple[str, str]]:
    """Error class and text of the dead letters in the queue, by original msg_id; no message may have two."""
    rows = connection.execute("SELECT original_msg_id, error_class, error_message FROM nexus.dead_letters").fetchall()
    found = {row[0]: (row[1], row[2]) for row in rows}
    assert len(found) == len(rows)
    return found


def assert_each_has_one_outcome(connection: Connection, msg_ids: Iterable[int], queue: str = MAIN_QUEUE) -> None:
    """Counted without the ledger: one final execution, one archive row and one result or dead letter for each."""
    expected = Counter(dict.fromkeys(msg_ids, 1))
    finals = connection.execute(
        "SELECT msg_id, status FROM workflow_executions WHERE queue_name = %s AND status IN ('completed', 'error')",
        (queue,),
    ).fetchall()
    assert Counter(row[0] for row in finals) == expected
    archived = connection.execute(f"SELECT msg_id FROM pgmq.a_{queue}").fetchall()
    assert Counter(row[0] for row in archived) == expected
    assert one(connection, f"SELECT count(*) FROM pgmq.q_{queue}") == 0
    for status, target in (("completed", "workflow_results"), ("error", "workflow_errors")):
        told = connection.execute(f"SELECT (message ->> 'original_msg_id')::bigint FROM pgmq.q_{target}").fetchall()
        assert Counter(row[0] for row in told) == Counter(row[0] for row in finals if row[1] == status)


def works(url: str, waiting: Iterable[int] = ()) -> None:
    """Messages, and those that wait already, go all the way in the database at that URL."""
    with connect(url) as connection:
        ids = [*waiting, *send_signals(connection, 3)]
        assert drain(connection).completed == len(ids)
        assert_each_has_one_outcome(connection, ids)
        balanced(connection)


def register_strategy(connection: Connection, name: str, body: str, version: str = "1") -> None:
    """Registers a strategy whose function has that PL/pgSQL body."""
    connection.execute(
        f"CREATE OR REPLACE FUNCTION {name}_decides(request jsonb, decided_at timestamptz) RETURNS jsonb"
        f" LANGUAGE plpgsql AS $body$ BEGIN {body} END $body$"
    )
    connection.execute(
        "SELECT nexus.register_strategy(%s, %s, %s::regprocedure)",
        (name, version, f"{name}_decides(jsonb, timestamptz)"),
    )


def raising_strategy(connection: Connection) -> None:
    register_strategy(
        connection, "raising", "RAISE EXCEPTION 'no prices for %', request ->> 'symbol' USING ERRCODE = 'P0002';"
    )


def refuse_executions(connection: Connection, condition: str, code: str = "P0001") -> None:
    """From now on, an execution row that meets the condition raises."""
    connection.execute(
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'refused: %', NEW.symbol USING ERRCODE = '{code}'; END $$"
    )
    connection.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON workflow_executions"
        f" FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse()"
    )
