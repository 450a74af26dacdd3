"""Two checkouts in turns: is this one slower than that one? A server each, the same messages, round by round.

python -m benchmarks.side_by_side OTHER [--rounds 7] [--messages 10000]

OTHER is a checkout with an environment of its own in `.venv`, as `git worktree add` and `make .venv/.dev` make it.
Printed are the medians of each, and the median of the ratios (this one to the other) round by round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
# It runs in both checkouts, so it uses only what both have.
WORKER = """
import json, sys
from benchmarks.engine import claim_and_settle, one_call, rate, requests
from benchmarks.servers import fresh_home
from nexus_pipeline.database.connection import connect
from nexus_pipeline.database.ready import ready_database

queue, texts = "workflow_main_queue", requests(int(sys.argv[1]))
with fresh_home() as settings, connect(ready_database(settings)) as connection:
    for _ in sys.stdin:
        connection.execute("TRUNCATE workflow_executions, pgmq.a_workflow_main_queue, pgmq.q_workflow_results")
        connection.execute("CHECKPOINT")
        print(json.dumps({
            "one call, batch 100": rate(connection, queue, one_call, 100, texts),
            "claim + settle, batch 100": rate(connection, queue, claim_and_settle, 100, texts),
            "claim + settle, batch 500": rate(connection, queue, claim_and_settle, 500, texts),
        }), flush=True)
"""


def worker(checkout: Path, messages: int) -> subprocess.Popen[str]:
    """A process that measures a round for each line it is sent."""
    return subprocess.Popen(
        [checkout / ".venv" / "bin" / "python", "-c", WORKER, str(messages)],
        cwd=checkout,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def one_round(process: subprocess.Popen[str]) -> dict[str, float]:
    """Messages/s of each contest."""
    assert process.stdin is not None and process.stdout is not None  # noqa: PT018
    process.stdin.write("\n")
    process.stdin.flush()
    found: dict[str, float] = json.loads(process.stdout.readline())
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--messages", type=int, default=10_000)
    arguments = parser.parse_args()
    this = worker(HERE, arguments.messages)
    other = worker(arguments.other.resolve(), arguments.messages)
    rounds = []
    for number in range(arguments.rounds + 1):
        # Who goes first takes turns, too.
        first, second = (this, other) if number % 2 else (other, this)
        found = {id(process): one_round(process) for process in (first, second)}
        if number:  # the first round warms caches and plans
            rounds.append((found[id(this)], found[id(other)]))
    for process in (this, other):
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
    for name in rounds[0][0]:
        ratios = [mine[name] / theirs[name] for mine, theirs in rounds]
        print(
            f"{name:28s} this {statistics.median(mine[name] for mine, _ in rounds):>8,.0f}/s"
            f"   other {statistics.median(theirs[name] for _, theirs in rounds):>8,.0f}/s"
            f"   ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
