"""`nexus up` restarts killed processes, and says in one line why it cannot start."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.local import running
from nexus_pipeline_tests.support.commands import (
    STARTS_WITHIN_SECONDS,
    answers,
    background,
    environment,
    free_port,
    home,
    left_behind,
    run,
    send_and_wait,
    up,
    wait_for_sensors,
    wait_until,
)

__all__ = ["home"]


def test_killed_processes_of_up_are_restarted_and_work_continues(home: Path) -> None:
    env = environment(home)
    port = free_port()
    with background(up(port), env, home.parent / "up.log") as command:
        command.wait_for_text("Ctrl-C drains and stops everything", STARTS_WITHIN_SECONDS)
        wait_for_sensors(port, command)
        send_and_wait(home, env)
        for name in ("code-server", "daemon", "webserver"):
            process = running.recorded(home)[name]
            os.kill(process.pid, signal.SIGKILL)
            command.wait_for_text(f"{name} ended with exit code -9: started again", 10)
            assert name in running.recorded(home)
        info = embedded.find(home)
        assert info is not None
        os.kill(info.pid, signal.SIGKILL)
        command.wait_for_text("the database was down: started again", 30)
        # The first request waits for the restart; the next one is as fast as before.
        send_and_wait(home, env, seconds=90)
        send_and_wait(home, env)
        wait_until(lambda: answers(port), 30)
        command.popen.send_signal(signal.SIGTERM)
        assert command.popen.wait(240) == 0, command.text
    assert left_behind(home) == []


def test_a_taken_port_is_reported_in_one_line_and_leaves_nothing_running(home: Path) -> None:
    env = environment(home)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for more in ([], ["--detach"]):
            done = run([*up(port), *more], env)
            assert done.returncode == 1
            (line,) = done.stderr.splitlines()
            assert line == f"nexus: port {port} is taken: choose another with --port"
            assert left_behind(home) == []
            assert embedded.find(home) is None
