"""PostgreSQL stopped and started again in mid-run: the pipeline goes on without an operator."""

from __future__ import annotations

import random
import time
from pathlib import Path

from nexus_pipeline.embedded import server as embedded
from nexus_pipeline_tests.support.commands import home, wait_until
from nexus_pipeline_tests.support.pipeline import (
    Sender,
    assert_every_message_has_one_outcome,
    kill_one_at_work,
    pipeline,
    runs_at_work,
    server,
    wait_for_progress,
    wait_until_drained,
    wait_until_no_run_seems_at_work,
)

__all__ = ["home", "server"]


def test_the_server_stopped_and_started_in_mid_run_twice_needs_no_operator(
    server: tuple[str, Path], home: Path
) -> None:
    url, own_home = server
    with pipeline(home, url) as (up, port):
        sender = Sender(url)
        for away_seconds in (1, 12):
            wait_for_progress(url, up, 60)
            wait_until(lambda: bool(runs_at_work(up)), 30)
            embedded.stop(own_home)
            time.sleep(away_seconds)
            embedded.start(own_home)
            wait_for_progress(url, up, 45)
        # A run that is killed afterwards is still noticed at once: Dagster's code server lives on whole.
        wait_until(lambda: kill_one_at_work(up, random.Random()), 30)
        sender.stop()
        wait_until_drained(url, up, 150)
        wait_until_no_run_seems_at_work(port)
    assert_every_message_has_one_outcome(url, sender.sent)
