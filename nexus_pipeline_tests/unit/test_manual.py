"""Requests by hand: words become fields, and many requests become batches."""

from __future__ import annotations

import pytest

from nexus_pipeline.ingress import manual
from nexus_pipeline.signals.request import json_text


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
        ("1e2", "1E+2"),
        ("0", "0"),
        ("00", "0"),
        ("29.60000000000000000001", "29.60000000000000000001"),
        ("nan", '"nan"'),
        ("-INF", '"-INF"'),
        ("", '""'),
        (".", '"."'),
        ("e5", '"e5"'),
        ("1_0", '"1_0"'),
        ("0x1", '"0x1"'),
        ("1,5", '"1,5"'),
        ("٢٥", '"٢٥"'),
        ("1e999999999999999999999", '"1e999999999999999999999"'),
    ],
)
def test_a_word_becomes_the_number_it_reads_as_with_every_digit(word: str, number: str) -> None:
    assert json_text(manual.request_of_words({"rsi": word, "price": None})) == f'{{"rsi": {number}}}'


def test_all_options_become_one_request() -> None:
    request = manual.request_of_words({"rsi": "25", "symbol": 'a"b', "event_id": "7"}, trend="bullish")
    assert request == {"rsi": 25, "symbol": 'a"b', "event_id": "7", "market_context": {"trend": "bullish"}}


def test_a_batch_has_a_thousand_requests_at_most_and_fewer_when_they_are_long() -> None:
    assert [len(batch) for batch in manual.batches(["5"] * 2_500)] == [1_000, 1_000, 500]
    assert [len(batch) for batch in manual.batches([b"x" * 3_000_000] * 5)] == [2, 2, 1]
    assert list(manual.batches(iter(()))) == []
