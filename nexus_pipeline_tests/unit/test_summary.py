"""The figures of a run are the sums of its batches', and percentiles of those that had work."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nexus_pipeline.processing.batch import BatchResult
from nexus_pipeline.processing.summary import summarise

NAMES = {
    "batches", "claimed", "completed", "retried", "dead_lettered", "fenced", "suspects", "busy_ms",
    "signals_per_second", "batch_ms_p50", "batch_ms_p99",
}  # fmt: skip
COUNTS = ("claimed", "completed", "retried", "dead_lettered", "fenced", "suspects")


def batch(ms: float, claimed: int = 10, completed: int = 10) -> BatchResult:
    return BatchResult(claimed=claimed, completed=completed, first_msg_id=1, last_msg_id=claimed, ms=ms)


def test_no_batches_sum_up_to_zeros() -> None:
    assert summarise([]) == dict.fromkeys(NAMES, 0)


def test_counts_are_added_up() -> None:
    one = BatchResult(10, 5, 2, 1, 2, 1, 1, 10, 4.0)
    other = BatchResult(20, 17, 1, 1, 1, 0, 11, 30, 6.0)
    found = summarise([one, other])
    assert {name: found[name] for name in COUNTS} == {
        "claimed": 30, "completed": 22, "retried": 3, "dead_lettered": 2, "fenced": 3, "suspects": 1,
    }  # fmt: skip
    assert found["batches"] == 2


def test_the_rate_counts_completed_signals_for_each_second_of_working_time() -> None:
    found = summarise([batch(20.0), batch(30.0, claimed=10, completed=5)])
    assert found["busy_ms"] == 50.0
    assert found["signals_per_second"] == 300.0


def test_batches_that_found_nothing_do_not_lower_the_percentiles() -> None:
    empty = BatchResult(ms=0.1)
    found = summarise([empty, empty, empty, batch(8.0)])
    assert (found["batch_ms_p50"], found["batch_ms_p99"]) == (8.0, 8.0)
    assert found["batches"] == 4


def test_percentiles_are_those_of_the_ordered_times() -> None:
    found = summarise([batch(float(ms)) for ms in range(100, 0, -1)])
    assert (found["batch_ms_p50"], found["batch_ms_p99"]) == (51.0, 100.0)


@given(
    st.lists(
        st.builds(
            BatchResult,
            **{name: st.integers(0, 10_000) for name in COUNTS},  # type: ignore[arg-type]
            ms=st.floats(0, 60_000),
        ),
        max_size=30,
    )
)
def test_every_figure_is_a_number_that_plots(results: list[BatchResult]) -> None:
    found = summarise(results)
    assert set(found) == NAMES
    for name, value in found.items():
        assert isinstance(value, int | float), name
        assert 0 <= value < float("inf"), name
    times = [result.ms for result in results if result.claimed]
    if times:
        assert min(times) - 0.01 <= found["batch_ms_p50"] <= found["batch_ms_p99"] <= max(times) + 0.01
