"""Which names of queues are accepted."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_pipeline.errors import UserError
from nexus_pipeline.queues.names import ERRORS_QUEUE, MAIN_QUEUE, RESULTS_QUEUE, checked_queue

ALLOWED = string.ascii_lowercase + string.digits + "_"


@pytest.mark.parametrize("name", [MAIN_QUEUE, RESULTS_QUEUE, ERRORS_QUEUE, "a", "0", "_", "x" * 47])
def test_a_name_of_lower_case_letters_digits_and_underscores_is_accepted(name: str) -> None:
    assert checked_queue(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 48,
        "MyQ",
        "my-queue",
        "my queue",
        "q;",
        'q"',
        "q'",
        "q\n",
        "\nq",
        "q\0",
        "ä",
        "１",
        "ß",
        "q.q",
        "public.q",
    ],
)
def test_any_other_name_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UserError, match="must be 1 to 47 of a-z, 0-9 and _") as caught:
        checked_queue(name)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60) | st.text(ALLOWED, max_size=60))
def test_a_name_is_accepted_exactly_when_it_cannot_share_a_table_with_another(name: str) -> None:
    if 1 <= len(name) <= 47 and set(name) <= set(ALLOWED):
        assert checked_queue(name) == name
    else:
        with pytest.raises(UserError):
            checked_queue(name)


def test_a_long_name_is_cut_in_the_error() -> None:
    with pytest.raises(UserError) as caught:
        checked_queue("x" * 100_000)
    assert len(str(caught.value)) < 200
