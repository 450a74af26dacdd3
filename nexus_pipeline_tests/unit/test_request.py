"""What PostgreSQL cannot hold of a request is refused before it is sent, by field; all else passes unchanged."""

from __future__ import annotations

import json
from decimal import Decimal
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_pipeline.signals.request import MAX_BYTES, MAX_DEPTH, InvalidRequest, Request, json_text

NUMBERS = st.integers() | st.decimals(-(10**40), 10**40, allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
DEEP = "message: is nested too deeply"


def refusal(request: Request) -> str:
    with pytest.raises(InvalidRequest) as caught:
        json_text(request)
    assert str(caught.value) == f"{caught.value.field}: {caught.value.reason}"
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        ' {"rsi" : 1.50e1 } ',
        '{"rsi": -1, "rsi": 25}',
        "null",
        "[1, 2]",
        '"25"',
        '{"a": "\\ud83d\\ude00 \\u0041"}',
    ],
)
def test_json_passes_unchanged_whatever_it_says(text: str) -> None:
    assert json_text(text) == text
    assert json_text(text.encode()) == text


@given(st.dictionaries(TEXTS, JSON_VALUES, max_size=5))
def test_a_mapping_is_written_as_the_same_value_with_every_digit(request: dict[str, object]) -> None:
    text = json_text(MappingProxyType(request))
    assert json.loads(text, parse_float=Decimal) == request
    assert json_text(text) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_written_as_the_number_it_shows(number: float) -> None:
    assert json.loads(json_text({"x": number}))["x"] == number


def test_decimals_are_written_as_numbers_exactly() -> None:
    request = {"a": Decimal("1.10"), "b": [Decimal("12345678901234567890.123456789")]}
    assert json_text(request) == '{"a": 1.10, "b": [12345678901234567890.123456789]}'


@given(st.text())
def test_any_text_passes_or_is_refused_in_one_line(text: str) -> None:
    try:
        assert json_text(text) == text
    except InvalidRequest as error:
        assert str(error).isprintable()  # noqa: PT017


@given(st.binary())
def test_any_bytes_pass_or_are_refused_in_one_line(data: bytes) -> None:
    try:
        assert json_text(data).encode() == data
    except InvalidRequest as error:
        assert str(error).isprintable()  # noqa: PT017


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinity_are_refused_by_the_name_of_their_field(constant: str) -> None:
    said = f"{constant} is not JSON"
    assert refusal(f'{{"rsi": {constant}}}') == f"rsi: {said}"
    assert refusal(f'{{"rsi": 25, "market_context": {{"rsi": {constant}}}}}') == f"market_context.rsi: {said}"
    assert refusal(f'{{"rsi": 25, "x": [0, {constant}]}}') == f"x[1]: {said}"
    assert refusal(f"[0, {constant}]") == f"message[1]: {said}"
    assert refusal(constant) == f"message: {said}"
    assert refusal({"rsi": float(constant)}) == f"rsi: {said}"
    assert refusal({"rsi": Decimal(constant)}) == f"rsi: {said}"


def test_what_stands_under_a_key_that_comes_again_is_refused_too() -> None:
    # PostgreSQL reads it before it takes the last of equal keys.
    for value, reason in (
        ("NaN", "NaN is not JSON"),
        ('"\\u0000"', "must not contain the character NUL"),
        ('"\\ud800"', "must not contain an unpaired surrogate"),
        ("1e9999", "is a number out of range"),
    ):
        assert refusal(f'{{"x": {{"rsi": {value}, "rsi": 25}}}}') == f"x.rsi: {reason}"


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


def test_bytes_that_are_no_utf8_are_refused() -> None:
    for data in (b"\xff", b'{"a": "\xe9"}', '"\ud800"'.encode(errors="surrogatepass")):
        assert refusal(data) == "message: is not UTF-8"


