"""Peak memory of a processing run, with 1,000 and with 200,000 messages waiting.

python -m benchmarks.memory
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys

from benchmarks.pipeline import SEND
from benchmarks.servers import fresh_home
from nexus_pipeline.database.connection import connect
from nexus_pipeline.database.ready import ready_database
from nexus_pipeline.local.processes import environment
from nexus_pipeline.queues.ledger import depth
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.settings import Settings

COMMAND = [sys.executable, "-m", "dagster", "job", "execute", "-m", "nexus_pipeline.definitions"]


def peak_mb(settings: Settings) -> float:
    """Peak resident memory of one `dagster job execute`, MB."""
    process = subprocess.Popen(
        [*COMMAND, "-j", "process_trading_workflow"],
        env=environment(settings.home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError("the job failed")
    return usage.ru_maxrss / 1024


def measure(rounds: int) -> dict[str, object]:
    """Both depths in turns, each time with a full queue and a run of its own."""
    peaks: dict[int, list[float]] = {1_000: [], 200_000: []}
    with fresh_home() as settings, connect(ready_database(settings)) as connection:
        for _ in range(rounds):
            for waiting, found in peaks.items():
                connection.execute("TRUNCATE pgmq.q_workflow_main_queue")
                for _ in range(waiting // 1_000):
                    connection.execute(SEND, (1_000,))
                found.append(peak_mb(settings))
                left = depth(connection, MAIN_QUEUE).waiting
                print(f"  {waiting:>7,} waiting: {found[-1]:.1f} MB, {waiting - left:,} processed", file=sys.stderr)
    small, large = (statistics.median(values) for values in peaks.values())
    return {"peak_mb_1000": round(small, 1), "peak_mb_200000": round(large, 1), "growth_mb": round(large - small, 1)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    print(json.dumps(measure(parser.parse_args().rounds), indent=2))


if __name__ == "__main__":
    main()
