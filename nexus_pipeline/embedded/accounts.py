"""Which account of the operating system runs the embedded server, and who owns its home folder.

An ordinary user runs the server under their own account. PostgreSQL refuses to run as root: root runs it as the owner
of the home folder or, where that is root, as the system account `pgserver`. That account needs no access to the home
folder or the folders above it: the server is started inside its data folder and opens nothing by an absolute path.
"""

import contextlib
import os
import pwd
import stat
import subprocess
import time
from pathlib import Path

from nexus_pipeline.errors import UnavailableError, UserError

Account = pwd.struct_passwd
SERVER_ACCOUNT = "pgserver"


def give(target: Path | int, uid: int, gid: int) -> None:
    """Make an account the owner of a path or an open file that root has created; others own what they create."""
    if os.geteuid() == 0:
        os.chown(target, uid, gid)


def trusted(home: Path) -> bool:
    """Whether what `home` contains can be trusted: we own it (root trusts every owner), and not everyone can write."""
    found = home.stat()
    return os.geteuid() in (0, found.st_uid) and not found.st_mode & stat.S_IWOTH


def server_account(home: Path) -> Account:
    """The account that runs the server of `home`; `pgserver` is created when it is needed and missing.

    Raises:
        UserError: `home` belongs to another user.
        UnavailableError: its owner has no name, or `pgserver` cannot be created.
    """
    owner = home.stat().st_uid
    if os.geteuid() == 0 and owner == 0:
        return _system_account()
    if os.geteuid() not in (0, owner):
        raise UserError(f"{home} belongs to {_named(owner).pw_name}: set NEXUS_HOME to a folder of your own")
    return _named(owner)


def _named(uid: int) -> Account:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        detail = f"user id {uid} has no name on this machine, which PostgreSQL needs"
        raise UnavailableError(f"{detail}: add an account, or set NEXUS_DATABASE_URL") from None


def _system_account() -> Account:
    """The account `pgserver`; of several processes that find it missing, the first one creates it."""
    options = ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin"]
    done, locked, exists = 0, 1, 9  # exit codes; locked: another process holds the account files
    try:
        for _ in range(50):
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(SERVER_ACCOUNT)
            command = ["useradd", *options, SERVER_ACCOUNT]
            ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            reason = ended.stderr.strip() or f"useradd ended with {ended.returncode}"
            if ended.returncode not in (done, locked, exists):
                break
            if ended.returncode != done:
                time.sleep(0.2)
    except FileNotFoundError:
        reason = "useradd is not installed"
    raise UnavailableError(
        f"PostgreSQL does not run as root and the account {SERVER_ACCOUNT} cannot be created ({reason}):"
        " run as an ordinary user or set NEXUS_DATABASE_URL"
    )


def prepare_home(home: Path, marker: str) -> None:
    """Create `home` with mode 0700, or close an existing one to group and others.

    A folder of root with another name than the default, other contents and without our `marker` file keeps its mode:
    it may be /srv, which other users need. The data folder in it is closed in any case.

    UserError: it is not a folder, or everyone can write in it, so that nothing in it can be trusted.
    """
    try:
        home.mkdir(mode=0o700, parents=True)
        return
    except FileExistsError:
        if not home.is_dir():
            raise UserError(f"{home} is not a folder: set NEXUS_HOME to one") from None
    found = home.stat()
    if os.geteuid() not in (0, found.st_uid):
        return  # refused by server_account, which names the owner
    if not trusted(home):
        raise UserError(f"everyone can write in {home}: set NEXUS_HOME to a folder of your own")
    ours = found.st_uid != 0 or home.name == ".nexus" or (home / marker).exists()
    if found.st_mode & 0o077 and (ours or not any(home.iterdir())):
        home.chmod(0o700)
