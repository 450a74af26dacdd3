"""The way in: what is faulty is refused by position, field and reason, and nothing of its batch is sent."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.demo import candles
from nexus_pipeline.errors import ConflictError, NotFoundError
from nexus_pipeline.ingress import manual, sender
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.queues.sending import Fault, RejectedRequests, Sent, enqueue, require_queue
from nexus_pipeline.signals.request import MAX_BYTES, Request
from nexus_pipeline_tests.support.queues import balanced, drain, one

RSI = "must be a number from 0 to 100"
FAULTY: list[Request] = [
    '{"rsi": 25}',
    b"\xff",
    {"rsi": 101},
    {"rsi": 1},
    '{"rsi": NaN}',
    "[]",
    {"rsi": 2, "price": -1},
]
FAULTS = (
    Fault(2, "message", "is not UTF-8"),
    Fault(3, "rsi", RSI),
    Fault(5, "rsi", "NaN is not JSON"),
    Fault(6, "message", "must be a JSON object, not an array"),
    Fault(7, "price", "must be a number that is 0 or more"),
)


def waiting(connection: Connection, queue: str = MAIN_QUEUE) -> int:
    return int(one(connection, f"SELECT count(*) FROM pgmq.q_{queue}"))


def test_texts_bytes_and_mappings_are_sent_in_their_order_with_every_digit(connection: Connection) -> None:
    digits = "12.3456789012345678901234567890"
    batch: list[Request] = ['{"rsi": 1.10}', b'{"rsi": 2, "symbol": "\xc3\xa9"}', {"rsi": Decimal(digits), "x": [None]}]
    assert sender.send(connection, batch) == Sent(3, 0, 1, 3)
    rows = connection.execute("SELECT message::text FROM pgmq.q_workflow_main_queue ORDER BY msg_id").fetchall()
    assert [row[0] for row in rows] == [
        '{"rsi": 1.10}',
        '{"rsi": 2, "symbol": "é"}',
        f'{{"x": [null], "rsi": {digits}}}',
    ]
    assert drain(connection).completed == 3


@pytest.mark.parametrize("send", [sender.send, sender.check])
def test_faulty_requests_are_named_by_position_and_nothing_is_sent(connection: Connection, send: object) -> None:
    assert callable(send)
    with pytest.raises(RejectedRequests) as refused:
        send(connection, FAULTY)
    assert refused.value.faults == FAULTS
    assert str(refused.value) == "request 2: message: is not UTF-8 (5 requests are refused); nothing was sent"
    only_rules: list[Request] = [{"rsi": 1, "event_id": "a"}, {}, {"rsi": "x"}]
    with pytest.raises(RejectedRequests) as refused:
        send(connection, only_rules)
    assert refused.value.faults == (Fault(2, "rsi", "is required"), Fault(3, "rsi", RSI))
    assert waiting(connection) == 0
    # Nor is the event of a request known that was not sent.
    assert sender.send(connection, only_rules[:1]) == Sent(1, 0, 1, 1)


def test_without_the_rules_only_what_postgresql_cannot_hold_is_refused(connection: Connection) -> None:
    with pytest.raises(RejectedRequests) as refused:
        sender.send(connection, FAULTY, validate=False)
    assert refused.value.faults == (FAULTS[0], FAULTS[2])
    kept = [request for at, request in enumerate(FAULTY, 1) if at not in {2, 5}]
    assert sender.check(connection, kept, validate=False)[-1] == '{"rsi": 2, "price": -1}'
    assert waiting(connection) == 0
    assert sender.send(connection, kept, validate=False).sent == 5
    assert drain(connection).dead_lettered == 3
    assert balanced(connection).sent == 5


def test_what_is_checked_first_is_what_is_sent_later(connection: Connection) -> None:
    texts = sender.check(connection, [' {"rsi": 1, "rsi": 2}', {"rsi": 3}])
    assert texts == [' {"rsi": 1, "rsi": 2}', '{"rsi": 3}']
    assert enqueue(connection, MAIN_QUEUE, texts).sent == 2
    assert one(connection, "SELECT array_agg(message -> 'rsi' ORDER BY msg_id) FROM pgmq.q_workflow_main_queue") == [
        2,
        3,
    ]


def test_a_send_is_undone_with_the_transaction_around_it(connection: Connection) -> None:
    with connection.transaction(force_rollback=True):
        assert sender.send(connection, [{"rsi": 25, "event_id": "a"}]).sent == 1
    assert sender.send(connection, [{"rsi": 25, "event_id": "a"}], delay_seconds=60).sent == 1


def test_every_request_from_real_candles_is_accepted(connection: Connection) -> None:
    made = candles.requests(candles.eurusd_hourly(), symbol="EURUSD", source="demo", weeks=450)
    assert len(sender.check(connection, made.requests)) == 6_076


@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(1e-6, 1e6), min_size=150, max_size=170), st.integers(-500, 500))
def test_every_request_from_any_candles_is_accepted(connection: Connection, closes: list[float], weeks: int) -> None:
    start = datetime(2017, 5, 1, tzinfo=UTC)
    bars = [
        candles.Candle(start + hour * candles.BAR, close, close, close, close, 1000.0)
        for hour, close in enumerate(closes)
    ]
    made = candles.requests(bars, symbol="X", source="test", weeks=weeks)
    assert len(sender.check(connection, made.requests)) == len(made.requests)


def test_nothing_to_send_sends_nothing(connection: Connection) -> None:
    assert sender.send(connection, []) == Sent(0, 0, None, None)
    assert sender.check(connection, []) == []


def test_a_queue_must_exist_and_be_served(connection: Connection) -> None:
    require_queue(connection, MAIN_QUEUE)
    with pytest.raises(NotFoundError, match="there is no queue nowhere"):
        require_queue(connection, "nowhere", served=False)
    with pytest.raises(ConflictError, match="takes no signal requests"):
        require_queue(connection, "workflow_errors")
    require_queue(connection, "workflow_errors", served=False)


def spooled(connection: Connection, data: bytes, *, validate: bool = True) -> list[str]:
    into = io.BytesIO()
    count = manual.spool(connection, io.BytesIO(data), into, validate=validate)
    lines = into.getvalue().decode().split("\n")
    assert lines.pop() == ""
    assert len(lines) == count
    return lines


def refused_lines(connection: Connection, data: bytes) -> manual.RefusedLines:
    with pytest.raises(manual.RefusedLines) as refused:
        spooled(connection, data)
    return refused.value


def test_a_file_may_have_empty_lines_a_byte_order_mark_and_no_last_newline(connection: Connection) -> None:
    text = b'\xef\xbb\xbf{"rsi": 5}\r\n\n  \n{"rsi": 6.50}'
    assert spooled(connection, text) == ['{"rsi": 5}', '{"rsi": 6.50}']
    assert spooled(connection, b"") == []


def test_characters_that_end_lines_elsewhere_end_none_here(connection: Connection) -> None:
    text = '{"rsi": 5, "note": "a\u2028b\x85c"}'
    assert spooled(connection, text.encode() + b"\n") == [text]


def test_faulty_lines_are_named_by_number(connection: Connection) -> None:
    refused = refused_lines(connection, b'{"rsi": 5}\n\n{"price": 5}\n\xff\n[]\n\xef\xbb\xbf{"rsi": 5}')
    assert [(fault.position, str(fault)) for fault in refused.faults] == [
        (3, "rsi: is required"),
        (4, "message: is not UTF-8"),
        (5, "message: must be a JSON object, not an array"),
        (6, "message: is not JSON: Expecting value at line 1, column 1"),
    ]
    assert str(refused) == "4 lines refused; nothing was sent"


def test_faulty_lines_of_several_batches_are_named_by_number(connection: Connection) -> None:
    good, bad = '\n{"rsi": 5}\n' * 700, '{"rsi": 500}\n'
    refused = refused_lines(connection, (good + bad + good + bad).encode())
    assert [fault.position for fault in refused.faults] == [1_401, 2_802]


def test_reading_ends_after_ten_faulty_lines(connection: Connection) -> None:
    stream = io.BytesIO(b"x\n" * 10_000)
    with pytest.raises(manual.RefusedLines, match="10 lines refused and the rest was not read; nothing was") as refused:
        manual.spool(connection, stream, io.BytesIO())
    assert [fault.position for fault in refused.value.faults] == list(range(1, 11))
    assert stream.tell() < 10_000


@pytest.mark.parametrize("tail", [b'x"', b" ", b'" garbage'])
def test_a_line_that_is_too_long_is_refused_and_the_next_ones_are_read(connection: Connection, tail: bytes) -> None:
    too_long = b'{"rsi": 5}' + b" " * MAX_BYTES + tail + b"\n"
    refused = refused_lines(connection, too_long + b'{"rsi": 5}\n{}\n')
    assert [(fault.position, str(fault)) for fault in refused.faults] == [
        (1, f"message: is longer than {MAX_BYTES} bytes"),
        (3, "rsi: is required"),
    ]


def test_without_the_rules_a_file_may_hold_all_that_postgresql_can_store(connection: Connection) -> None:
    kept = ["5", "null", "[1, 2]", "{}", '{"rsi": "abc"}', '{"note": "' + "x" * 1_000_000 + '"}']
    assert spooled(connection, "\n".join(kept).encode(), validate=False) == kept
    for text in ('{"rsi": NaN}', '{"a": "\\u0000"}', '"\\ud800"', "{"):
        with pytest.raises(manual.RefusedLines):
            spooled(connection, text.encode(), validate=False)


def test_many_requests_come_back_in_their_order(connection: Connection) -> None:
    lines = [json.dumps({"rsi": number % 100, "note": "x" * 1000, "n": number}) for number in range(5_000)]
    assert spooled(connection, "\n".join(lines).encode()) == lines
