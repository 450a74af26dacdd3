"""The embedded server: a real PostgreSQL from a wheel, in `<home>/postgres`, shared by all processes.

It outlives the process that started it and runs until `stop`. It listens on a Unix socket only, and accepts two
accounts: the one it runs as, and root. `ALTER SYSTEM` changes its settings; the configuration files in the data folder
are rewritten at each start.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from nexus_pipeline.embedded import accounts, files
from nexus_pipeline.embedded.accounts import Account
from nexus_pipeline.errors import NexusError, UnavailableError, UserError
from nexus_pipeline.settings import load_settings

if TYPE_CHECKING:
    import psutil

_LOCK = "postgres.lock"
_START_SECONDS = 60
# Replaying the write-ahead log after a crash may take minutes, and is no failure while the postmaster lives.
_RECOVERY_SECONDS = 900
# For a server that reports "ready" to answer, and for the helper processes of a killed postmaster to notice.
_GRACE_SECONDS = 3.0


@dataclass(frozen=True)
class ServerInfo:
    """A running server: libpq URL of its database `postgres`, for the superuser, and the postmaster's pid."""

    url: str
    pid: int
    version: int
    data: Path


def start(home: Path) -> ServerInfo:
    """Start the server of `home`, or find the running one; returns when it accepts connections.

    A missing data folder is created, of PostgreSQL NEXUS_POSTGRES_VERSION.

    Raises:
        UserError: `home` or NEXUS_POSTGRES_VERSION cannot be used.
        UnavailableError: the server cannot be started.
    """
    with _plain_errors(home):
        home = home.resolve()
        return find(home) or _start(home)


def find(home: Path) -> ServerInfo | None:
    """The running server of `home`, or None when none accepts connections. Starts nothing."""
    try:
        home = home.resolve()
        data = home / "postgres"
        if not accounts.trusted(home):
            return None
        lines = (data / "postmaster.pid").read_text(errors="surrogateescape").splitlines()
        version = files.data_version(data)
    except (OSError, NexusError):
        return None
    # Lines: pid, data folder, start time, port, socket folder, TCP address, shared memory, status.
    if version is None or len(lines) < 8 or lines[7].strip() != "ready":
        return None
    directory = data / lines[4]
    if not _answers(directory / files.SOCKET):
        return None
    url = f"postgresql://postgres@/postgres?host={quote(os.fsencode(directory))}&port=5432"
    return ServerInfo(url=url, pid=int(lines[0]), version=version, data=data)


def stop(home: Path, timeout_seconds: int = 30) -> bool:
    """Stop the server of `home`; False when none was running. Open sessions are terminated.

    UserError: `home` belongs to another user. UnavailableError: the server did not stop within `timeout_seconds`.
    """
    with _plain_errors(home):
        home = home.resolve()
        if not (data := home / "postgres").is_dir():
            return False
        account = accounts.server_account(home)
        with _locked(home):
            if _postmaster(data) is None:
                return False
            done = _pg_ctl(account, data, ["stop", "-m", "fast", "-w", "-t", str(timeout_seconds)])
            if done.returncode != 0:
                raise UnavailableError(f"the server in {data} did not stop within {timeout_seconds} s")
            files.drop_socket_directory(home, account)
            return True


def database_url(info: ServerInfo, database: str) -> str:
    """The libpq URL of another database of the same server."""
    return urlsplit(info.url)._replace(path="/" + quote(database, safe="")).geturl()


