"""`nexus demo`: send a year of real candles, run the job until the queue is empty, aggregate, and report."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.progress import Progress

from nexus_pipeline.analytics.backfill import run_backfill
from nexus_pipeline.analytics.hours import HOUR, Window, first_hour, hour_of
from nexus_pipeline.analytics.start import partitions_start
from nexus_pipeline.dagster_instance.home import dagster_home
from nexus_pipeline.database.connection import Connection, connect
from nexus_pipeline.database.ready import ready_database
from nexus_pipeline.demo.candles import CandleRequests, eurusd_hourly, requests, weeks_to
from nexus_pipeline.demo.figures import SOURCE, figures, weekly
from nexus_pipeline.demo.report import render
from nexus_pipeline.errors import FailedError
from nexus_pipeline.ingress.sender import send
from nexus_pipeline.local import up
from nexus_pipeline.local.processes import environment, log_file
from nexus_pipeline.queues.ledger import Ledger, ledger
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.settings import Settings

_SYMBOL = "EURUSD"
_BATCH_SIZE = 1_000
_MAX_SECONDS = 300
"""The longest wait for messages that retries and expired leases hide."""


def run(settings: Settings, as_json: bool, ui: bool, port: int = 3000) -> int:
    """Run the demo and return its exit code: 0 when every message is accounted for.

    With `as_json` the report is one JSON object on the last line of standard output. With `ui` the Dagster UI is left
    running, and errors are also those of `up.run_detached`.

    Raises:
        FailedError: the job or the backfill failed, or the queue did not drain in time.
        UnavailableError: a package for the candles is missing.
    """
    console = Console(stderr=as_json)
    if ui:
        up.check_free(settings, port)
    candles = eurusd_hourly()
    weeks = weeks_to(candles[-1], datetime.now(UTC))
    made = requests(candles, symbol=_SYMBOL, source=SOURCE, weeks=weeks)
    with connect(ready_database(settings)) as connection:
        sent = _send(connection, made, console)
        if sent == 0:
            console.print(f"all {len(made.requests):,} requests were sent before: nothing is added twice")
        runs, seconds = _drain(connection, settings, console)
        report = {
            "bars": len(candles),
            "warm_up": made.warm_up,
            "no_movement": made.no_movement,
            "requests": len(made.requests),
            "shifted_weeks": weeks,
            "sent_now": sent,
            "sent_before": len(made.requests) - sent,
            **_counts(connection),
            "runs": runs,
            "seconds": round(seconds, 2),
            "per_second": round(sent / seconds, 1) if sent and seconds else 0.0,
            **figures(connection),
        }
        report["aggregates"] = _aggregate(connection, settings, report, console)
    url = up.run_detached(settings, port) if ui else None
    if as_json:
        print(json.dumps(report))
    else:
        render(report, console, url)
    return 0 if report["adds_up"] and report["waiting"] == 0 else 1


def _send(connection: Connection, made: CandleRequests, console: Console) -> int:
    """Sends the requests in batches; returns how many were not sent before."""
    sent = 0
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("sending", total=len(made.requests))
        for start in range(0, len(made.requests), _BATCH_SIZE):
            part = made.requests[start : start + _BATCH_SIZE]
            sent += send(connection, part).sent
            progress.advance(task, len(part))
    return sent


def _drain(connection: Connection, settings: Settings, console: Console) -> tuple[int, float]:
    """Runs the job until the queue is empty; returns the number of runs and the seconds they took."""
    runs, began = 0, time.perf_counter()
    with console.status("running the job process_trading_workflow until the queue is empty"):
        while True:
            state = ledger(connection, MAIN_QUEUE)
            if _unsettled(state) == 0:
                return runs, time.perf_counter() - began
            if time.perf_counter() - began > _MAX_SECONDS:
                raise FailedError(f"after {_MAX_SECONDS} s there are still messages in the queue: see nexus status")
            if state.waiting == 0:
                time.sleep(1)
            else:
                _run_job(settings)
                runs += 1


def _run_job(settings: Settings) -> None:
    """Runs the job with the command that users run in CI; its output goes to `<home>/logs/demo.log`."""
    command = ["dagster", "job", "execute", "-m", "nexus_pipeline.definitions", "-j", "process_trading_workflow"]
    env, log = environment(settings.home), log_file(settings.home, "demo")
    with log.open("ab") as output:
        code = subprocess.call([sys.executable, "-m", *command], env=env, stdout=output, stderr=subprocess.STDOUT)
    if code != 0:
        raise FailedError(f"dagster job execute failed with exit code {code}; its log is {log}")


def _aggregate(connection: Connection, settings: Settings, report: dict[str, Any], console: Console) -> dict[str, Any]:
    """Builds the hourly aggregates of the demo's weeks, as `nexus backfill` does, and reads them back by week."""
    import dagster as dg

    began = time.perf_counter()
    first, last = (hour_of(datetime.fromisoformat(report[name])) for name in ("first_event", "last_event"))
    # The hour of the last event may still be open; on demand it is built like any other.
    window = Window(max(first, first_hour(partitions_start(settings), datetime.now(UTC))), last + HOUR)
    if report["sent_now"]:
        with (
            dg.DagsterInstance.from_config(str(dagster_home(settings.home))) as instance,
            Progress(console=console, transient=True) as progress,
        ):
            task = progress.add_task("hourly aggregates", total=len(window))
            run_backfill(instance, window, lambda done, _: progress.update(task, completed=done))
    by_week = weekly(connection, _SYMBOL, window.start, window.before)
    return {
        "hours": sum(week["hours"] for week in by_week),
        "decisions": sum(week[signal] for week in by_week for signal in ("BUY", "SELL", "HOLD")),
        "seconds": round(time.perf_counter() - began, 2),
        "by_week": by_week,
    }


def _counts(connection: Connection) -> dict[str, Any]:
    """The counts of the whole queue, so that they add up also when other requests were sent."""
    state = ledger(connection, MAIN_QUEUE)
    as_named = {name: getattr(state, name) for name in ("sent", "completed", "dead_lettered", "lost", "adds_up")}
    return as_named | {"waiting": _unsettled(state), "duplicates": state.doubled}


def _unsettled(state: Ledger) -> int:
    return state.waiting + state.leased + state.retrying
