"""The processes of `nexus up`: code server, web server and daemon, each in its own session and with its own log file.

They share `<home>/dagster`: the configuration of the instance, and the workspace file with the Unix socket of the code
server, which no other user of the machine can open.
"""

from __future__ import annotations

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
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from nexus_pipeline.dagster_instance.home import dagster_home
from nexus_pipeline.errors import UnavailableError
from nexus_pipeline.local import running

# The system's limit is 107 bytes.
_MAX_SOCKET_PATH = 100
_MAX_RESTARTS = 5
# After this time a process counts as started, and its restarts are counted from zero.
_STABLE_SECONDS = 120


def environment(home: Path) -> dict[str, str]:
    """The environment of Dagster's processes: that of this process, with absolute home folders."""
    env = {**os.environ, "NEXUS_HOME": str(home.resolve()), "DAGSTER_HOME": str(dagster_home(home))}
    # Without compiled files Dagster takes twice as long to start.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


def port_fault(port: int) -> str | None:
    """Why the Dagster UI cannot listen on a port of the loopback interface; None if it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.strerror or str(error)
    return None


@dataclass
class Process:
    """One of the processes: its command, and the process that runs it."""

    name: str
    command: list[str]
    popen: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    started: float = 0.0
    """`time.monotonic()`, s."""


@dataclass
class Stack:
    """Everything that `nexus up` starts besides the database."""

    home: Path
    port: int
    processes: list[Process] = field(init=False)
    _dagster_home: Path = field(init=False)
    _socket: Path = field(init=False)
    _sessions: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Prepares the workspace file and the commands; starts nothing."""
        self._dagster_home = dagster_home(self.home)
        self._socket = self._dagster_home / "code.sock"
        if len(os.fsencode(self._socket)) > _MAX_SOCKET_PATH:
            self._socket = Path(tempfile.mkdtemp(prefix="nexus-"), "code.sock")  # a new and private folder
        workspace = str(self._dagster_home / "workspace.yaml")
        server = {"socket": str(self._socket), "location_name": "nexus_pipeline"}
        Path(workspace).write_text(json.dumps({"load_from": [{"grpc_server": server}]}))
        code_server = [
            "dagster",
            "code-server",
            "start",
            "--socket",
            str(self._socket),
            "--use-python-environment-entry-point",
        ]
        code_server += ["-m", "nexus_pipeline.definitions", "--location-name", "nexus_pipeline"]
        webserver = ["dagster_webserver", "-h", "127.0.0.1", "-p", str(self.port), "-w", workspace]
        self.processes = [
            Process("code-server", [sys.executable, "-m", *code_server]),
            Process("webserver", [sys.executable, "-m", *webserver]),
            Process("daemon", [*_daemon(), "run", "-w", workspace]),
        ]

    @property
    def url(self) -> str:
        """URL of the Dagster UI."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, wait_seconds: float = 300) -> None:
        """Start all processes; returns when the UI answers.

        Raises:
            UnavailableError: a process ended or did not answer in time.
        """
        deadline = time.monotonic() + wait_seconds
        code_server, *others = self.processes
        self._spawn(code_server)
        while not self._socket.exists():
            self._check_start(code_server, deadline)
        for process in others:
            self._spawn(process)
        while not self._answers():
            for process in self.processes:
                self._check_start(process, deadline)

    def tend(self) -> list[str]:
        """Restart processes that have ended; returns a line for each.

        Raises:
            UnavailableError: one keeps ending.
        """
        lines = []
        for process in self.processes:
            if process.popen is not None and process.popen.poll() is not None:
                if time.monotonic() - process.started > _STABLE_SECONDS:
                    process.restarts = 0
                if process.restarts >= _MAX_RESTARTS:
                    raise UnavailableError(f"{process.name} keeps ending: {self._last_line(process)}")
                process.restarts += 1
                lines.append(f"{process.name} ended with exit code {process.popen.returncode}: started again")
                self._spawn(process)
        return lines

    def active_runs(self) -> list[psutil.Process]:
        """The processes of runs, also those that a killed code server has left."""
        return [process for process in self._ours() if _executes_run(process)]

    def stop(self, say: Callable[[str], None], drain_seconds: float) -> None:
        """Stop the daemon, wait until the active runs have ended, at most `drain_seconds`, then stop the rest."""
        code_server, webserver, daemon = self.processes
        _end(daemon)
        deadline = time.monotonic() + drain_seconds
        reported = 0
        while (active := len(self.active_runs())) and time.monotonic() < deadline:
            if active != reported:
                say(f"draining: {active} active {'run' if active == 1 else 'runs'}")
                reported = active
            time.sleep(0.2)
        _end(webserver)
        _end(code_server)
        # A killed code server leaves a process that waits for its runs.
        _end_all(self._ours())
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
        for process in psutil.process_iter():
            try:
                # The id of an ended session may have been reused: the folder tells.
                ours = os.getsid(process.pid) in self._sessions
                if ours and process.environ().get("DAGSTER_HOME") == str(self._dagster_home):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def _spawn(self, process: Process) -> None:
        if process.name == "code-server":
            self._socket.unlink(missing_ok=True)
        process.started = time.monotonic()
        with self._log(process).open("ab") as log:
            # In its own session, Ctrl-C in the terminal does not reach it: `nexus up` stops the processes in order.
            process.popen = subprocess.Popen(
                process.command,
                env=environment(self.home),
                cwd=self._dagster_home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._sessions.add(process.popen.pid)
        # This process comes first: it stops the others when `nexus down` asks it to.
        running.record(self.home, {"up": os.getpid()} | {p.name: p.popen.pid for p in self.processes if p.popen})

    def _log(self, process: Process) -> Path:
        folder = self.home.resolve() / "logs"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / f"{process.name}.log"

    def _check_start(self, process: Process, deadline: float) -> None:
        """Raises an error when a process has ended or the deadline (`time.monotonic()`) has passed, or waits 0.1 s."""
        if process.popen is not None and process.popen.poll() is not None:
            raise UnavailableError(f"{process.name} did not start: {self._last_line(process)}")
        if time.monotonic() > deadline:
            raise UnavailableError(f"{process.name} takes too long to start; its log is {self._log(process)}")
        time.sleep(0.1)

    def _last_line(self, process: Process) -> str:
        lines = self._log(process).read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "its log is empty"

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/server_info", timeout=2):  # noqa: S310 - loopback, our own
                return True
        except OSError:
            return False


def _daemon() -> list[str]:
    """The command `dagster-daemon` of this environment.

    Where the script is not beside this Python (`uv run --with` layers environments), its entry point is called.
    """
    script = Path(sys.executable).with_name("dagster-daemon")
    if script.is_file():
        return [str(script)]
    call = "from importlib.metadata import entry_points as e; e(group='console_scripts')['dagster-daemon'].load()()"
    return [sys.executable, "-c", call]


def _executes_run(process: psutil.Process) -> bool:
    """Whether this is a run: the only processes that the code server starts with Python's multiprocessing."""
    try:
        return any("spawn_main" in part for part in process.cmdline())
    except psutil.Error:
        return False


def _end(process: Process, wait_seconds: float = 15) -> None:
    """Ends a process, by force after `wait_seconds`."""
    if process.popen is None or process.popen.poll() is not None:
        return
    process.popen.send_signal(signal.SIGTERM)
    try:
        process.popen.wait(wait_seconds)
    except subprocess.TimeoutExpired:
        process.popen.kill()
        process.popen.wait()


def _end_all(processes: list[psutil.Process], wait_seconds: float = 5) -> None:
    """Ends processes, by force after `wait_seconds`."""
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                end(process)
        _, processes = psutil.wait_procs(processes, timeout=wait_seconds)
