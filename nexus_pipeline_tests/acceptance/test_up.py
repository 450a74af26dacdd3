"""`dagster dev` with nothing set, and `nexus up`: a request is decided within 15 s, and everything stops on demand."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from nexus_pipeline.database.connection import connect, server_conninfo
from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.local import running
from nexus_pipeline.queues.ledger import ledger
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.settings import Settings
from nexus_pipeline_tests.support.commands import (
    DAGSTER,
    NEXUS,
    STARTS_WITHIN_SECONDS,
    answers,
    background,
    completed,
    environment,
    free_port,
    home,
    is_free,
    left_behind,
    nexus_json,
    run,
    runs_listed,
    send_and_wait,
    up,
    wait_for_sensors,
    wait_for_ui,
    wait_until,
)

__all__ = ["home"]


def in_the_ui(port: int) -> list[str]:
    return [run["status"] for run in runs_listed(port)]


def test_dagster_dev_with_nothing_set_decides_a_request_within_15_s_and_lists_its_run(home: Path) -> None:
    env = environment(home)
    port = free_port()
    with background([*DAGSTER, "dev", "-p", str(port)], env, home.parent / "dev.log") as dev:
        wait_for_ui(dev, port)
        wait_for_sensors(port, dev)
        send_and_wait(home, env)
        wait_until(lambda: in_the_ui(port) == ["SUCCESS"], 15, lambda: runs_listed(port))
        dev.popen.send_signal(signal.SIGINT)
        dev.popen.wait(240)
    with connect(server_conninfo(Settings(home=home))) as connection:
        assert ledger(connection, MAIN_QUEUE).adds_up


def test_up_decides_a_request_within_15_s_and_ctrl_c_drains_and_stops_everything(home: Path) -> None:
    env = environment(home, NEXUS_BATCH_SIZE="50", NEXUS_SECONDS_PER_RUN="20")
    port = free_port()
    with background(up(port), env, home.parent / "up.log") as command:
        command.wait_for_text("Ctrl-C drains and stops everything", STARTS_WITHIN_SECONDS)
        assert f"http://127.0.0.1:{port}" in command.text
        wait_for_sensors(port, command)
        send_and_wait(home, env)
        wait_until(lambda: in_the_ui(port) == ["SUCCESS"], 15, lambda: runs_listed(port))

        # During processing: messages in flight are drained, messages not yet claimed stay in the queue.
        sent = nexus_json(env, "send", "--rsi", "75", "--count", "20000")["sent"]
        wait_until(lambda: completed(home) > 1, 30, lambda: f"{runs_listed(port)}\n{nexus_json(env, 'status')}")
        command.popen.send_signal(signal.SIGINT)
        assert command.popen.wait(240) == 0, command.text
        assert "draining" in command.text
        assert "the database is stopped" in command.text
    assert left_behind(home) == []
    assert embedded.find(home) is None
    assert is_free(port)
    assert running.recorded(home) == {}
    with connect(server_conninfo(Settings(home=home))) as connection:
        state = ledger(connection, MAIN_QUEUE)
        assert state.adds_up
        assert (state.sent, state.leased) == (sent + 1, 0)
        assert state.completed + state.waiting == state.sent


def test_down_stops_everything_that_up_started_in_the_background(home: Path) -> None:
    env = environment(home)
    port = free_port()
    done = run([*up(port), "--detach"], env)
    assert done.returncode == 0, done.stderr
    assert f"http://127.0.0.1:{port}" in done.stdout
    assert answers(port)
    again = run(up(free_port()), env)
    assert (again.returncode, "already running" in again.stderr) == (2, True)
    wait_for_sensors(port)
    assert set(running.recorded(home)) == {"up", "code-server", "webserver", "daemon"}
    assert {each.uids().real for each in running.recorded(home).values()} == {os.getuid()}
    send_and_wait(home, env)
    down = run([*NEXUS, "down"], env, seconds=180)
    assert down.returncode == 0, down.stderr
    assert left_behind(home) == []
    assert embedded.find(home) is None
    assert is_free(port)
    again = run([*NEXUS, "down"], env)
    assert again.returncode == 0, again.stderr
