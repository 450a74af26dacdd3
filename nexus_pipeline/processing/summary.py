"""The totals of a processing run."""

from collections.abc import Sequence

from nexus_pipeline.processing.batch import BatchResult

_COUNTS = ("claimed", "completed", "retried", "dead_lettered", "fenced", "suspects")
# Shorter times are below the resolution of the clock, and a rate of them may overflow.
_MIN_MS = 0.001


def summarise(results: Sequence[BatchResult]) -> dict[str, int | float]:
    """Totals over the batches under the names that plot in Dagster; times in ms, rate in signals/s of working time."""
    total = sum(results, BatchResult())
    times = sorted(result.ms for result in results if result.claimed) or [0.0]
    return {
        "batches": len(results),
        **{name: getattr(total, name) for name in _COUNTS},
        "busy_ms": round(total.ms, 1),
        "signals_per_second": round(total.completed / total.ms * 1000, 1) if total.ms >= _MIN_MS else 0.0,
        "batch_ms_p50": round(times[int(len(times) * 0.50)], 2),
        "batch_ms_p99": round(times[int(len(times) * 0.99)], 2),
    }
