"""The check at the edge (Python) and the check in the queue (SQL) must be one rule in two places."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.signals.request import check, dumps, parse
from nexus_pipeline_tests.integration.test_bad_input import BAD, ODD_BUT_GOOD

FIELDS = ("rsi", "price", "volume", "market_context", "symbol", "source", "event_id", "strategy", "occurred_at")

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


def faults(connection: Connection, texts: list[str]) -> list[tuple[str, str] | None]:
    """What the database says about requests, in their order."""
    rows = connection.execute(
        "SELECT p.fault FROM unnest(%s::text[]) WITH ORDINALITY AS t (body, place)"
        " CROSS JOIN LATERAL nexus.parse_request(t.body::jsonb) p ORDER BY t.place",
        (texts,),
    ).fetchall()
    assert len(rows) == len(texts)
    return [None if row[0] is None else (row[0][0], row[0][1]) for row in rows]


def said_by_python(value: object) -> tuple[str, str] | None:
    invalid = check(value)
    return None if invalid is None else (invalid.field, invalid.reason)


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.one_of(JSON_VALUES, requests(), requests(), requests()), min_size=5, max_size=20))
def test_both_say_the_same_field_and_reason_about_anything(connection: Connection, values: list[object]) -> None:
    assert faults(connection, [dumps(value) for value in values]) == [said_by_python(value) for value in values]


@pytest.mark.parametrize("field", FIELDS)
def test_both_say_the_same_about_each_field_with_each_kind_of_value(connection: Connection, field: str) -> None:
    kinds: list[object] = [
        None, True, False, 0, -1, 1, 100, 101, Decimal("1e30"), Decimal("1.1e30"), Decimal("-0.0"), Decimal("1e400"),
        "", " ", "a", "25", "NaN", "a" * 200, "a" * 201, "\U0001f600" * 200, "\U0001f600" * 201, "\n", "\x7f\x01",
        "2026-01-31T09:00:00Z", "2026-02-30T09:00:00Z", "1900-02-29T09:00:00Z", "2000-02-29T00:00Z",
        "2026-01-31T09:00:00Z ", "2026-01-31", "now", "infinity", "epoch", "2026-04-31 00:00+00", "٢٠٢٦-01-31T09:00Z",
        [], [1], {}, {"trend": "bullish"}, {"trend": None},
    ]  # fmt: skip
    values: list[object] = [{"rsi": 25, field: kind} for kind in kinds]
    found = faults(connection, [dumps(value) for value in values])
    assert found == [said_by_python(value) for value in values]
    assert None in found
    assert {name for fault in found if fault for name in fault[:1]} == {field}


def test_both_tell_the_first_of_several_faults(connection: Connection) -> None:
    bad: dict[str, object] = {field: [] for field in FIELDS}
    values: list[object] = []
    for field in FIELDS:
        values.append(dict(bad))
        bad[field] = {"market_context": {}, "rsi": 1, "price": 1, "volume": 1}.get(field, "a")
    found = faults(connection, [dumps(value) for value in values])
    assert [fault[0] for fault in found if fault] == list(FIELDS)
    assert found == [said_by_python(value) for value in values]


@pytest.mark.parametrize("filler", ["x", "é", "\U0001f600", '"', "\x01", "\x7f", "\u2028"])
def test_both_draw_the_line_of_the_longest_request_at_the_same_byte(connection: Connection, filler: str) -> None:
    one = len(json.dumps(filler, ensure_ascii=False).encode()) - 2
    whole = (65_536 - len('{"rsi": 25, "note": ""}')) // one
    values: list[object] = [
        {"rsi": 25, "note": filler * count + "y" * more}
        for count in (whole - 1, whole, whole + 1)
        for more in range(one + 1)
    ]
    found = faults(connection, [dumps(value) for value in values])
    assert found == [said_by_python(value) for value in values]
    assert None in found
    assert ("message", "is longer than 65536 bytes") in found


@pytest.mark.parametrize(
    "number", ["1e-1000", "1.50", "100.00e-1", "1E+5", "-0", "0e10", "0.000e-5", "12345678901234567890"]
)
def test_both_count_a_number_as_long_as_postgresql_prints_it(connection: Connection, number: str) -> None:
    printed = connection.execute("SELECT %s::jsonb::text", (f'{{"rsi": 25, "n": {number}, "note": ""}}',)).fetchone()
    assert printed is not None
    for spare in (-1, 0, 1):
        text = f'{{"rsi": 25, "n": {number}, "note": "{"x" * (65_536 + spare - len(printed[0]))}"}}'
        expected = None if spare <= 0 else ("message", "is longer than 65536 bytes")
        assert faults(connection, [text]) == [expected]
        assert said_by_python(parse(text)) == expected


def test_both_say_the_same_about_every_bad_input_that_the_queue_is_tested_with(connection: Connection) -> None:
    texts = [text for text, _ in BAD if text is not None] + ODD_BUT_GOOD
    found = faults(connection, texts)
    assert found == [said_by_python(parse(text)) for text in texts]
    assert [None if fault is None else ": ".join(fault) for fault in found] == [
        *(reason for text, reason in BAD if text is not None),
        *(None for _ in ODD_BUT_GOOD),
    ]
