"""What the check of a signal request must accept, refuse and say."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_pipeline.signals.request import (
    MAX_BYTES,
    MAX_DEPTH,
    Invalid,
    InvalidRequest,
    check,
    dumps,
    parse,
    parse_and_check,
)

RSI = "rsi: must be a number from 0 to 100"
AMOUNT = "must be a number that is 0 or more"
TEXT = "must be a text of 1 to 200 characters"
TIME = "occurred_at: must be an ISO 8601 time with an offset, as in 2026-01-31T09:00:00Z"
NUMBERS = st.one_of(
    st.integers(),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40),
)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def said(request: object) -> str | None:
    invalid = check(request)
    return None if invalid is None else str(invalid)


def refusal(text: str) -> str:
    with pytest.raises(InvalidRequest) as caught:
        parse_and_check(text)
    assert str(caught.value) == str(caught.value.invalid)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_full_request_with_unknown_fields_is_accepted_and_keeps_them() -> None:
    text = (
        '{"rsi": 29.6, "price": 1.05, "volume": 0, "market_context": {"trend": "bullish"},'
        ' "symbol": "EURUSD", "source": "s", "event_id": "e", "strategy": "x",'
        ' "occurred_at": "2026-01-31T09:00:00Z", "mine": [1]}'
    )
    request = parse_and_check(text)
    assert request["rsi"] == Decimal("29.6")
    assert request["mine"] == [1]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (None, "message: must be a JSON object, not null"),
        ([{"rsi": 25}], "message: must be a JSON object, not an array"),
        ("rsi", "message: must be a JSON object, not a string"),
        (25, "message: must be a JSON object, not a number"),
        (2.5, "message: must be a JSON object, not a number"),
        (True, "message: must be a JSON object, not a boolean"),
    ],
)
def test_a_message_that_is_no_object_is_named_by_its_kind(message: object, expected: str) -> None:
    assert said(message) == expected
    assert refusal(dumps(message)) == expected


@pytest.mark.parametrize(
    "rsi", [None, "25", "NaN", True, False, {}, [25], -1, -0.0001, 100.0001, 101, Decimal("1e400"), 10**4000]
)
def test_an_rsi_that_is_no_number_from_0_to_100_is_refused(rsi: object) -> None:
    assert said({"rsi": rsi}) == RSI


@pytest.mark.parametrize("rsi", [0, 100, 0.0, -0.0, 29.6, Decimal("100.000"), Decimal("1e-900")])
def test_an_rsi_within_the_bounds_is_accepted(rsi: object) -> None:
    assert check({"rsi": rsi}) is None


def test_a_missing_rsi_is_named() -> None:
    assert check({"price": -1}) == Invalid("rsi", "is required")


@pytest.mark.parametrize("field", ["price", "volume"])
def test_an_amount_is_a_number_from_0_to_1e30(field: str) -> None:
    for good in (None, 0, -0.0, 0.5, 10**30, 1e30, Decimal("1e30")):
        assert check({"rsi": 25, field: good}) is None
    for bad in ("1", True, [], {}, -1, Decimal("-0.0000000001")):
        assert said({"rsi": 25, field: bad}) == f"{field}: {AMOUNT}"
    for great in (10**30 + 1, 1.0000000000000002e30, Decimal("1.000000000000000000000000000000000001e30")):
        assert said({"rsi": 25, field: great}) == f"{field}: must be at most 1e30"


@pytest.mark.parametrize("context", ["bullish", [], 1, False])
def test_a_market_context_that_is_no_object_is_refused(context: object) -> None:
    assert said({"rsi": 25, "market_context": context}) == "market_context: must be an object"
    assert check({"rsi": 25, "market_context": None}) is None


@pytest.mark.parametrize("field", ["symbol", "source", "event_id", "strategy"])
def test_a_text_field_holds_1_to_200_characters(field: str) -> None:
    for good in (None, "E", "😀" * 200):
        assert check({"rsi": 25, field: good}) is None
    for bad in ("", "x" * 201, 1, True, ["x"], {}):
        assert said({"rsi": 25, field: bad}) == f"{field}: {TEXT}"


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-31T09:00:00Z",
        "2026-01-31 09:00Z",
        "2026-01-31T09:00:00.123456+01:00",
        "2026-01-31T23:59:59.1-0330",
        "2024-02-29T00:00+14",
        "1970-01-01T00:00:00+14:59",
        "2999-12-31T23:59:59-00:00",
    ],
)
def test_a_time_with_an_offset_is_accepted(time: str) -> None:
    assert check({"rsi": 25, "occurred_at": time}) is None


@pytest.mark.parametrize(
    "time",
    [
        "",
        "yesterday",
        1769850000,
        True,
        "2026-01-31",
        "2026-01-31T09:00:00",
        "2026-01-31t09:00:00Z",
        "2026-01-31T09:00:00z",
        "2026-01-31  09:00:00Z",
        "2026-01-31T09Z",
        "2026-01-31T9:00:00Z",
        "2026-01-31T09:00:00Z\n",
        " 2026-01-31T09:00:00Z",
        "2026-01-31T09:00:00 Z",
        "2026-01-31T09:00:00.Z",
        "2026-01-31T09:00:00.1234567Z",
        "2026-01-31T09:00.5Z",
        "2026-01-31T09:00:00+15:00",
        "2026-01-31T09:00:00+01:60",
        "2026-01-31T09:00:00+1",
        "2026-02-30T09:00:00Z",
        "2025-02-29T09:00:00Z",
        "2026-13-01T09:00:00Z",
        "2026-00-01T09:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T23:60:00Z",
        "2026-01-31T23:59:60Z",
        "1969-12-31T23:59:59Z",
        "3000-01-01T00:00:00Z",
        "٢٠٢٦-01-31T09:00:00Z",
    ],
)
def test_a_time_that_does_not_exist_or_has_no_offset_is_refused(time: object) -> None:
    assert said({"rsi": 25, "occurred_at": time}) == TIME


def test_the_first_rule_that_is_broken_is_the_one_that_is_named() -> None:
    request: dict[str, object] = {
        "occurred_at": "x",
        "strategy": 1,
        "event_id": 1,
        "source": 1,
        "symbol": 1,
        "market_context": 1,
        "volume": -1,
        "price": -1,
        "rsi": "x",
        "unknown": "x" * MAX_BYTES,
    }
    order = [
        "message",
        "rsi",
        "price",
        "volume",
        "market_context",
        "symbol",
        "source",
        "event_id",
        "strategy",
        "occurred_at",
    ]
    named = []
    while (invalid := check(request)) is not None:
        named.append(invalid.field)
        request.pop("unknown" if invalid.field == "message" else invalid.field)
        request.setdefault("rsi", "x" if invalid.field == "message" else 25)
    assert named == order


def test_the_length_is_that_of_the_text_postgresql_prints() -> None:
    frame = len('{"rsi": 25, "note": ""}')
    for char, size in (("x", 1), ("é", 2), ("😀", 4), ('"', 2), ("\n", 2), ("\x01", 6), ("\x7f", 1)):
        count, rest = divmod(MAX_BYTES - frame, size)
        fitting = {"rsi": 25, "note": char * count + "x" * rest}
        assert check(fitting) is None
        fitting["note"] = f"{fitting['note']}x"
        assert said(fitting) == "message: is longer than 65536 bytes"


def test_numbers_count_with_all_the_digits_that_postgresql_prints() -> None:
    thousand = [Decimal("1e1000")] * 66  # 1,001 digits each, 6 characters as they are written
    assert said({"rsi": 25, "numbers": thousand}) == "message: is longer than 65536 bytes"
    assert said({"rsi": 10**70_000}) == "message: is longer than 65536 bytes"
    assert said({"rsi": 10**5_000}) == RSI
    assert said({"rsi": Decimal("1e400000000")}) == "message: is longer than 65536 bytes"
    assert check({"rsi": 25, "number": Decimal("1e-1000")}) is None


@given(st.dictionaries(TEXTS, JSON_VALUES, max_size=5))
def test_the_check_never_fails_and_its_size_is_that_of_the_plain_text(extra: dict[str, object]) -> None:
    request = {**extra, "rsi": 25}
    known = {"price", "volume", "market_context", "symbol", "source", "event_id", "strategy", "occurred_at"}
    if not known & set(extra):
        assert check(request) is None
    # With whole numbers, JSON of Python's own is the very text that PostgreSQL prints: pad it to the limit.
    plain = json.loads(json.dumps(request, default=int))
    room = MAX_BYTES - len(json.dumps({**plain, "~pad": ""}, ensure_ascii=False).encode())
    assert said({**plain, "~pad": "x" * (room + 1)}) == "message: is longer than 65536 bytes"
    fits = check({**plain, "~pad": "x" * room})
    assert fits is None or fits.field in known


@given(JSON_VALUES)
def test_what_is_printed_reads_back_as_the_same_value_with_every_digit(value: object) -> None:
    text = dumps(value)
    assert parse(text) == value
    assert dumps(parse(text)) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_printed_as_the_number_it_shows(number: float) -> None:
    assert float(str(parse(dumps(number)))) == number


def test_decimals_are_printed_as_numbers_exactly() -> None:
    assert dumps({"a": Decimal("1.10"), "b": [Decimal("12345678901234567890.123456789")]}) == (
        '{"a": 1.10, "b": [12345678901234567890.123456789]}'
    )


@given(st.text())
def test_any_text_is_parsed_or_refused_in_one_line(text: str) -> None:
    try:
        parse_and_check(text)
    except InvalidRequest as error:
        assert str(error).isprintable()  # noqa: PT017


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinity_are_refused_by_the_name_of_their_field(constant: str) -> None:
    assert refusal(f'{{"rsi": {constant}}}') == RSI
    assert refusal(f'{{"rsi": 25, "price": {constant}}}') == f"price: {AMOUNT}"
    assert refusal(f'{{"rsi": 25, "market_context": {{"rsi": {constant}}}}}') == (
        f"market_context.rsi: {constant} is not JSON"
    )
    assert refusal(f'{{"rsi": 25, "x": [0, {constant}]}}') == f"x[1]: {constant} is not JSON"
    assert refusal(constant) == f"message: {constant} is not JSON"
    assert refusal(f'{{"rsi": {constant}, "rsi": 25}}') == f"message: {constant} is not JSON"
    assert said({"rsi": float(constant)}) == RSI
    assert said({"rsi": Decimal(constant)}) == RSI
    with pytest.raises(InvalidRequest, match=f"x: {constant} is not JSON"):
        dumps({"x": float(constant)})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "message: is not JSON: Expecting value at line 1, column 1"),
        ('{"rsi": 25', "message: is not JSON: Expecting ',' delimiter at line 1, column 11"),
        ('{"rsi":\n 025}', "message: is not JSON: Expecting ',' delimiter at line 2, column 3"),
        ('{"rsi": 25} {}', "message: is not JSON: Extra data at line 1, column 13"),
        ('{"a": "\n"}', "message: is not JSON: Invalid control character at line 1, column 8"),
    ],
)
def test_broken_json_is_refused_with_its_line_and_column(text: str, expected: str) -> None:
    assert refusal(text) == expected


def test_nul_and_unpaired_surrogates_are_refused_where_they_are() -> None:
    nul = "must not contain the character NUL"
    lone = "must not contain an unpaired surrogate"
    assert refusal('{"rsi": 25, "symbol": "a\\u0000"}') == f"symbol: {nul}"
    assert refusal('{"rsi": 25, "x": {"y": ["", "\\u0000"]}}') == f"x.y[1]: {nul}"
    assert refusal('{"rsi": 25, "x": {"\\u0000": 1}}') == f"x: {nul}"
    assert refusal('{"\\u0000": 1}') == f"message: {nul}"
    assert refusal('{"rsi": 25, "symbol": "\\ud83d"}') == f"symbol: {lone}"
    assert said({"rsi": 25, "symbol": "\udc80"}) == f"symbol: {lone}"
    assert parse('"\\ud83d\\ude00"') == "😀"


def test_numbers_that_no_one_can_mean_are_refused_at_once() -> None:
    out = "is a number out of range"
    for number in ("1e1001", "-1E+1001", "1e-1001", "0e5000", "1e400000000", f"1e{'9' * 50_000}", "9" * 1002):
        assert refusal(f'{{"rsi": {number}}}') == f"rsi: {out}"
    assert refusal(f'{{"rsi": 25, "x": {"9" * 4301}}}') == "x: is a number with more than 4300 digits"
    assert refusal(f'{{"rsi": 25, "x": 0.{"1" * 1_000_000}}}') == "x: is a number with more than 4300 digits"
    assert refusal('{"rsi": 1e400}') == RSI
    assert parse("1e1000") == Decimal("1e1000")


def test_deep_nesting_is_refused_and_never_a_recursion_error() -> None:
    deep = "message: is nested too deeply"
    assert refusal("[" * 1_000_000) == deep
    assert refusal('{"rsi": 25, "x": ' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}") == deep
    inner = MAX_DEPTH - 1
    assert parse_and_check('{"rsi": 25, "x": ' + "[" * inner + "]" * inner + "}")["rsi"] == 25
    nested: list[object] = []
    for _ in range(20_000):
        nested = [nested]
    assert check({"rsi": 25, "x": nested}) is None
    with pytest.raises(InvalidRequest, match="is nested too deeply"):
        dumps(nested)


def test_of_equal_keys_the_last_one_counts() -> None:
    assert parse_and_check('{"rsi": -1, "rsi": 25}') == {"rsi": 25}


def test_the_name_of_a_field_is_printable_and_short() -> None:
    assert refusal('{"a\\n\\u001b[2J": NaN}') == "a��[2J: NaN is not JSON"
    assert refusal('{"": NaN}') == '"": NaN is not JSON'
    assert refusal(f'{{"{"k" * 100_000}": NaN}}') == f"{'k' * 99}…: NaN is not JSON"


def test_values_that_are_no_json_are_refused() -> None:
    assert said({"rsi": 25, "x": {1, 2}}) == "x: is not a JSON value"
    assert said({"rsi": 25, "x": {1: 2}}) == "x: has a name that is not a text"
