"""Requests by hand: from words and from JSON lines, checked before any is sent."""

from __future__ import annotations

import io
import json

import pytest

from nexus_pipeline.ingress import manual
from nexus_pipeline.signals.request import InvalidRequest


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("25", "25"),
        (" 25 ", "25"),
        ("+5", "5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("007", "7"),
        ("-0.0", "-0.0"),
        ("1e2", "1e2"),
        ("0", "0"),
        ("00", "0"),
        ("29.60000000000000000001", "29.60000000000000000001"),
        ("nan", "NaN"),
        ("-INF", "-Infinity"),
        ("", '""'),
        (".", '"."'),
        ("e5", '"e5"'),
        ("1_0", '"1_0"'),
        ("0x1", '"0x1"'),
        ("1,5", '"1,5"'),
        ("٢٥", r'"\u0662\u0665"'),
    ],
)
def test_a_word_becomes_the_number_it_reads_as_with_every_digit(word: str, number: str) -> None:
    assert manual.request_text({"rsi": word, "price": None}) == f'{{"rsi": {number}}}'


def test_all_options_become_one_request() -> None:
    text = manual.request_text({"rsi": "25", "symbol": 'a"b', "event_id": "7"}, trend="bullish")
    assert json.loads(text) == {"rsi": 25, "symbol": 'a"b', "event_id": "7", "market_context": {"trend": "bullish"}}


def spooled(data: bytes, *, force: bool = False) -> list[str]:
    spool = manual.spool(io.BytesIO(data), force=force)
    try:
        return list(spool)
    finally:
        spool.close()


def test_a_file_may_have_empty_lines_a_byte_order_mark_and_no_last_newline() -> None:
    assert spooled(b'\xef\xbb\xbf{"rsi": 5}\r\n\n  \n{"rsi": 6.50}') == ['{"rsi": 5}', '{"rsi": 6.50}']


def test_characters_that_end_lines_elsewhere_end_none_here() -> None:
    text = '{"rsi": 5, "note": "a\u2028b\x85c"}'
    assert spooled(text.encode() + b"\n") == [text]


def test_faulty_lines_are_told_by_number_and_the_good_ones_are_not_kept() -> None:
    with pytest.raises(manual.RefusedLines) as refused:
        spooled(b'{"rsi": 5}\n\n{"price": 5}\n\xff\n[]\n')
    assert [str(each) for each in refused.value.refusals] == [
        "line 3: rsi: is required",
        "line 4: message: is not UTF-8",
        "line 5: message: must be a JSON object, not an array",
    ]
    assert refused.value.read_to_the_end


def test_reading_ends_after_ten_faulty_lines() -> None:
    with pytest.raises(manual.RefusedLines) as refused:
        spooled(b"x\n" * 100)
    assert len(refused.value.refusals) == manual.MAX_REFUSALS == 10
    assert not refused.value.read_to_the_end


def test_a_line_that_is_too_long_is_refused_and_the_next_ones_are_read() -> None:
    with pytest.raises(manual.RefusedLines) as refused:
        spooled(b'"' + b"x" * manual.MAX_LINE_BYTES + b'"\n{"rsi": 5}\n{}\n')
    assert [str(each) for each in refused.value.refusals] == [
        f"line 1: message: is a line of more than {manual.MAX_LINE_BYTES} bytes",
        "line 3: rsi: is required",
    ]


def test_force_takes_all_that_postgresql_can_store_and_nothing_else() -> None:
    kept = ["5", "null", "[1, 2]", "{}", '{"rsi": "abc"}', '{"note": "' + "x" * 1_000_000 + '"}']
    assert spooled("\n".join(kept).encode(), force=True) == kept
    for text in ('{"rsi": NaN}', '{"a": "\\u0000"}', '"\\ud800"', "{"):
        with pytest.raises(InvalidRequest):
            manual.accept(text, force=True)


def test_many_requests_come_back_in_their_order_from_disk() -> None:
    lines = [f'{{"rsi": {number % 100}, "note": "{"x" * 1000}", "n": {number}}}' for number in range(10_000)]
    assert spooled("\n".join(lines).encode()) == lines


def test_a_batch_has_a_thousand_requests_at_most_and_fewer_when_they_are_long() -> None:
    assert [len(batch) for batch in manual.batches(["5"] * 2_500)] == [1_000, 1_000, 500]
    assert [len(batch) for batch in manual.batches(["x" * 3_000_000] * 5)] == [2, 2, 1]
    assert list(manual.batches([])) == []
