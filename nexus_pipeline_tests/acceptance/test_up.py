"""`dagster dev` with nothing set, and `nexus up`: a request is done within 15 s, and everything stops when asked."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import psutil

from nexus_pipeline.database import embedded
from nexus_pipeline.database.connection import connect, server_conninfo
from nexus_pipeline.processing import running
from nexus_pipeline.queues.ledger import ledger
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.settings import Settings
from nexus_pipeline_tests.command_tools import (
    DAGSTER,
    NEXUS,
    Background,
    answers,
    background,
    environment,
    free_port,
    graphql,
    home,
    is_free,
    left_behind,
    nexus_json,
    run,
    runs_listed,
    wait_until,
)

__all__ = ["home"]

STARTS_WITHIN_SECONDS = 90


def up(home: Path, port: int) -> list[str]:
    return [*NEXUS, "up", "--port", str(port)]


def completed(home: Path) -> int:
    with connect(server_conninfo(Settings(home=home))) as connection:
        return ledger(connection, MAIN_QUEUE).completed


def send_and_wait(home: Path, env: dict[str, str], seconds: float = 15) -> None:
    """One request by hand, which must be decided within so many seconds of its sending."""
    before = completed(home)
    assert nexus_json(env, "send", "--rsi", "25")["sent"] == 1
    wait_until(lambda: completed(home) == before + 1, seconds, lambda: nexus_json(env, "status"))


def wait_for_ui(command: Background, port: int) -> None:
    wait_until(lambda: answers(port) or command.popen.poll() is not None, STARTS_WITHIN_SECONDS, lambda: command.text)
    assert command.popen.poll() is None, command.text


def sensors_are_evaluated(port: int) -> bool:
    """Whether the daemon is up, which `dagster dev` starts after the UI."""
    health = graphql(port, "{ instance { daemonHealth { allDaemonStatuses { daemonType healthy } } } }")
    statuses = health["instance"]["daemonHealth"]["allDaemonStatuses"]
    return {"daemonType": "SENSOR", "healthy": True} in statuses


def in_the_ui(port: int) -> list[str]:
    return [run["status"] for run in runs_listed(port)]


def test_dagster_dev_with_nothing_set_decides_a_request_within_15_s_and_lists_its_run(home: Path) -> None:
    env = environment(home)
    port = free_port()
    with background([*DAGSTER, "dev", "-p", str(port)], env, home.parent / "dev.log") as dev:
        wait_for_ui(dev, port)
        wait_until(
            lambda: "Launching scheduled runs" in dev.text or "daemons" in dev.text.lower(), 60, lambda: dev.text
        )
        send_and_wait(home, env)
        wait_until(lambda: in_the_ui(port) == ["SUCCESS"], 15, lambda: runs_listed(port))
        dev.popen.send_signal(signal.SIGINT)
        dev.popen.wait(60)
    with connect(server_conninfo(Settings(home=home))) as connection:
        assert ledger(connection, MAIN_QUEUE).adds_up


def test_up_decides_a_request_within_15_s_and_ctrl_c_stops_everything_and_loses_nothing(home: Path) -> None:
    env = environment(home, NEXUS_BATCH_SIZE="50", NEXUS_SECONDS_PER_RUN="5")
    port = free_port()
    with background(up(home, port), env, home.parent / "up.log") as command:
        command.wait_for_text("Ctrl-C drains and stops everything", STARTS_WITHIN_SECONDS)
        assert f"http://127.0.0.1:{port}" in command.text
        send_and_wait(home, env)
        wait_until(lambda: in_the_ui(port) == ["SUCCESS"], 15, lambda: runs_listed(port))

        # In the midst of work: what is in flight is drained, what is not yet claimed stays.
        sent = nexus_json(env, "send", "--rsi", "75", "--count", "20000")["sent"]
        wait_until(lambda: completed(home) > 1, 30)
        command.popen.send_signal(signal.SIGINT)
        assert command.popen.wait(100) == 0, command.text
        assert "draining" in command.text
        assert "the database is stopped" in command.text
    assert left_behind(home) == []
    assert embedded.find(home) is None
    assert is_free(port)
    assert running.recorded(home) == []
    with connect(server_conninfo(Settings(home=home))) as connection:
        state = ledger(connection, MAIN_QUEUE)
        assert state.adds_up
        assert (state.sent, state.leased) == (sent + 1, 0)
        assert state.completed + state.waiting == state.sent


def test_what_is_killed_under_up_is_started_again_and_work_goes_on(home: Path) -> None:
    env = environment(home)
    port = free_port()
    with background(up(home, port), env, home.parent / "up.log") as command:
        command.wait_for_text("Ctrl-C drains and stops everything", STARTS_WITHIN_SECONDS)
        send_and_wait(home, env)
        for name in ("code-server", "daemon", "webserver"):
            (process,) = [each for each in running.recorded(home) if each.name == name]
            os.kill(process.pid, signal.SIGKILL)
            command.wait_for_text(f"{name} ended with exit code -9: started again", 10)
            assert name in [each.name for each in running.recorded(home)]
        info = embedded.find(home)
        assert info is not None
        os.kill(info.pid, signal.SIGKILL)
        command.wait_for_text("the database was down: started again", 30)
        # Starting again takes its time; then it is as quick as before.
        send_and_wait(home, env, seconds=90)
        send_and_wait(home, env)
        wait_until(lambda: answers(port), 30)
        command.popen.send_signal(signal.SIGTERM)
        assert command.popen.wait(100) == 0, command.text
    assert left_behind(home) == []


def test_up_in_the_background_is_stopped_by_down_with_all_that_it_started(home: Path) -> None:
    env = environment(home)
    port = free_port()
    done = run([*up(home, port), "--detach"], env)
    assert done.returncode == 0, done.stderr
    assert f"http://127.0.0.1:{port}" in done.stdout
    assert answers(port)
    assert {each.name for each in running.recorded(home)} == {"up", "code-server", "webserver", "daemon"}
    assert {psutil.Process(each.pid).uids().real for each in running.recorded(home)} == {os.getuid()}
    send_and_wait(home, env)
    down = run([*NEXUS, "down"], env, seconds=180)
    assert down.returncode == 0, down.stderr
    assert left_behind(home) == []
    assert embedded.find(home) is None
    assert is_free(port)
    again = run([*NEXUS, "down"], env)
    assert again.returncode == 0, again.stderr


def test_a_port_that_is_taken_is_said_in_one_line_and_leaves_nothing_running(home: Path) -> None:
    env = environment(home)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for more in ([], ["--detach"]):
            done = run([*up(home, port), *more], env)
            assert done.returncode == 1
            (line,) = done.stderr.splitlines()
            assert line == f"nexus up: port {port} is taken: choose another with --port"
            assert left_behind(home) == []
