"""The processes of `nexus up`: code server, web server and daemon, each in a session of its own, with a log file.

They find each other through `<home>/dagster`: the instance's configuration, and the workspace with the code server's
Unix socket, which no other user of the machine can open.
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

# A Unix socket's path may have 107 bytes.
_LONGEST_SOCKET_PATH = 100
_RESTARTS_AT_MOST = 5
# A process that worked for so long was not kept from starting: its restarts are counted anew.
_STABLE_SECONDS = 120


class StackError(UnavailableError):
    """A process did not come up; the text is one line, with what its log says last."""


def environment(home: Path) -> dict[str, str]:
    """What Dagster's processes run with: this process's variables, with absolute homes."""
    env = {**os.environ, "NEXUS_HOME": str(home.resolve()), "DAGSTER_HOME": str(dagster_home(home))}
    # Without compiled files every start of Dagster takes twice as long.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


@dataclass
class Process:
    """One of our processes: how it is started, and as what it runs."""

    name: str
    command: list[str]
    popen: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    started: float = 0.0
    """`time.monotonic()`, s."""


@dataclass
class Stack:
    """Everything that `nexus up` starts beside the database."""

    home: Path
    port: int
    processes: list[Process] = field(default_factory=list)
    _sessions: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Lays out the commands; nothing runs yet."""
        python = [sys.executable, "-m"]
        workspace = self._write_workspace()
        self.processes = [
            Process(
                "code-server",
                [
                    *python,
                    "dagster",
                    "code-server",
                    "start",
                    "--socket",
                    self._socket,
                    "-m",
                    "nexus_pipeline.definitions",
                    "--location-name",
                    "nexus_pipeline",
                    "--use-python-environment-entry-point",
                ],
            ),
            Process(
                "webserver",
                [*python, "dagster_webserver", "-h", "127.0.0.1", "-p", str(self.port), "-w", str(workspace)],
            ),
            Process("daemon", [*_daemon(), "run", "-w", str(workspace)]),
        ]

    @property
    def url(self) -> str:
        """Where to click."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, wait_seconds: float = 90) -> None:
        """Starts all, and returns when the UI answers.

        Raises:
            StackError: the port is taken, or a process ended or did not answer in time.
        """
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError:
                raise StackError(f"port {self.port} is taken: choose another with --port") from None
        deadline = time.monotonic() + wait_seconds
        code_server, *others = self.processes
        self._spawn(code_server)
        while not Path(self._socket).exists():
            self._still_coming_up(code_server, deadline)
        for process in others:
            self._spawn(process)
        while not self._answers():
            for process in self.processes:
                self._still_coming_up(process, deadline)
        self._record()

    def tend(self) -> list[str]:
        """Starts again what ended by itself; returns a line for each.

        Raises:
            StackError: one keeps ending.
        """
        lines = []
        for process in self.processes:
            if process.popen is not None and process.popen.poll() is not None:
                if time.monotonic() - process.started > _STABLE_SECONDS:
                    process.restarts = 0
                if process.restarts >= _RESTARTS_AT_MOST:
                    raise StackError(f"{process.name} keeps ending: {self._last_words(process)}")
                process.restarts += 1
                lines.append(f"{process.name} ended with exit code {process.popen.returncode}: started again")
                self._spawn(process)
                self._record()
        return lines

    def runs_at_work(self) -> list[psutil.Process]:
        """The processes of runs, also those of a code server that was killed and started again."""
        return [process for process in self._ours() if _executes_run(process)]

    def stop(self, say: Callable[[str], None], drain_seconds: float) -> None:
        """Stops the daemon, lets the runs at work end (at most `drain_seconds`), then stops the rest."""
        code_server, webserver, daemon = self.processes
        _end(daemon)
        deadline = time.monotonic() + drain_seconds
        told = -1
        while (at_work := len(self.runs_at_work())) and time.monotonic() < deadline:
            if at_work != told:
                say(f"draining: {at_work} runs at work")
                told = at_work
            time.sleep(0.2)
        _end(webserver)
        _end(code_server)
        # A code server that was killed leaves a process that waits for its runs, and for a while for the server.
        _end_all(self._ours())
        running.forget(self.home)

    def kill_runs(self) -> None:
        """Interrupts the runs at work: they give back what they have not settled."""
        for process in self.runs_at_work():
            process.send_signal(signal.SIGINT)

    def _ours(self) -> list[psutil.Process]:
        """What lives of all that was started here, with its descendants."""
        found = []
        for process in psutil.process_iter():
            try:
                # A session's number may be another's once all of it has ended: the folder tells.
                if (
                    os.getsid(process.pid) in self._sessions
                    and process.environ().get("DAGSTER_HOME") == self._dagster_home
                ):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    @property
    def _dagster_home(self) -> str:
        return str(self.home.resolve() / "dagster")

    @property
    def _socket(self) -> str:
        path = str(dagster_home(self.home) / "code.sock")
        if len(path.encode()) <= _LONGEST_SOCKET_PATH:
            return path
        # A folder that is made anew and private, so that nobody can have been there first.
        if not hasattr(self, "_short_folder"):
            self._short_folder = tempfile.mkdtemp(prefix="nexus-")
        return str(Path(self._short_folder) / "code.sock")

    def _write_workspace(self) -> Path:
        workspace = dagster_home(self.home) / "workspace.yaml"
        Path(self._socket).unlink(missing_ok=True)
        workspace.write_text(
            json.dumps({"load_from": [{"grpc_server": {"socket": self._socket, "location_name": "nexus_pipeline"}}]})
        )
        return workspace

    def _spawn(self, process: Process) -> None:
        if process.name == "code-server":
            Path(self._socket).unlink(missing_ok=True)
        process.started = time.monotonic()
        with self._log(process).open("ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches `nexus up` alone, which stops them in order.
            process.popen = subprocess.Popen(
                process.command,
                env=environment(self.home),
                cwd=dagster_home(self.home),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._sessions.add(process.popen.pid)

    def _log(self, process: Process) -> Path:
        folder = self.home.resolve() / "logs"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / f"{process.name}.log"

    def _still_coming_up(self, process: Process, deadline: float) -> None:
        if process.popen is not None and process.popen.poll() is not None:
            self._abort(f"{process.name} did not start: {self._last_words(process)}")
        if time.monotonic() > deadline:
            self._abort(f"{process.name} takes too long to start; its log is {self._log(process)}")
        time.sleep(0.1)

    def _abort(self, text: str) -> None:
        for process in reversed(self.processes):
            _end(process)
        raise StackError(text)

    def _last_words(self, process: Process) -> str:
        lines = self._log(process).read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/server_info", timeout=2):  # noqa: S310 - loopback, our own
                return True
        except OSError:
            return False

    def _record(self) -> None:
        """Writes down what runs, so that `nexus down` finds it: this process first, which stops the others."""
        pids = {"up": os.getpid()}
        pids |= {p.name: p.popen.pid for p in self.processes if p.popen is not None and p.popen.poll() is None}
        running.record(self.home, pids)


def _daemon() -> list[str]:
    """The command `dagster-daemon` of this environment.

    The script lies beside this Python; where it does not (`uv run --with` layers environments), its entry point runs.
    """
    script = Path(sys.executable).with_name("dagster-daemon")
    if script.is_file():
        return [str(script)]
    call = "from importlib.metadata import entry_points as e; e(group='console_scripts')['dagster-daemon'].load()()"
    return [sys.executable, "-c", call]


def _executes_run(process: psutil.Process) -> bool:
    """Whether this is a run: the code server spawns one with Python's multiprocessing, and nothing else so."""
    try:
        return any("spawn_main" in part for part in process.cmdline())
    except psutil.Error:
        return False


def _end(process: Process, wait_seconds: float = 15) -> None:
    """Asks a process to end, and makes it when it does not."""
    if process.popen is None or process.popen.poll() is not None:
        return
    process.popen.send_signal(signal.SIGTERM)
    try:
        process.popen.wait(wait_seconds)
    except subprocess.TimeoutExpired:
        process.popen.kill()
        process.popen.wait()


def _end_all(processes: list[psutil.Process], wait_seconds: float = 5) -> None:
    """Asks processes to end, and makes those that do not."""
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                end(process)
        _, processes = psutil.wait_procs(processes, timeout=wait_seconds)
