"""A year of hours over a million executions: one backfill, compared with an independent count; the cost of one hour.

python -m benchmarks.backfill [--executions N] [--metrics] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.servers import fresh_home
from nexus_pipeline.analytics.hours import HOUR, Window, hour_of
from nexus_pipeline.analytics.tables import HOURLY_METRICS, METRICS, SIGNALS, HourlyTable
from nexus_pipeline.analytics.windows import replace_window
from nexus_pipeline.database.connection import Connection, connect
from nexus_pipeline.database.ready import ready_database
from nexus_pipeline.settings import Settings
from nexus_pipeline_tests.support.analytics import differences

YEAR = (Path(__file__).parent / "year_of_executions.sql").read_text()
HOURS = 8760
TARGET_SECONDS = 120.0
TARGET_RUNS = 60


def load(connection: Connection, total: int, start: datetime, hours: int) -> None:
    """Spreads executions over so many hours, as settling leaves them."""
    for first in range(0, total, 50_000):
        connection.execute(
            YEAR,
            {"start": start, "hours": hours, "total": total, "first": first, "last": min(total, first + 50_000) - 1},
        )
    connection.execute("VACUUM ANALYZE workflow_executions")


def one_hour_ms(connection: Connection, table: HourlyTable, start: datetime, hours: int) -> float:
    """The median of replacing an hour, over hours of the whole table, ms."""
    times = []
    for number in range(60):
        hour = start + (80 + number * 97 % (hours - 100)) * HOUR
        began = time.perf_counter()
        replace_window(connection, table, Window(hour, hour + HOUR))
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times[10:])


def backfill(home: Path, start: datetime, before: datetime, what: str) -> dict[str, object]:
    """`nexus backfill`, as its user runs it: what it says, and how long the command took in all (s)."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "nexus_pipeline.cli", "backfill", "--from", start.isoformat(), "--to",
         before.isoformat(), "--what", what, "--json"],
        env={**os.environ, "NEXUS_HOME": str(home), "NEXUS_PARTITIONS_START": start.isoformat()},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return {**json.loads(done.stdout), "command_seconds": time.perf_counter() - began}


def measure(given: Settings, executions: int, with_metrics: bool) -> dict[str, object]:
    """All figures, in a database of its own."""
    before = hour_of(datetime.now(UTC))
    start = before - HOURS * HOUR
    home = given.home
    # Events are up to three days older than their processing.
    settings = given.model_copy(update={"partitions_start": start - timedelta(days=4)})
    with connect(ready_database(settings)) as connection:
        hour_ms: dict[str, dict[str, float]] = {SIGNALS.name: {}, HOURLY_METRICS.name: {}}
        # As many executions in an hour, in a table a tenth as long.
        for part in (10, 1):
            connection.execute("TRUNCATE workflow_executions, hourly_signal_aggregates, hourly_workflow_metrics")
            load(connection, executions // part, start, HOURS // part)
            for table in (SIGNALS, HOURLY_METRICS):
                hour_ms[table.name][f"of {executions // part}"] = round(
                    one_hour_ms(connection, table, start, HOURS // part), 2
                )
        done = backfill(home, start - timedelta(days=4), before, "hourly")
        found: dict[str, object] = {
            "executions": executions,
            "hours": done["hours"],
            "runs": len(done["run_ids"]),
            "seconds": round(done["command_seconds"], 1),
            "rows_that_differ": sum(len(differences(connection, table)) for table in (SIGNALS, HOURLY_METRICS)),
            "one_hour_ms": hour_ms,
            "one_hour_ratio": {
                asset: round(of[f"of {executions}"] / of[f"of {executions // 10}"], 2) for asset, of in hour_ms.items()
            },
        }
        if with_metrics:
            metrics = backfill(home, start - timedelta(days=4), before, "metrics")
            rows = connection.execute("SELECT count(*) FROM workflow_metrics").fetchone()[0]
            found["workflow_metrics"] = {
                "rows": rows,
                "seconds": round(metrics["command_seconds"], 1),
                "rows_per_s": round(rows / metrics["command_seconds"]),
                "rows_that_differ": len(differences(connection, METRICS)),
            }
    return found


def main() -> None:
    """Measure and print; ends with 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--metrics", action="store_true", help="workflow_metrics as well: four rows for each execution")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with fresh_home() as settings:
        found = measure(settings, arguments.executions, arguments.metrics)
    print(json.dumps(found) if arguments.json else json.dumps(found, indent=2))
    if found["seconds"] > TARGET_SECONDS or found["runs"] > TARGET_RUNS or found["rows_that_differ"]:
        sys.exit(f"missed: {TARGET_SECONDS:g} s, {TARGET_RUNS} runs, no row that differs")


if __name__ == "__main__":
    main()