def test_nul_and_unpaired_surrogates_are_refused_where_they_are() -> None:
    nul = "must not contain the character NUL"
    lone = "must not contain an unpaired surrogate"
    assert refusal('{"rsi": 25, "symbol": "a\\u0000"}') == f"symbol: {nul}"
    assert refusal('{"rsi": 25, "x": {"y": ["", "\\u0000"]}}') == f"x.y[1]: {nul}"
    assert refusal('{"rsi": 25, "x": {"\\u0000": 1}}') == f"x: {nul}"
    assert refusal('{"\\u0000": 1}') == f"message: {nul}"
    assert refusal('{"rsi": 25, "symbol": "\\ud83d"}') == f"symbol: {lone}"
    assert refusal('{"rsi": 25, "symbol": "\\ude00\\ud83d"}') == f"symbol: {lone}"
    assert refusal('{"rsi": 25, "symbol": "\udc80"}') == f"symbol: {lone}"
    assert refusal({"rsi": 25, "symbol": "\udc80"}) == f"symbol: {lone}"
    assert refusal({"rsi": 25, "symbol": "a\0"}) == f"symbol: {nul}"


def test_numbers_that_nobody_can_mean_are_refused_at_once() -> None:
    out = "is a number out of range"
    for number in ("1e1001", "-1E+1001", "1e-1001", "0e5000", "1e400000000", f"1e{'9' * 50_000}", "9" * 1002):
        assert refusal(f'{{"rsi": {number}}}') == f"rsi: {out}"
    assert refusal({"rsi": 10**1001}) == f"rsi: {out}"
    assert refusal({"rsi": Decimal("1e400000000")}) == f"rsi: {out}"
    assert refusal(f'{{"rsi": 25, "x": {"9" * 4301}}}') == "x: is a number with more than 4300 digits"
    assert refusal(f'{{"rsi": 25, "x": 0.{"1" * 1_000_000}}}') == "x: is a number with more than 4300 digits"
    for number in ("1e400", "1e1000", "-1E-1000", "9" * 1001, f"-0.{'1' * 4_299}", "0e0"):
        assert json_text(number) == number


def test_deep_nesting_is_refused_and_never_a_recursion_error() -> None:
    assert refusal("[" * 1_000_000) == DEEP
    assert refusal('{"rsi": 25, "x": ' + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "}") == DEEP
    inner = MAX_DEPTH - 1
    deepest = '{"rsi": 25, "x": ' + "[" * inner + "]" * inner + "}"
    assert json_text(deepest) == deepest
    nested: list[object] = []
    for _ in range(20_000):
        nested = [nested]
    assert refusal({"rsi": 25, "x": nested}) == DEEP


def test_a_text_of_more_than_4_mib_is_refused_and_one_of_4_mib_passes() -> None:
    long = f"message: is longer than {MAX_BYTES} bytes"
    for char in ("x", "é", "\U0001f600"):
        fits = '"' + char * ((MAX_BYTES - 2) // len(char.encode())) + '"'
        assert json_text(fits) == fits
        for request in (f"{fits[:-1]}xxxx{fits[-1]}", f"{fits[:-1]}xxxx{fits[-1]}".encode(), {"x": fits}):
            assert refusal(request) == long


def test_the_name_of_a_field_is_printable_and_short() -> None:
    assert (
        refusal('{"a\\n\\u001b[2J": NaN}') == "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[2J: NaN is not JSON"
    )
    assert refusal('{"": NaN}') == '"": NaN is not JSON'
    assert refusal(f'{{"{"k" * 100_000}": NaN}}') == f"{'k' * 99}…: NaN is not JSON"


def test_a_long_key_does_not_cost_its_length_for_each_value_below_it() -> None:
    assert json_text(text := f'{{"{"k" * 1_000_000}": [{"0, " * 500_000}0]}}') == text  # 500 GB, were names not cut


def test_values_that_are_no_json_are_refused() -> None:
    assert refusal({"rsi": 25, "x": {1, 2}}) == "message: is not JSON: Object of type set is not JSON serializable"
    circular: dict[str, object] = {}
    circular["x"] = circular
    assert "ircular" in refusal(circular)
