"""`nexus demo`: real hourly candles through the queue and the real job, and the proof that the counts add up."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from nexus_pipeline.analytics.backfill import BackfillError, run_backfill
from nexus_pipeline.analytics.hours import HOUR, Window, WindowError, first_hour, hour_of
from nexus_pipeline.dagster_instance.home import dagster_home
from nexus_pipeline.database.connection import Connection, connect
from nexus_pipeline.database.ready import ready_database
from nexus_pipeline.database.statements import queries
from nexus_pipeline.demo.candles import CandleError, CandleRequests, eurusd_hourly, requests, weeks_to
from nexus_pipeline.demo.figures import figures
from nexus_pipeline.demo.report import render
from nexus_pipeline.errors import FailedError
from nexus_pipeline.local import up
from nexus_pipeline.local.processes import environment
from nexus_pipeline.queues.ledger import ledger
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.queues.sending import enqueue
from nexus_pipeline.settings import Settings
from nexus_pipeline.signals.indicators import MissingExtra
from nexus_pipeline.signals.request import dumps

_SENT_AT_ONCE = 1_000
# Retries and expired leases may keep messages out of sight for a while; a demo does not wait longer than this.
_LONGEST_SECONDS = 300


class DemoError(FailedError):
    """The demo could not be run to its end; the text says why."""


def run(settings: Settings, as_json: bool, ui: bool, port: int = 3000) -> int:
    """Sends the candles, drains the queue through the job, reports; returns the exit code.

    With `as_json` the report is one JSON object on the last line of standard output. With `ui` everything is left
    running afterwards.
    """
    console = Console(stderr=as_json)
    try:
        candles = eurusd_hourly()
        shift = timedelta(weeks=weeks_to(candles, datetime.now(UTC)))
        made = requests(candles, symbol="EURUSD", source="demo", shift=shift)
    except (MissingExtra, CandleError) as error:
        print(f"nexus demo: {error}", file=sys.stderr)
        return 1
    with connect(ready_database(settings)) as connection:
        console.print(
            f"{made.bars:,} hourly EURUSD candles of 2017, moved by {made.shifted_weeks} whole weeks to end this week: "
            f"{len(made):,} signal requests ({made.warm_up} candles in warm-up, {made.no_movement} without movement)"
        )
        sent, duplicates = _send(connection, made, console)
        if sent == 0:
            console.print(f"all {duplicates:,} were sent before: nothing is added twice")
        try:
            runs, seconds = _drain(connection, settings, console)
        except DemoError as error:
            print(f"nexus demo: {error}", file=sys.stderr)
            return 1
        report = _report(connection, made, sent, duplicates, runs, seconds)
        try:
            report["aggregates"] = _aggregate(connection, settings, report, console)
        except DemoError as error:
            print(f"nexus demo: {error}", file=sys.stderr)
            return 1
    if as_json:
        print(json.dumps(report, default=str))
    else:
        render(report, console)
    if ui and up.run(settings, port, detach=True) != 0:
        return 1
    return 0 if report["adds_up"] and report["waiting"] == 0 else 1


def _send(connection: Connection, made: CandleRequests, console: Console) -> tuple[int, int]:
    """Sends the requests in batches; returns how many were sent and how many had been sent before."""
    sent = duplicates = 0
    texts = [dumps(request) for request in made]
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("sending", total=len(texts))
        for start in range(0, len(texts), _SENT_AT_ONCE):
            part = enqueue(connection, MAIN_QUEUE, texts[start : start + _SENT_AT_ONCE])
            sent += part.sent
            duplicates += part.duplicates
            progress.advance(task, part.sent + part.duplicates)
    return sent, duplicates


def _drain(connection: Connection, settings: Settings, console: Console) -> tuple[int, float]:
    """Runs the job until nothing is left in the queue; returns the number of runs and the seconds they took."""
    runs = 0
    began = time.perf_counter()
    with console.status("the job process_trading_workflow drains the queue"):
        while True:
            state = ledger(connection, MAIN_QUEUE)
            if state.waiting + state.leased + state.retrying == 0:
                return runs, time.perf_counter() - began
            if time.perf_counter() - began > _LONGEST_SECONDS:
                raise DemoError(f"after {_LONGEST_SECONDS} s there are still messages in the queue: see nexus status")
            if state.waiting == 0:
                time.sleep(1)
                continue
            _run_job(settings)
            runs += 1


def _run_job(settings: Settings) -> None:
    """The command that users run in CI."""
    _command(
        settings, ["dagster", "job", "execute", "-m", "nexus_pipeline.definitions", "-j", "process_trading_workflow"]
    )


def _command(settings: Settings, module_and_arguments: list[str]) -> None:
    """Runs a command as users do, with its output in `<home>/logs/demo.log`."""
    env = environment(settings.home)
    log = Path(env["NEXUS_HOME"]) / "logs" / "demo.log"
    log.parent.mkdir(mode=0o700, exist_ok=True)
    with log.open("ab") as output:
        done = subprocess.run(
            [sys.executable, "-m", *module_and_arguments], env=env, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode != 0:
        what = " ".join(module_and_arguments[:3])
        raise DemoError(f"{what} failed with exit code {done.returncode}; its log is {log}")


def _aggregate(connection: Connection, settings: Settings, report: dict[str, Any], console: Console) -> dict[str, Any]:
    """Makes the hourly aggregates of the demo's weeks, as `nexus backfill` does, and reads them back by week.

    Raises:
        DemoError: the backfill failed.
    """
    began = time.perf_counter()
    first, last = (hour_of(datetime.fromisoformat(report[name])) for name in ("first_event", "last_event"))
    try:
        # The hour of the last event may be open still: it is made on demand like any other.
        window = Window(max(first, first_hour(settings.partitions_start, datetime.now(UTC))), last + HOUR)
        if report["sent_now"]:
            _backfill(settings, window, console)
    except (BackfillError, WindowError) as error:
        raise DemoError(str(error)) from None
    rows = queries("demo").aggregates_by_week(connection, symbol="EURUSD", since=window.start, before=window.before)
    names = ("week", "hours", "BUY", "SELL", "HOLD", "min_rsi", "max_rsi")
    weeks = [dict(zip(names, row, strict=True)) for row in rows]
    return {
        "hours": sum(week["hours"] for week in weeks),
        "decisions": sum(week[signal] for week in weeks for signal in ("BUY", "SELL", "HOLD")),
        "seconds": round(time.perf_counter() - began, 2),
        "by_week": weeks,
    }


def _backfill(settings: Settings, window: Window, console: Console) -> None:
    """`nexus backfill`, with its bar on the demo's console."""
    import dagster as dg

    with (
        dg.DagsterInstance.from_config(str(dagster_home(settings.home))) as instance,
        Progress(console=console, transient=True) as progress,
    ):
        task = progress.add_task("hourly aggregates", total=len(window))
        run_backfill(instance, window, lambda done, _: progress.update(task, completed=done))


def _report(
    connection: Connection, made: CandleRequests, sent: int, duplicates: int, runs: int, seconds: float
) -> dict[str, Any]:
    state = ledger(connection, MAIN_QUEUE)
    return {
        "bars": made.bars,
        "warm_up": made.warm_up,
        "no_movement": made.no_movement,
        "requests": len(made),
        "shifted_weeks": made.shifted_weeks,
        "sent_now": sent,
        "sent_before": duplicates,
        # The whole queue's history, so that it adds up also when other requests were sent.
        "sent": state.sent,
        "completed": state.completed,
        "dead_lettered": state.dead_lettered,
        "waiting": state.waiting + state.leased + state.retrying,
        "lost": state.lost,
        "duplicates": state.doubled,
        "adds_up": state.adds_up,
        "runs": runs,
        "seconds": round(seconds, 2),
        "per_second": round(sent / seconds, 1) if sent and seconds else 0.0,
        **figures(connection),
    }
