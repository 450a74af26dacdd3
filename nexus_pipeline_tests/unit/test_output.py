"""What the command prints: JSON for programs, and nothing that could harm a terminal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from nexus_pipeline.cli.output import loads, safe, to_json


def test_json_output_keeps_every_digit_and_is_ascii() -> None:
    value = {"a": Decimal("1.2345678901234567890123"), "b": [Decimal(5), None, True, "é\x1b"], "c": {}, "d": []}
    text = to_json(value)
    assert text == '{"a": 1.2345678901234567890123, "b": [5, null, true, "\\u00e9\\u001b"], "c": {}, "d": []}'
    assert json.loads(to_json(value, readable=True)) == json.loads(text) | {"b": [5, None, True, "é\x1b"]}


def test_json_output_of_times_is_iso_8601_in_utc_and_nan_becomes_null() -> None:
    at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert to_json([at, Decimal("NaN"), ("a",)]) == '["2026-01-01T12:00:00+00:00", null, ["a"]]'


@pytest.mark.parametrize("depth", [1, 400, 499, 500, 501, 900, 1_000, 5_000, 200_000])
@pytest.mark.parametrize("opening", ["[", '{"é": '])
def test_json_of_the_database_is_printed_in_full_however_deeply_nested(opening: str, depth: int) -> None:
    text = opening * depth + "1.50" + ("]" if opening == "[" else "}") * depth
    value = {"message": loads(text.encode()), "attempts": [{"details": loads(text)}]}
    printed = to_json(value)
    assert printed.isascii()
    expected = text.replace("é", "\\u00e9")
    assert printed == f'{{"message": {expected}, "attempts": [{{"details": {expected}}}]}}'
    assert "".join(to_json(value, readable=True).split()).count("".join(text.split())) == 2


def test_a_number_with_more_digits_than_python_parses_is_printed_in_full() -> None:
    digits = "9" * 5_000
    assert to_json([loads(digits)]) == f"[{digits}]"


def test_json_output_of_dataclasses_has_their_fields_nested_ones_too() -> None:
    @dataclass(frozen=True, slots=True)
    class Row:
        id: UUID
        rows: list[object]

    inner = Row(UUID(int=1), [Decimal("0.10")])
    assert to_json(Row(UUID(int=2), [inner])) == (
        '{"id": "00000000-0000-0000-0000-000000000002", "rows": '
        '[{"id": "00000000-0000-0000-0000-000000000001", "rows": [0.10]}]}'
    )


def test_nothing_that_moves_a_cursor_reaches_the_terminal() -> None:
    assert safe("a\x1b[2Jb\x9bc\r\nd\u202ee") == "a\ufffd[2Jb\ufffdc\ufffd\ufffdd\ufffde"
    assert safe("x" * 300, 10) == "x" * 9 + "…"
    assert "\x9b" not in to_json({"a\x9b": "\x9b"}, readable=True)
