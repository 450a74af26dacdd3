"""Runs killed at random under load: every message has one outcome, and nobody has to step in."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from nexus_pipeline.database.connection import connect, dagster_conninfo
from nexus_pipeline.settings import Settings
from nexus_pipeline_tests.support.commands import home, runs_listed
from nexus_pipeline_tests.support.pipeline import (
    Sender,
    assert_every_message_has_one_outcome,
    kill_one_at_work,
    pipeline,
    server,
    wait_for_progress,
    wait_until_drained,
    wait_until_no_run_seems_at_work,
)
from nexus_pipeline_tests.support.queues import one

__all__ = ["home", "server"]


def killed_in_mid_work(url: str) -> bool:
    """Whether Dagster knows of a run that was killed after it had begun a batch."""
    with connect(dagster_conninfo(Settings(database_url=SecretStr(url)))) as connection:
        return bool(
            one(
                connection,
                "SELECT count(DISTINCT run_id) FROM runs JOIN event_logs USING (run_id)"
                " WHERE status = 'FAILURE' AND starts_with(step_key, 'batch')",
            )
        )


@pytest.mark.timeout(900)
def test_runs_killed_20_times_at_random_under_load_leave_each_message_one_outcome(
    server: tuple[str, Path], home: Path
) -> None:
    url, _ = server
    chance = random.Random(20)
    with pipeline(home, url) as (up, port):
        sender = Sender(url)
        killed = 0
        # At least 20, and so many more that some were in the midst of their batches, not in Dagster's start.
        while killed < 20 or not killed_in_mid_work(url):
            if killed % 4 == 3:
                wait_for_progress(url, up, 60)
            time.sleep(chance.uniform(0.05, 1.0))
            killed += kill_one_at_work(up, chance)
        sender.stop()
        wait_until_drained(url, up, 150)
        # Dagster noticed each: no run seems to be at work for ever.
        wait_until_no_run_seems_at_work(port)
        assert "FAILURE" in {run["status"] for run in runs_listed(port)}
    assert_every_message_has_one_outcome(url, sender.sent)
