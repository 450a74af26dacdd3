"""The totals of a processing run."""

from __future__ import annotations

from collections.abc import Sequence

from nexus_pipeline.processing.batch import BatchResult

# Shorter times are below the resolution of the clock, and a rate of them may overflow.
_MIN_MS = 0.001


def summarise(results: Sequence[BatchResult]) -> dict[str, int | float]:
    """Totals over the batches under the names that plot in Dagster; times in ms, rate in signals/s of working time."""
    busy_ms = sum(result.ms for result in results)
    times = sorted(result.ms for result in results if result.claimed)
    completed = sum(result.completed for result in results)
    return {
        "batches": len(results),
        "claimed": sum(result.claimed for result in results),
        "completed": completed,
        "retried": sum(result.retried for result in results),
        "dead_lettered": sum(result.dead_lettered for result in results),
        "fenced": sum(result.fenced for result in results),
        "suspects": sum(result.suspects for result in results),
        "busy_ms": round(busy_ms, 1),
        "signals_per_second": round(completed / busy_ms * 1000, 1) if busy_ms >= _MIN_MS else 0.0,
        "batch_ms_p50": round(_percentile(times, 0.50), 2),
        "batch_ms_p99": round(_percentile(times, 0.99), 2),
    }


def _percentile(ordered: Sequence[float], fraction: float) -> float:
    """The nearest-rank percentile of ordered values; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))]
