"""Bad input of every kind in the queue: each is a dead letter with its reason, and nobody else is harmed."""

from __future__ import annotations

import psycopg
import pytest

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.queues.leases import RetryPolicy, settle
from nexus_pipeline_tests.support.queues import (
    assert_each_has_one_outcome,
    balanced,
    errors_of,
    must_claim,
    one,
    put,
)

RSI = "rsi: must be a number from 0 to 100"
AMOUNT = "must be a number that is 0 or more"
CONTEXT = "market_context: must be an object"
TIME = "occurred_at: must be an ISO 8601 time with an offset, as in 2026-01-31T09:00:00Z"
NO_OFFSET = "occurred_at: has no offset: write 2026-01-31T09:00:00Z, or +02:00 instead of Z"
NO_SUCH_TIME = "occurred_at: names a day, or a time of day, that does not exist"
LONG = "message: is longer than 65536 bytes"
BAD: list[tuple[str | None, str]] = [
    (None, "message: must be a JSON object, not null"),
    ("null", "message: must be a JSON object, not null"),
    ("25", "message: must be a JSON object, not a number"),
    ('"25"', "message: must be a JSON object, not a string"),
    ("true", "message: must be a JSON object, not a boolean"),
    ("[]", "message: must be a JSON object, not an array"),
    ('[{"rsi": 25}]', "message: must be a JSON object, not an array"),
    ("{}", "rsi: is required"),
    ('{"price": 1}', "rsi: is required"),
    ('{"RSI": 25}', "rsi: is required"),
    ('{"rsi": null}', RSI),
    ('{"rsi": ""}', RSI),
    ('{"rsi": "25"}', RSI),
    ('{"rsi": "abc"}', RSI),
    ('{"rsi": "NaN"}', RSI),
    ('{"rsi": "Infinity"}', RSI),
    ('{"rsi": "-Infinity"}', RSI),
    ('{"rsi": true}', RSI),
    ('{"rsi": {}}', RSI),
    ('{"rsi": [25]}', RSI),
    ('{"rsi": -1}', RSI),
    ('{"rsi": -0.0001}', RSI),
    ('{"rsi": 100.0001}', RSI),
    ('{"rsi": 101}', RSI),
    ('{"rsi": 1e400}', RSI),
    ('{"rsi": -1e400}', RSI),
    ('{"rsi": 25, "price": -0.01}', f"price: {AMOUNT}"),
    ('{"rsi": 25, "price": "1"}', f"price: {AMOUNT}"),
    ('{"rsi": 25, "price": 1e400}', "price: must be at most 1e30"),
    ('{"rsi": 25, "volume": -1}', f"volume: {AMOUNT}"),
    ('{"rsi": 25, "volume": [1]}', f"volume: {AMOUNT}"),
    ('{"rsi": 25, "volume": 1e400}', "volume: must be at most 1e30"),
    ('{"rsi": 25, "market_context": "bullish"}', CONTEXT),
    ('{"rsi": 25, "market_context": ["bullish"]}', CONTEXT),
    ('{"rsi": 25, "market_context": 1}', CONTEXT),
    ('{"rsi": 25, "occurred_at": "yesterday"}', TIME),
    ('{"rsi": 25, "occurred_at": "infinity"}', TIME),
    ('{"rsi": 25, "occurred_at": 1767225600}', TIME),
    ('{"rsi": 25, "occurred_at": "2026-01-01T00:00:00"}', NO_OFFSET),
    ('{"rsi": 25, "occurred_at": "2026-02-29T00:00:00Z"}', NO_SUCH_TIME),
    ('{"rsi": 25, "occurred_at": "2026-01-01T24:00:00Z"}', NO_SUCH_TIME),
    ('{"rsi": 25, "symbol": ""}', "symbol: must be a text of 1 to 200 characters"),
    ('{"rsi": 25, "strategy": 7}', "strategy: must be a text of 1 to 200 characters"),
    ('{"rsi": 25, "note": "' + "x" * 200_000 + '"}', LONG),
    ('{"rsi": 25, "note": "' + "x" * 1_000_000 + '"}', LONG),
    ('"' + "x" * 1_000_000 + '"', "message: must be a JSON object, not a string"),
]
ODD_BUT_GOOD = [
    '{"rsi": 0}',
    '{"rsi": 100.000}',
    '{"rsi": 2.5e1}',
    '{"rsi": 25, "price": null, "volume": null, "market_context": null, "symbol": null, "occurred_at": null}',
    '{"rsi": 25, "price": 0, "volume": 1e30}',
    '{"rsi": 25, "market_context": {"trend": 7}}',
    '{"rsi": 25, "market_context": {"trend": "sideways", "more": {"kept": true}}}',
    '{"rsi": 25, "unknown": 1e400}',
    '{"rsi": 25, "unknown": [null, {"x": "NaN"}], "note": "' + "é" * 30_000 + '"}',
    '{"rsi": 25, "occurred_at": "2024-02-29T23:59:59.999999-0330"}',
    '{"rsi": 101, "rsi": 25}',
]


