"""The processes of `nexus up`: code server, web server and daemon, each in its own session and with its own log file.

They share `<home>/dagster`: the configuration of the instance, and the workspace file with the Unix socket of the code
server, which no other user of the machine can open.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from nexus_pipeline.dagster_instance.home import dagster_home
from nexus_pipeline.errors import UnavailableError
from nexus_pipeline.local import running

_MAX_RESTARTS = 5


def environment(home: Path) -> dict[str, str]:
    """The environment of Dagster's processes: that of this process, with absolute home folders."""
    env = {**os.environ, "NEXUS_HOME": str(home.resolve()), "DAGSTER_HOME": str(dagster_home(home))}
    # Without compiled files Dagster takes twice as long to start.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


def spawn(command: list[str], home: Path, log: IO[bytes], cwd: Path | None = None) -> psutil.Popen:
    """Start a command in its own session: Ctrl-C in the terminal reaches `nexus up` only, which stops it in order."""
    return psutil.Popen(
        command,
        env=environment(home),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def port_fault(port: int) -> str | None:
    """Why the Dagster UI cannot listen on a port of the loopback interface; None if it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def log_file(home: Path, name: str) -> Path:
    """The path `<home>/logs/<name>.log`, in a folder that only its owner can read."""
    folder = home.resolve() / "logs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{name}.log"


def last_line(log: Path) -> str:
    """The last line of a log file."""
    return log.read_text(errors="replace").strip().rpartition("\n")[2] or "its log is empty"


@dataclass
class Process:
    """One of the processes: its command, its log file, and the process that runs the command."""

    name: str
    command: list[str]
    log: Path
    popen: psutil.Popen | None = None
    restarts: int = 0
    started: float = 0.0
    """`time.monotonic()`, s."""

    @property
    def ended(self) -> bool:
        """Whether it was started and runs no more."""
        return self.popen is not None and self.popen.poll() is not None

    def end(self) -> None:
        """End it, by force after 15 s."""
        if self.popen is not None:
            running.end([self.popen], 15)

    def failure(self, what: str) -> UnavailableError:
        """The error that this process failed, with the last line of its log."""
        return UnavailableError(f"{self.name} {what}: {last_line(self.log)[:300]}")


@dataclass
class Stack:
    """Everything that `nexus up` starts besides the database."""

    home: Path
    port: int

    def __post_init__(self) -> None:
        """Prepares the workspace file and the commands; starts nothing."""
        self._sessions: set[int] = set()
        self._dagster_home = dagster_home(self.home)
        self._socket = self._dagster_home / "code.sock"
        if len(os.fsencode(self._socket)) > 100:  # the system's limit is 107 bytes
            self._socket = Path(tempfile.mkdtemp(prefix="nexus-"), "code.sock")  # a new and private folder
        workspace = str(self._dagster_home / "workspace.yaml")
        server = {"socket": str(self._socket), "location_name": "nexus_pipeline"}
        Path(workspace).write_text(json.dumps({"load_from": [{"grpc_server": server}]}))
        code_server = ["dagster", "code-server", "start", "--socket", str(self._socket)]
        code_server += ["--use-python-environment-entry-point", "-m", "nexus_pipeline.definitions"]
        code_server += ["--location-name", "nexus_pipeline"]
        webserver = ["dagster_webserver", "-h", "127.0.0.1", "-p", str(self.port), "-w", workspace]
        commands = {
            "code-server": [sys.executable, "-m", *code_server],
            "webserver": [sys.executable, "-m", *webserver],
            "daemon": [*_daemon(), "run", "-w", workspace],
        }
        self.processes = [Process(name, command, log_file(self.home, name)) for name, command in commands.items()]

    @property
    def url(self) -> str:
        """Of the Dagster UI."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, wait_seconds: float = 300) -> None:
        """Start all processes; returns when the UI answers. UnavailableError: one ended or did not answer in time."""
        deadline = time.monotonic() + wait_seconds
        code_server, *others = self.processes
        self._spawn(code_server)
        self._wait(self._socket.exists, [code_server], deadline)
        for process in others:
            self._spawn(process)
        self._wait(self._answers, self.processes, deadline)

    def tend(self) -> list[str]:
        """Restart processes that have ended; returns a line for each. UnavailableError: one keeps ending."""
        lines = []
        for process in self.processes:
            if process.popen is not None and process.ended:
                if time.monotonic() - process.started > 120:
                    process.restarts = 0  # it was stable
                if process.restarts >= _MAX_RESTARTS:
                    raise process.failure("keeps ending")
                process.restarts += 1
                lines.append(f"{process.name} ended with exit code {process.popen.returncode}: started again")
                self._spawn(process)
        return lines

    def active_runs(self) -> list[psutil.Process]:
        """The processes of runs, also those of a killed code server: only they are started by multiprocessing."""
        return [process for process in self._ours() if any("spawn_main" in part for part in process.info["cmdline"])]

    def stop(self, say: Callable[[str], None], drain_seconds: float) -> None:
        """Stop the daemon, wait until the active runs have ended, at most `drain_seconds`, then stop the rest."""
        code_server, webserver, daemon = self.processes
        daemon.end()
        deadline = time.monotonic() + drain_seconds
        reported = 0
        while (active := len(self.active_runs())) and time.monotonic() < deadline:
            if active != reported:
                say(f"draining: {active} active {'run' if active == 1 else 'runs'}")
                reported = active
            time.sleep(0.2)
        webserver.end()
        code_server.end()
        # A killed code server leaves a process that waits for its runs.
        running.end(self._ours(), 5)
        running.forget(self.home)
        self._socket.unlink(missing_ok=True)
        if self._socket.parent != self._dagster_home:
            self._socket.parent.rmdir()

    def interrupt_runs(self) -> None:
        """Interrupt the active runs: they return the messages that they have not settled."""
        for process in self.active_runs():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGINT)

    def _ours(self) -> list[psutil.Process]:
        """All live processes that were started here, and their descendants."""
        found = []
        for process in psutil.process_iter(["cmdline", "environ"], ad_value=()):
            with contextlib.suppress(OSError):  # it has ended
                # The id of an ended session may have been reused: the folder tells.
                home = dict(process.info["environ"]).get("DAGSTER_HOME")
                if os.getsid(process.pid) in self._sessions and home == str(self._dagster_home):
                    found.append(process)
        return found

    def _spawn(self, process: Process) -> None:
        if process.name == "code-server":
            self._socket.unlink(missing_ok=True)
        process.started = time.monotonic()
        with process.log.open("ab") as log:
            process.popen = spawn(process.command, self.home, log, self._dagster_home)
        self._sessions.add(process.popen.pid)
        # This process comes first: it stops the others when `nexus down` asks it to.
        running.record(self.home, {"up": os.getpid()} | {p.name: p.popen.pid for p in self.processes if p.popen})

    def _wait(self, ready: Callable[[], bool], processes: list[Process], deadline: float) -> None:
        """Waits until `ready`; an error when a process ends or the deadline (`time.monotonic()`) passes."""
        while not ready():
            for process in processes:
                if process.ended:
                    raise process.failure("did not start")
                if time.monotonic() > deadline:
                    raise UnavailableError(f"{process.name} takes too long to start; its log is {process.log}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/server_info", timeout=2):  # noqa: S310
            return True
        return False


def _daemon() -> list[str]:
    """The command `dagster-daemon`; its entry point where it is not beside this Python, as under `uv run --with`."""
    script = Path(sys.executable).with_name("dagster-daemon")
    if script.is_file():
        return [str(script)]
    call = "from importlib.metadata import entry_points as e; e(group='console_scripts')['dagster-daemon'].load()()"
    return [sys.executable, "-c", call]
