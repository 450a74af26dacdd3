"""How many runs the sensor requests for what it sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_pipeline.processing.sensors import runs_to_request
from nexus_pipeline.settings import Settings


def limits(max_runs: int = 2, batch_size: int = 100, batches_per_run: int = 10) -> Settings:
    return Settings(max_runs=max_runs, batch_size=batch_size, batches_per_run=batches_per_run)


@pytest.mark.parametrize(
    ("waiting", "in_flight", "expected"),
    [
        (0, 0, 0),
        (0, 1, 0),
        (1, 0, 1),
        (1_000, 0, 1),
        (1_001, 0, 2),
        (1_000_000, 0, 2),
        (1_000_000, 1, 1),
        (1_000_000, 2, 0),
        (1_000_000, 5, 0),
        # One run at work is enough for what fits into one: it is not joined by another.
        (1_000, 1, 0),
    ],
)
def test_as_many_runs_as_have_work_and_no_more_than_the_cap(waiting: int, in_flight: int, expected: int) -> None:
    assert runs_to_request(waiting, in_flight, limits()) == expected


@given(
    waiting=st.integers(0, 10**9),
    in_flight=st.integers(0, 20),
    max_runs=st.integers(1, 8),
    batch_size=st.integers(1, 10_000),
    batches_per_run=st.integers(1, 500),
)
def test_the_cap_is_never_passed_and_waiting_work_never_left_without_a_run(
    waiting: int, in_flight: int, max_runs: int, batch_size: int, batches_per_run: int
) -> None:
    requested = runs_to_request(waiting, in_flight, limits(max_runs, batch_size, batches_per_run))
    assert requested >= 0
    assert requested == 0 or in_flight + requested <= max_runs
    assert requested > 0 or waiting == 0 or in_flight > 0
    assert waiting > 0 or requested == 0
