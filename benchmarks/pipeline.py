"""Through sensor and runs: steady sending for a while into a whole system (UI, daemon, code server), as users run it.

python -m benchmarks.pipeline [--seconds 60] [--per-second 8000]
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable

import psutil

from benchmarks.servers import fresh_home
from nexus_pipeline.database.connection import Connection, connect, dagster_conninfo
from nexus_pipeline.database.ready import ready_database
from nexus_pipeline.local.processes import Stack
from nexus_pipeline.queues.ledger import depth, ledger
from nexus_pipeline.queues.names import MAIN_QUEUE

SEND = """
    SELECT sent FROM nexus.enqueue('workflow_main_queue', (
        SELECT array_agg(jsonb_build_object(
                   'rsi', i %% 101, 'price', 1.1, 'volume', i, 'symbol', 'EURUSD',
                   'market_context', jsonb_build_object('trend', 'bullish')))
          FROM generate_series(1, %s) AS i))
"""
TICK_SECONDS = 0.25


def send_steadily(conninfo: str, per_second: int, stop: threading.Event) -> None:
    """Sends `per_second` requests each second until told to stop, in four portions a second."""
    with connect(conninfo) as connection:
        due = time.perf_counter()
        while not stop.is_set():
            connection.execute(SEND, (int(per_second * TICK_SECONDS),))
            due += TICK_SECONDS
            stop.wait(max(0.0, due - time.perf_counter()))


def completed(connection: Connection) -> int:
    """Executions so far."""
    return connection.execute("SELECT count(*) FROM workflow_executions WHERE status = 'completed'").fetchone()[0]


def wait_until(true: Callable[[], bool], seconds: float = 180) -> None:
    """Waits, but not for ever: a benchmark that hangs says nothing."""
    deadline = time.perf_counter() + seconds
    while not true():
        if time.perf_counter() > deadline:
            raise TimeoutError("the pipeline did not do its work")
        time.sleep(0.2)


def measure(seconds: int, per_second: int, port: int) -> dict[str, object]:
    """Warm up until the first execution, then count for `seconds`, then drain and check the ledger."""
    with fresh_home() as settings, connect(ready_database(settings)) as connection:
        dagster_conninfo(settings)
        stack = Stack(settings.home, port)
        stop = threading.Event()
        sender = threading.Thread(target=send_steadily, args=(ready_database(settings), per_second, stop), daemon=True)
        try:
            stack.start()
            sender.start()
            wait_until(lambda: completed(connection) > 0)
            began, before = time.perf_counter(), completed(connection)
            peak_mb = 0.0
            while time.perf_counter() - began < seconds:
                time.sleep(1)
                sizes = [process.memory_info().rss / 1e6 for process in stack.active_runs() if process.is_running()]
                peak_mb = max([peak_mb, *sizes])
            took = time.perf_counter() - began
            done = completed(connection) - before
            stop.set()
            sender.join()
            wait_until(lambda: depth(connection, MAIN_QUEUE).waiting == 0)
        finally:
            stop.set()
            stack.stop(lambda _: None, 90)
        state = ledger(connection, MAIN_QUEUE)
        times = connection.execute(
            "SELECT percentile_disc(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY processing_time_ms)"
            " FROM workflow_executions"
        ).fetchone()[0]
    return {
        "seconds": round(took, 1),
        "sent_per_second": per_second,
        "completed": done,
        "completed_per_second": round(done / took),
        "claim_to_decision_ms_p50": times[0],
        "claim_to_decision_ms_p99": times[1],
        "run_peak_rss_mb": round(peak_mb, 1),
        "adds_up": state.adds_up and state.completed == state.sent,
        "cores": psutil.cpu_count(),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--per-second", type=int, default=8_000)
    parser.add_argument("--port", type=int, default=3217)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.seconds, arguments.per_second, arguments.port), indent=2))


if __name__ == "__main__":
    main()