@contextlib.contextmanager
def _plain_errors(home: Path) -> Iterator[None]:
    """Turns errors of the operating system into errors of the family."""
    try:
        yield
    except OSError as error:
        fault = f"the embedded server cannot use {error.filename or home} ({error.strerror or error})"
        remedy = "set NEXUS_HOME to a folder of your own, or NEXUS_DATABASE_URL to a server"
        raise UnavailableError(f"{fault}: {remedy}") from error
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{Path(error.cmd[0]).name} did not end within {error.timeout:.0f} s") from error


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Holds the lock of `home`: one process or thread at a time starts or stops the server."""
    path, flags = home / _LOCK, os.O_RDWR | os.O_NOFOLLOW
    try:
        lock = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        owner = home.stat()
        accounts.give(lock, owner.st_uid, owner.st_gid)  # the owner must be able to take it too
    except FileExistsError:
        lock = os.open(path, flags)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        # A child that another thread forked meanwhile has a copy of the descriptor: closing ours is not enough.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def _start(home: Path) -> ServerInfo:
    """Starts the server of `home`, unless another process does first."""
    data = home / "postgres"
    wanted = load_settings().postgres_version
    if not home.exists():
        files.installation_folder(wanted)  # raises before a folder is created
    accounts.prepare_home(home, _LOCK)
    account = accounts.server_account(home)
    with _locked(home):
        if (running := find(home)) is not None:
            return running
        version = files.data_version(data) if data.exists() else None
        if version is None:
            files.initialize(home, account, wanted)
        elif data.stat().st_uid != account.pw_uid:
            raise UserError(f"{data} belongs to user id {data.stat().st_uid}, not to {account.pw_name}")
        if (running := _answering(home, account)) is not None:
            return running
        _clear_remains(data)
        files.configure(home, data, account)
        started = _pg_ctl(account, data, ["start", "-w", "-t", str(_START_SECONDS), "-l", "start.log"])
        if (running := _answering(home, account)) is not None:
            return running
        raise UnavailableError(_failure(data, started))


def _pg_ctl(account: Account, data: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    version = files.data_version(data) or load_settings().postgres_version
    return files.run(account, files.programs(version) / "bin" / "pg_ctl", arguments, data, _RECOVERY_SECONDS)


def _answers(path: Path) -> bool:
    """Whether a process listens at the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fsencode(path))
        except OSError as error:
            return isinstance(error, TimeoutError | BlockingIOError)  # it listens, but is busy
    return True


def _postmaster(data: Path) -> psutil.Process | None:
    """The live postmaster of the data folder; the pid in its file may have been reused by another program."""
    import psutil

    try:
        process = psutil.Process(int((data / "postmaster.pid").read_text().splitlines()[0]))
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess):
        return None
    return process if _works_in(process, data) else None


def _works_in(process: psutil.Process, data: Path) -> bool:
    """Whether this is a process of PostgreSQL whose working directory is the data folder."""
    import psutil

    try:
        return process.name().startswith("postgres") and Path(process.cwd()) == data
    except (psutil.Error, OSError):  # gone, a zombie, or another user's
        return False


def _answering(home: Path, account: Account) -> ServerInfo | None:
    """Waits until the server of `home` accepts connections; None when there is no postmaster (any more).

    A postmaster that reports "ready" but cannot be reached, because its socket was deleted, is stopped.
    """
    data = home / "postgres"
    deadline = time.monotonic() + _RECOVERY_SECONDS
    unreachable_since: float | None = None
    while time.monotonic() < deadline:
        running = find(home)
        if running is not None or _postmaster(data) is None:
            return running
        with contextlib.suppress(FileNotFoundError):
            if (data / "postmaster.pid").read_text().rstrip().endswith("ready"):
                unreachable_since = unreachable_since or time.monotonic()
                if time.monotonic() - unreachable_since > _GRACE_SECONDS:
                    _pg_ctl(account, data, ["stop", "-m", "fast", "-w", "-t", str(_START_SECONDS)])
        time.sleep(0.05)
    raise UnavailableError(f"the server in {data} accepts no connections after {_RECOVERY_SECONDS} s")


def _clear_remains(data: Path) -> None:
    """Ends helper processes that outlived a killed postmaster, and removes its two files with its pid.

    PostgreSQL refuses to start while a helper process still uses the shared memory, and takes any live process of the
    same account with the recorded pid for a running server.
    """
    import psutil

    if not (pid_file := data / "postmaster.pid").exists():
        return
    lines = pid_file.read_text(errors="surrogateescape").splitlines()
    if len(lines) > 4 and _answers(data / lines[4] / files.SOCKET):
        raise UnavailableError(f"a server that another container started still uses {data}: stop it there")
    remains = [process for process in psutil.process_iter() if _works_in(process, data)]
    _, remains = psutil.wait_procs(remains, timeout=_GRACE_SECONDS)
    for process in remains:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, remains = psutil.wait_procs(remains, timeout=_GRACE_SECONDS)
    if remains:
        raise UnavailableError(f"process {remains[0].pid} of a killed server still uses {data}: end it")
    (data / f"{files.SOCKET}.lock").unlink(missing_ok=True)
    pid_file.unlink(missing_ok=True)


def _failure(data: Path, started: subprocess.CompletedProcess[str]) -> str:
    """Why the server did not start: the last lines of its newest log, else the output of pg_ctl."""
    logs = [path for path in (data / "start.log", *data.glob("log/server-*.log")) if path.is_file()]
    newest = max(logs, key=lambda path: path.stat().st_mtime_ns, default=None)
    text = newest.read_text(errors="replace") if newest is not None else started.stderr
    return f"the server in {data} did not start: {files.last_lines(text)}"
