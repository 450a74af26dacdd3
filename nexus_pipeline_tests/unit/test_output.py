"""What the command prints: JSON for programs, and nothing that could harm a terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

from nexus_pipeline.cli.output import safe, to_json


def test_json_output_keeps_every_digit_and_is_ascii() -> None:
    value = {"a": Decimal("1.2345678901234567890123"), "b": [Decimal(5), None, True, "é\x1b"], "c": {}, "d": []}
    text = to_json(value)
    assert text == '{"a": 1.2345678901234567890123, "b": [5, null, true, "\\u00e9\\u001b"], "c": {}, "d": []}'
    assert json.loads(to_json(value, readable=True)) == json.loads(text) | {"b": [5, None, True, "é\x1b"]}


def test_json_output_of_times_ids_and_what_json_has_not() -> None:
    at = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert to_json([at, Decimal("NaN"), ("a",)]) == '["2026-01-01T12:00:00+00:00", null, ["a"]]'


def test_json_output_may_be_nested_deeper_than_python_recurses() -> None:
    value: object = 1
    for _ in range(5_000):
        value = [value]
    assert to_json(value) == "[" * 5_000 + "1" + "]" * 5_000


def test_nothing_that_moves_a_cursor_reaches_the_terminal() -> None:
    assert safe("a\x1b[2Jb\x9bc\r\nd\u202ee") == "a\ufffd[2Jb\ufffdc\ufffd\ufffdd\ufffde"
    assert safe("x" * 300, 10) == "x" * 9 + "…"
    assert "\x9b" not in to_json({"a\x9b": "\x9b"}, readable=True)
