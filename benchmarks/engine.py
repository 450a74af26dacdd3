"""The engine against the row loop it replaces: one worker, the same messages, in turns, in one run.

The last contest is between strategies, batch by batch: a registered SQL strategy that decides as enhanced_rsi does, and
the built-in.

python -m benchmarks.engine [--rounds N] [--messages N]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.servers import fresh_home
from nexus_pipeline.database.connection import Connection, connect
from nexus_pipeline.database.ready import ready_database
from nexus_pipeline.queues.leases import RetryPolicy, claim, settle
from nexus_pipeline.queues.names import MAIN_QUEUE

BASELINE = Path(__file__).parent / "row_loop.sql"
REGISTERED = Path(__file__).parent / "registered_strategy.sql"


def requests(number: int) -> list[str]:
    """Requests as a market sends them."""
    draw = random.Random(number)
    return [
        json.dumps(
            {
                "rsi": draw.randint(0, 100),
                "price": round(draw.uniform(1, 2), 5),
                "volume": draw.randint(1, 9_999),
                "symbol": draw.choice(["EURUSD", "GBPUSD", "USDJPY"]),
                "occurred_at": f"2026-03-{draw.randint(1, 28):02d}T10:00:00Z",
                "market_context": {"trend": draw.choice(["bullish", "bearish", "neutral"])},
            }
        )
        for _ in range(number)
    ]


def row_loop(connection: Connection, batch: int) -> int:
    """The baseline's one call."""
    return connection.execute("SELECT row_loop.process(%s, 30)", (batch,)).fetchone()[0]


def one_call(connection: Connection, batch: int) -> int:
    """process_trading_workflow."""
    return connection.execute("SELECT process_trading_workflow(%s, 30)", (batch,)).fetchone()[0]["processed_count"]


def claim_and_settle(connection: Connection, batch: int) -> int:
    """What a step of a run does."""
    lease = claim(connection, MAIN_QUEUE, batch, 30)
    return settle(connection, lease, RetryPolicy()).completed if lease else 0


def rate(
    connection: Connection, queue: str, work: Callable[[Connection, int], int], batch: int, texts: list[str]
) -> float:
    """Messages/s of draining `texts` from a queue in batches."""
    connection.execute("SELECT count(*) FROM pgmq.send_batch(%s, %s::jsonb[])", (queue, texts))
    done = 0
    began = time.perf_counter()
    while done < len(texts):
        done += work(connection, batch)
    return done / (time.perf_counter() - began)


def strategies_in_turns(
    connection: Connection, batch: int, texts: list[str], named: list[str]
) -> Iterator[tuple[float, float]]:
    """Messages/s of the built-in and of the registered strategy, batch by batch: a drift of the machine hits both."""
    for start in range(0, len(texts), batch):
        end = start + batch
        yield (
            rate(connection, MAIN_QUEUE, claim_and_settle, batch, texts[start:end]),
            rate(connection, MAIN_QUEUE, claim_and_settle, batch, named[start:end]),
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    contests = [
        ("process_trading_workflow, batch 100", one_call, 100, 4.0),
        ("claim + settle, batch 100", claim_and_settle, 100, 3.0),
        ("claim + settle, batch 500", claim_and_settle, 500, 4.0),
    ]
    texts = requests(arguments.messages)
    named = [text.replace("{", '{"strategy": "registered_rsi", ', 1) for text in texts]
    found: defaultdict[str, list[float]] = defaultdict(list)
    with fresh_home() as settings, connect(ready_database(settings)) as connection:
        connection.execute(BASELINE.read_text())
        connection.execute(REGISTERED.read_text())
        for number in range(arguments.rounds + 1):
            # The tables of a round are as small as those of the first.
            connection.execute("TRUNCATE workflow_executions, pgmq.a_workflow_main_queue, pgmq.q_workflow_results")
            rates = {"row loop": rate(connection, "row_loop_main", row_loop, 100, texts)}
            rates |= {name: rate(connection, MAIN_QUEUE, work, batch, texts) for name, work, batch, _ in contests}
            pairs = list(strategies_in_turns(connection, 500, texts, named))
            if number:  # the first round warms caches and plans
                for name, value in rates.items():
                    found[name].append(value)
                found["built-in"] += (built_in for built_in, _ in pairs)
                found["registered"] += (registered for _, registered in pairs)
    report: dict[str, dict[str, float]] = {
        "row loop, batch 100": {"per_second": round(statistics.median(found["row loop"]))},
        **{name: compared(found[name], found["row loop"], target) for name, *_, target in contests},
        "registered strategy, batch 500 (against the built-in)": compared(found["registered"], found["built-in"], 0.9),
    }
    if arguments.json:
        print(json.dumps(report))
        return
    print(f"engine, one worker, {arguments.messages} messages, median of {arguments.rounds} rounds in turns")
    for name, row in report.items():
        ratio = (
            f"   {row['ratio']:.2f} x ({row['ratio_min']:.2f} to {row['ratio_max']:.2f}), target {row['target']}"
            if "ratio" in row
            else ""
        )
        print(f"  {name:54s} {row['per_second']:>7,}/s{ratio}")


def compared(rates: list[float], baseline: list[float], target: float) -> dict[str, float]:
    """The median rate, and the ratio to the baseline, pair by pair."""
    ratios = [value / base for value, base in zip(rates, baseline, strict=True)]
    return {
        "per_second": round(statistics.median(rates)),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_min": round(min(ratios), 2),
        "ratio_max": round(max(ratios), 2),
        "target": target,
    }


if __name__ == "__main__":
    main()