def test_in_a_batch_of_1000_the_good_complete_and_each_bad_one_is_a_dead_letter_with_its_reason(
    connection: Connection,
) -> None:
    good: list[int] = []
    bad: dict[int, tuple[str | None, str]] = {}
    with connection.transaction():
        for number in range(1000):
            place, kind = divmod(number, 15)
            if kind == 7 and place < len(BAD):
                bad[put(connection, BAD[place][0])] = BAD[place]
            elif kind == 3 and place < len(ODD_BUT_GOOD):
                good.append(put(connection, ODD_BUT_GOOD[place]))
            else:
                good.append(put(connection, f'{{"rsi": {number % 101}, "price": {number}}}'))
    assert (len(bad), len(good)) == (len(BAD), 1000 - len(BAD))

    lease = must_claim(connection, 1000)
    assert len(lease) == 1000
    done = settle(connection, lease, RetryPolicy())
    assert (done.completed, done.retried, done.dead_lettered, done.fenced) == (len(good), 0, len(bad), 0)

    assert errors_of(connection) == {msg_id: ("invalid_input", reason) for msg_id, (_, reason) in bad.items()}
    assert_each_has_one_outcome(connection, [*good, *bad])
    counted = balanced(connection)
    assert (counted.sent, counted.completed, counted.dead_lettered) == (1000, len(good), len(bad))

    rows = connection.execute(
        "SELECT msg_id, error_details ->> 'error_class', error_details ->> 'field', error_details ->> 'error_message',"
        " error_details ->> 'error_code', attempt, output_data FROM workflow_executions WHERE status = 'error'"
    ).fetchall()
    assert {row[0]: row[1:] for row in rows} == {
        msg_id: ("invalid_input", reason.split(":")[0], reason, "22023", 1, None) for msg_id, (_, reason) in bad.items()
    }
    # What came in is kept as it came, in the execution and in the dead letter.
    for msg_id, (text, _) in bad.items():
        assert one(
            connection,
            "SELECT e.input_data = coalesce(%s::jsonb, 'null')"
            "   AND coalesce(d.original_message, 'null') = coalesce(%s::jsonb, 'null')"
            "   AND d.execution_id = e.id::text AND d.attempts = 1 AND d.original_queue = 'workflow_main_queue'"
            "  FROM workflow_executions e JOIN nexus.dead_letters d ON d.original_msg_id = e.msg_id"
            " WHERE e.msg_id = %s",
            text,
            text,
            msg_id,
        )


def test_what_jsonb_cannot_hold_does_not_even_get_into_the_queue(connection: Connection) -> None:
    for text, error in (
        ('{"rsi": NaN}', psycopg.errors.InvalidTextRepresentation),
        ('{"rsi": Infinity}', psycopg.errors.InvalidTextRepresentation),
        ('{"rsi": 25, "symbol": "a\\u0000b"}', psycopg.errors.UntranslatableCharacter),
    ):
        with pytest.raises(error):
            put(connection, text)
    assert balanced(connection).sent == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"nexus_attempts": 999_999_999, "nexus_settled_reads": 999_999_999},
        {"nexus_attempts": "99999999999999999999", "nexus_settled_reads": -7},
        {"nexus_attempts": {"a": 1}, "nexus_settled_reads": [1]},
        {"nexus_attempts": 1.5, "nexus_settled_reads": "٣"},
        {"nexus_attempts": None, "nexus_settled_reads": True},
        {"nexus_settled_reads": 7, "nexus_redrive_of": "me"},
        {"x-pgmq-group": 1},
        [1, 2],
        "text",
        7,
        None,
    ],
)
def test_headers_written_by_a_sender_do_not_affect_a_valid_message(connection: Connection, headers: object) -> None:
    ids = [put(connection, '{"rsi": 25}', headers), put(connection, '{"rsi": 75}')]
    done = settle(connection, must_claim(connection), RetryPolicy())
    assert (done.completed, done.fenced) == (2, 0)
    assert_each_has_one_outcome(connection, ids)
    balanced(connection)


def test_an_error_text_is_cut_before_it_is_kept(connection: Connection) -> None:
    connection.execute(
        "CREATE FUNCTION shouting(request jsonb, decided_at timestamptz) RETURNS jsonb LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION '%', repeat('é', 1000000); END $$"
    )
    connection.execute("SELECT nexus.register_strategy('shouting', '1', 'shouting(jsonb, timestamptz)')")
    msg_id = put(connection, '{"rsi": 25, "strategy": "shouting"}')
    settle(connection, must_claim(connection), RetryPolicy(max_attempts=1))
    assert errors_of(connection) == {msg_id: ("strategy_error", "é" * 2000)}
