"""The rules of a request: PostgreSQL is their only authority, at the edge and in the queue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from hypothesis import HealthCheck, event, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.ingress import sender
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.queues.sending import RejectedRequests, enqueue
from nexus_pipeline.signals.request import MAX_BYTES, InvalidRequest, Request, json_text
from nexus_pipeline_tests.integration.test_bad_input import BAD, ODD_BUT_GOOD
from nexus_pipeline_tests.support.queues import balanced, drain, one

FIELDS = ("rsi", "price", "volume", "market_context", "symbol", "source", "event_id", "strategy", "occurred_at")
RSI = "must be a number from 0 to 100"
AMOUNT = "must be a number that is 0 or more"
TEXT = "must be a text of 1 to 200 characters"
TIME = "must be an ISO 8601 time with an offset, as in 2026-01-31T09:00:00Z"
LONG = "message: is longer than 65536 bytes"

with_database = hypothesis_settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def said(connection: Connection, requests: Sequence[Request]) -> list[str | None]:
    """What is said of each request, in their order; None of those that may be sent."""
    found: list[str | None] = [None] * len(requests)
    try:
        sender.check(connection, requests)
    except RejectedRequests as error:
        for fault in error.faults:
            assert found[fault.position - 1] is None
            found[fault.position - 1] = str(fault)
    return found


def said_of_field(connection: Connection, field: str, values: Sequence[object]) -> list[str | None]:
    return said(connection, [{"rsi": 25, field: value} for value in values])


# -- What the check in Python lets through, PostgreSQL can hold -------------------------------------------------------

STRING_PARTS = [
    *("a", "é", "\U0001f600", "\u2028", "\x7f", "\\n", "\\/", '\\"', "\\u0041", "\\uD83D\\ude00"),
    *("\\u0000", "\\ud83d", "\\ude00", "\udc80", "\\x", "\x01", "\n", "\0", "\\u12"),
]
JSON_STRINGS = st.lists(st.sampled_from(STRING_PARTS[:10]) | st.sampled_from(STRING_PARTS), max_size=4).map(
    lambda parts: f'"{"".join(parts)}"'
)
JSON_NUMBERS = st.sampled_from(
    [
        "0",
        "-0",
        "25",
        "-1.50",
        "0.0",
        "1e5",
        "1E+5",
        "2.5e-1",
        "1e400",
        "-1e-1000",
        "1e1000",
        "9" * 400,
        f"0.{'1' * 4000}",
    ]
) | st.sampled_from(["01", "1.", ".5", "-", "+1", "1e", "0x1", "1_0", "٢", "NaN", "-Infinity", "1e1001", "1e200000"])
SPACE = st.sampled_from(["", "", " ", "\n\t\r ", "\x0b", "\u00a0"])


def _array(items: list[str], space: str) -> str:
    return f"[{space}{f',{space}'.join(items)}{space}]"


def _object(pairs: list[tuple[str, str]], space: str) -> str:
    return "{" + ",".join(f"{space}{key}{space}:{space}{value}" for key, value in pairs) + "}"


JSON_TEXTS = st.recursive(
    st.sampled_from(["true", "false", "null", "True", "nil"]) | JSON_NUMBERS | JSON_STRINGS,
    lambda inner: (
        st.builds(_array, st.lists(inner, max_size=4), SPACE)
        | st.builds(
            _object, st.lists(st.tuples(st.sampled_from(['"a"', '"b"']) | JSON_STRINGS, inner), max_size=4), SPACE
        )
    ),
    max_leaves=8,
)


@hypothesis_settings(with_database, max_examples=400)
@given(JSON_TEXTS)
def test_what_the_check_in_python_accepts_postgresql_stores_as_the_same_value(
    connection: Connection, text: str
) -> None:
    try:
        accepted = json_text(text)
    except InvalidRequest as error:
        event("refused")
        if "out of range" not in error.reason:  # of numbers, less is taken than PostgreSQL could hold
            with pytest.raises((psycopg.DataError, UnicodeEncodeError)):
                connection.execute("SELECT %s::jsonb", (text,))
        return
    event("accepted")
    stored = one(connection, "SELECT %s::jsonb::text", accepted)
    assert json.loads(stored, parse_float=Decimal) == json.loads(text, parse_float=Decimal)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100 + "]" * 100,
        '{"a":' * 100 + "1" + "}" * 100,
        "9" * 1_001,
        f"0.{'1' * 4_299}",
        f"1.{'0' * 4_299}e-1000",
        "1e1000",
        "1e-1000",
        f"[{'1e1000,' * (MAX_BYTES // 7 - 1)}0]",
        '"' + "é" * (MAX_BYTES // 2 - 1) + '"',
    ],
    ids=lambda text: text[:12],
)
def test_postgresql_holds_the_largest_that_the_check_in_python_accepts(connection: Connection, text: str) -> None:
    assert json_text(text) == text
    assert enqueue(connection, MAIN_QUEUE, [text]).sent == 1
    assert one(connection, "SELECT message = %s::jsonb FROM pgmq.q_workflow_main_queue", text)


# -- The rules --------------------------------------------------------------------------------------------------------


def test_a_full_request_with_unknown_fields_is_accepted(connection: Connection) -> None:
    text = (
        '{"rsi": 29.6, "price": 1.05, "volume": 0, "market_context": {"trend": "bullish"},'
        ' "symbol": "EURUSD", "source": "s", "event_id": "e", "strategy": "x",'
        ' "occurred_at": "2026-01-31T09:00:00Z", "mine": [1]}'
    )
    assert said(connection, [text]) == [None]


def test_a_message_that_is_no_object_is_named_by_its_kind(connection: Connection) -> None:
    kinds = {"null": "null", '[{"rsi": 25}]': "an array", '"rsi"': "a string", "2.5": "a number", "true": "a boolean"}
    assert said(connection, list(kinds)) == [f"message: must be a JSON object, not {kind}" for kind in kinds.values()]


def test_an_rsi_is_a_number_from_0_to_100(connection: Connection) -> None:
    bad = [None, "25", "NaN", True, False, {}, [25], -1, -0.0001, 100.0001, 101, Decimal("1e400"), 10**900]
    assert said_of_field(connection, "rsi", bad) == [f"rsi: {RSI}"] * len(bad)
    good = [0, 100, 0.0, -0.0, 29.6, Decimal("100.000"), Decimal("1e-900"), Decimal("-1e-900") * 0]
    assert said_of_field(connection, "rsi", good) == [None] * len(good)
    assert said(connection, ['{"price": -1}', '{"RSI": 25}']) == ["rsi: is required"] * 2


@pytest.mark.parametrize("field", ["price", "volume"])
def test_an_amount_is_a_number_from_0_to_1e30(connection: Connection, field: str) -> None:
    good = [None, 0, -0.0, 0.5, 10**30, 1e30, Decimal("1e30"), Decimal("1.0e30"), Decimal("-0e-400")]
    assert said_of_field(connection, field, good) == [None] * len(good)
    bad = ["1", "", True, [], {}, -1, Decimal("-0.0000000001"), Decimal("-1e-400")]
    assert said_of_field(connection, field, bad) == [f"{field}: {AMOUNT}"] * len(bad)
    large = [10**30 + 1, 1.0000000000000002e30, Decimal(f"1.{'0' * 35}1e30"), Decimal("1e400")]
    assert said_of_field(connection, field, large) == [f"{field}: must be at most 1e30"] * len(large)


def test_a_market_context_is_an_object(connection: Connection) -> None:
    bad = ["bullish", [], 1, False]
    assert said_of_field(connection, "market_context", bad) == ["market_context: must be an object"] * len(bad)
    assert said_of_field(connection, "market_context", [None, {}, {"trend": None}, {"trend": 7}]) == [None] * 4


@pytest.mark.parametrize("field", ["symbol", "source", "event_id", "strategy"])
def test_a_text_field_holds_1_to_200_characters(connection: Connection, field: str) -> None:
    good = [None, "E", " ", "\n", "\x7f\x01", "NaN", "a" * 200, "\U0001f600" * 200]
    assert said_of_field(connection, field, good) == [None] * len(good)
    bad = ["", "x" * 201, "\U0001f600" * 201, 1, True, ["x"], {}]
    assert said_of_field(connection, field, bad) == [f"{field}: {TEXT}"] * len(bad)


def test_a_time_with_an_offset_is_accepted(connection: Connection) -> None:
    times = [
        None,
        "2026-01-31T09:00:00Z",
        "2026-01-31 09:00Z",
        "2026-01-31T09:00:00.123456+01:00",
        "2026-01-31T23:59:59.1-0330",
        "2024-02-29T00:00+14",
        "2000-02-29T00:00Z",
        "1970-01-01T00:00:00+14:59",
        "2999-12-31T23:59:59-00:00",
        *("2026-01-31t09:00:00Z", "2026-01-31T09:00:00z", "2026-01-31T09:00:00.050464286Z"),
        "2026-01-31T09:00:00." + "9" * 1000 + "+05:30",
    ]
    assert said_of_field(connection, "occurred_at", times) == [None] * len(times)


@hypothesis_settings(with_database)
@given(st.datetimes(timezones=st.timezones()))
def test_a_time_as_python_writes_it_is_accepted_in_the_years_1970_to_2999(
    connection: Connection, moment: datetime
) -> None:
    offset = moment.utcoffset()
    assert offset is not None
    reason = None
    if offset % timedelta(minutes=1):  # some offsets of old had seconds
        reason = f"occurred_at: {TIME}"
    elif not 1970 <= moment.year <= 2999:
        reason = "occurred_at: must be of a year from 1970 to 2999"
    assert said_of_field(connection, "occurred_at", [moment.isoformat()]) == [reason]


@pytest.mark.parametrize(
    ("written", "kept"),
    [("2026-01-31T09:00:00.1234567Z", "09:00:00.123456"), ("2026-01-31T09:00:00.999999999Z", "09:00:00.999999"),
     ("2026-01-31t10:30:59.9999995+01:00", "09:30:59.999999"), ("2026-12-31T23:59:59.9999999z", "23:59:59.999999")],
)  # fmt: skip
def test_decimals_beyond_microseconds_are_cut(connection: Connection, written: str, kept: str) -> None:
    assert one(connection, "SELECT (nexus.parse_time(%s) AT TIME ZONE 'UTC')::time::text", written) == kept


REFUSED_TIMES: dict[str, list[object]] = {
    TIME: [
        *("", "yesterday", "now", "infinity", "epoch", 1769850000, True, {}, []),
        *("2026-01-31", "2026-01-31  09:00:00Z", "2026-01-31T09Z", "2026-01-31T9:00:00Z", "2026-01-31T09:00:00Z\n"),
        *(" 2026-01-31T09:00:00Z", "2026-01-31T09:00:00 Z", "2026-01-31T09:00:00Z ", "2026-01-31T09:00:00.Z"),
        *("2026-01-31T09:00.5Z", "2026-01-31T09:00:00+1", "2026-W05-6T09:00:00Z", "20260131T090000Z"),
        *("2026-01-31T09:00:00,5Z", "٢٠٢٦-01-31T09:00:00Z"),
    ],
    "has no offset: write 2026-01-31T09:00:00Z, or +02:00 instead of Z": [
        *("2026-01-31T09:00:00", "2026-01-31 09:00", "2026-01-31T09:00:00.123456789"),
    ],
    "must be of a year from 1970 to 2999": ["1969-12-31T23:59:59Z", "3000-01-01T00:00:00Z", "0001-01-01T00:00:00Z"],
    "has an offset of more than 14:59": [
        "2026-01-31T09:00:00+15:00",
        "2026-01-31T09:00:00+01:60",
        "2026-01-31T09:00-99",
    ],
    "names a day, or a time of day, that does not exist": [
        *("2026-02-30T09:00:00Z", "2025-02-29T09:00:00Z", "2100-02-29T09:00:00Z", "2026-04-31 00:00+00"),
        *("2026-13-01T09:00:00Z", "2026-00-01T09:00:00Z", "2026-01-00T09:00:00Z", "2026-01-31T24:00:00Z"),
        *("2026-01-31T23:60:00Z", "2026-01-31T23:59:60Z"),
    ],
}


@pytest.mark.parametrize("reason", REFUSED_TIMES)
def test_a_time_that_is_refused_is_told_the_rule_that_it_breaks(connection: Connection, reason: str) -> None:
    times = REFUSED_TIMES[reason]
    assert said_of_field(connection, "occurred_at", times) == [f"occurred_at: {reason}"] * len(times)


def test_the_first_rule_that_is_broken_is_the_one_that_is_named(connection: Connection) -> None:
    request: dict[str, object] = {field: [] for field in FIELDS} | {"unknown": "x" * 65_536}
    named = []
    while (found := said(connection, [request])[0]) is not None:
        named.append(found.partition(":")[0])
        request.pop("unknown" if named[-1] == "message" else named[-1])
        if named[-1] == "rsi":
            request["rsi"] = 25
    assert named == ["message", *FIELDS]


@pytest.mark.parametrize("filler", ["x", "é", "\U0001f600", '"', "\n", "\x01", "\x7f", "\u2028"])
def test_a_request_has_at_most_65536_bytes_as_postgresql_prints_it(connection: Connection, filler: str) -> None:
    size = len(json.dumps(filler, ensure_ascii=False).encode()) - 2
    whole, rest = divmod(65_536 - len('{"rsi": 25, "note": ""}'), size)
    notes = [filler * whole + "y" * (rest + more) for more in (-1, 0, 1)]
    assert said_of_field(connection, "note", notes) == [None, None, LONG]


def test_a_number_counts_with_all_the_digits_that_postgresql_prints(connection: Connection) -> None:
    for number in ("1e-1000", "1.50", "100.00e-1", "1E+5", "-0", "0e10", "0.000e-5", "12345678901234567890"):
        printed = one(connection, "SELECT octet_length(%s::jsonb::text)", f'{{"rsi": 25, "n": {number}, "note": ""}}')
        texts: list[Request] = [
            f'{{"rsi": 25, "n": {number}, "note": "{"x" * (65_536 + more - printed)}"}}' for more in (-1, 0, 1)
        ]
        assert said(connection, texts) == [None, None, LONG]
    thousand = [Decimal("1e1000")] * 66  # 1,001 digits each, 6 characters as they are written
    assert said(connection, [{"rsi": 25, "numbers": thousand}]) == [LONG]


def test_what_is_refused_at_the_edge_is_what_the_queue_would_dead_letter(connection: Connection) -> None:
    texts = [text for text, _ in BAD if text is not None] + ODD_BUT_GOOD
    expected = [reason for text, reason in BAD if text is not None] + [None] * len(ODD_BUT_GOOD)
    assert said(connection, texts) == expected


# -- What is accepted is decided; what is refused would have been a dead letter ----------------------------------------

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
NUMBERS = st.one_of(
    st.integers(-2, 102),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-(10**31), 10**31, allow_nan=False, allow_infinity=False),
    st.sampled_from([Decimal(text) for text in ("1e30", "1.0e30", "100.00", "1e-400", "-0", "-1e-400", "1e400")]),
    st.sampled_from([10**30, 10**30 + 1, 1e30, 0.0, -0.0, 100, 100.0]),
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
TWO_DIGITS = st.integers(0, 62).map(lambda number: f"{number:02d}")
TIMES = st.builds(
    "{}-{}-{}{}{}:{}{}{}".format,
    st.sampled_from(["1969", "1970", "1999", "2000", "2024", "2026", "2100", "2999", "3000", "26", "٢٠٢٦"]),
    st.integers(0, 13).map(lambda number: f"{number:02d}"),
    st.integers(0, 32).map(lambda number: f"{number:02d}"),
    st.sampled_from(["T", " ", "t", "", "  "]),
    st.integers(0, 25).map(lambda number: f"{number:02d}"),
    TWO_DIGITS,
    st.sampled_from(["", ":00", ":59.999999", ":60", ":00.1234567", ":00.", ":5"]),
    st.sampled_from(["Z", "z", "", "+00:00", "-0330", "+14:59", "+15", "+05", " Z", "Z\n", "+1:00", "+00:60", "UTC"]),
)
LENGTHS = st.builds(
    lambda char, count: char * count, st.sampled_from("aé\U0001f600\\\n"), st.sampled_from([0, 1, 199, 200, 201])
)
LIKELY = {
    "rsi": NUMBERS,
    "price": NUMBERS,
    "volume": NUMBERS,
    "market_context": st.dictionaries(TEXTS, JSON_VALUES, max_size=2),
    "symbol": TEXTS | LENGTHS,
    "source": TEXTS | LENGTHS,
    "event_id": TEXTS | LENGTHS,
    "strategy": TEXTS | LENGTHS,
    "occurred_at": TIMES | st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
}


@st.composite
def requests(draw: st.DrawFn) -> dict[str, object]:
    """Objects with some of the known fields, most of them as they should be, some with anything at all in them."""
    chosen = draw(st.sets(st.sampled_from(FIELDS)))
    request: dict[str, object] = {"rsi": draw(st.integers(0, 100))} if draw(st.booleans()) else {}
    for field in sorted(chosen):
        request[field] = draw(JSON_VALUES if draw(st.integers(0, 5)) == 0 else LIKELY[field])
    return request | draw(st.dictionaries(TEXTS, JSON_VALUES, max_size=2))


@with_database
@given(st.lists(requests(), min_size=5, max_size=20))
def test_what_is_accepted_is_decided_and_what_is_refused_is_what_the_queue_would_dead_letter(
    connection: Connection, batch: list[dict[str, object]]
) -> None:
    reasons = said(connection, batch)
    good = [request for request, reason in zip(batch, reasons, strict=True) if reason is None]
    bad = {index: reason for index, reason in enumerate(reasons) if reason is not None}
    for index, reason in bad.items():
        field = reason.partition(":")[0]
        assert field in FIELDS
        assert field in batch[index] or reason == "rsi: is required"
    if bad:
        before = balanced(connection).sent
        with pytest.raises(RejectedRequests) as refused:
            sender.send(connection, batch)
        assert [str(fault) for fault in refused.value.faults] == list(bad.values())
        assert balanced(connection).sent == before

    sent = sender.send(connection, good)
    assert sent.sent + sent.duplicates == len(good)
    forced = [sender.send(connection, [batch[index]], validate=False) for index in bad]
    drain(connection)
    rows = connection.execute(
        "SELECT msg_id, status, error_details ->> 'error_class', error_details ->> 'error_message'"
        "  FROM workflow_executions WHERE msg_id >= coalesce(%s, 0) AND status IN ('completed', 'error')",
        (sent.first_msg_id,),
    ).fetchall()
    ended = {row[0]: row[1:] for row in rows}
    if sent.first_msg_id is not None and sent.last_msg_id is not None:
        for msg_id in range(sent.first_msg_id, sent.last_msg_id + 1):
            status, error_class, _ = ended[msg_id]
            # The rules do not say which strategies are registered.
            assert status == "completed" or error_class == "unknown_strategy", ended[msg_id]
    for one_forced, reason in zip(forced, bad.values(), strict=True):
        if one_forced.first_msg_id is not None:  # None for a duplicate
            assert ended[one_forced.first_msg_id] == ("error", "invalid_input", reason)
