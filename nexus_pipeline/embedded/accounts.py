"""Who runs the embedded server, and how that account gets at its files without letting anybody else in.

An ordinary user runs the server under their own account. PostgreSQL refuses to run as root, so root runs it
as the owner of the home folder or, where that is root, as the system account `pgserver`, which is let through
closed folders by name (a POSIX ACL entry): no folder is opened for others.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

SERVER_ACCOUNT = "pgserver"

# The kernel's layout of an access ACL: a version, then entries of tag, permissions and id.
_ACL = "system.posix_acl_access"
_ACL_VERSION = 2
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_GROUP_CLASS = (_USER, _GROUP_OBJ, _GROUP)
_NO_ID = 0xFFFFFFFF
_READ, _SEARCH = 4, 1

_Acl = dict[tuple[int, int], int]


class EmbeddedServerError(RuntimeError):
    """The embedded server cannot be used; the text says why and what helps."""


class _RunAs(TypedDict, total=False):
    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Account:
    """An account of the operating system: its name, user id and primary group id."""

    name: str
    uid: int
    gid: int

    def run_as(self) -> _RunAs:
        """Arguments of `subprocess` that start a program under this account; none when it is our own."""
        if os.geteuid() != 0:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def trusted(home: Path) -> bool:
    """Whether `home` may be believed: it is ours (root: anybody's) and not everybody can write in it.

    Raises:
        OSError: it does not exist or cannot be reached.
    """
    found = home.stat()
    return os.geteuid() in (0, found.st_uid) and not found.st_mode & stat.S_IWOTH


def server_account(home: Path) -> Account:
    """The account that runs the server of `home`; made when it is `pgserver` and absent.

    Raises:
        EmbeddedServerError: `home` is another user's, or its owner has no name.
    """
    owner = home.stat().st_uid
    if os.geteuid() == 0 and owner == 0:
        entry = _system_account()
    elif os.geteuid() in (0, owner):
        entry = _named(owner)
    else:
        raise EmbeddedServerError(f"{home} belongs to {_named(owner).pw_name}: set NEXUS_HOME to a folder of your own")
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _named(uid: int) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        raise EmbeddedServerError(
            f"user id {uid} has no name on this machine, which PostgreSQL needs: add an account, or set"
            " NEXUS_DATABASE_URL"
        ) from None


def _system_account() -> pwd.struct_passwd:
    """The account `pgserver`. Several processes may find it absent at once: whoever is first makes it."""
    command = [
        "useradd",
        "--system",
        "--user-group",
        "--no-create-home",
        "--shell",
        "/usr/sbin/nologin",
        SERVER_ACCOUNT,
    ]
    reason = ""
    for _ in range(50):
        try:
            return pwd.getpwnam(SERVER_ACCOUNT)
        except KeyError:
            pass
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            reason = "there is no useradd"
            break
        reason = done.stderr.strip() or f"useradd ended with {done.returncode}"
        if done.returncode not in (
            0,
            1,
            9,
        ):  # 1: the account files are locked just now; 9: the account exists
            break
        if done.returncode != 0:
            time.sleep(0.2)
    raise EmbeddedServerError(
        f"PostgreSQL does not run as root and the account {SERVER_ACCOUNT} cannot be made ({reason}):"
        " run as an ordinary user or set NEXUS_DATABASE_URL"
    )


def prepare_home(home: Path, marker: str) -> None:
    """Makes `home` with mode 0700, or closes an existing one to group and others.

    A folder of root's that has another name than the default, holds other things and not our `marker` file is
    left as it is: it may be /srv, and closing that would lock out the machine's other users. What the server
    keeps in it is closed all the same.

    Raises:
        EmbeddedServerError: others may write in it, so that nothing in it could be trusted.
    """
    try:
        home.mkdir(mode=0o700, parents=True)
        return
    except FileExistsError:
        if not home.is_dir():
            raise EmbeddedServerError(f"{home} is not a folder: set NEXUS_HOME to one") from None
    if os.geteuid() not in (0, home.stat().st_uid):
        return  # server_account says whose it is
    if not trusted(home):
        raise EmbeddedServerError(f"everybody may write in {home}: set NEXUS_HOME to a folder of your own")
    ours = home.stat().st_uid != 0 or home.name == ".nexus" or (home / marker).exists()
    if ours or not any(home.iterdir()):
        _close(home)


def let_in(account: Account, home: Path, installation: list[Path]) -> None:
    """Gives the server account what it lacks: search on the way to `home`, reading in the `installation`.

    Raises:
        EmbeddedServerError: the account is not allowed in and cannot be let in.
    """
    if os.geteuid() != 0:
        return
    for folder in [*reversed(home.parents), home]:
        _grant(account, folder, _SEARCH, own=folder == home)
    for top in installation:
        for path in _tree(top):
            if path == top or path.is_symlink():  # some installers link files into their cache
                for folder in reversed(path.resolve().parents):
                    _grant(account, folder, _SEARCH)
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            _grant(account, path, _READ | (_SEARCH if executable else 0))


def _tree(top: Path) -> Iterator[Path]:
    yield top
    for folder, folders, files in os.walk(top):
        yield from (Path(folder, name) for name in [*folders, *files])


def _grant(account: Account, path: Path, wanted: int, own: bool = False) -> None:
    """Adds an ACL entry for the account to `path`, unless the permissions `wanted` are there already."""
    found = path.stat()
    mode = found.st_mode
    if mode & wanted == wanted or (found.st_uid == account.uid and (mode >> 6) & wanted == wanted):
        return
    if account.name != SERVER_ACCOUNT:
        # A person's account: whoever closed this folder did not mean to let that person in.
        raise EmbeddedServerError(
            f"{account.name}, who owns the home folder, may not enter {path}: run as {account.name} with an"
            " installation of their own, or set NEXUS_HOME or NEXUS_DATABASE_URL"
        )
    acl = _read_acl(path)
    held = acl.get((_USER, account.uid), 0)
    if held & acl.get((_MASK, _NO_ID), 7) & wanted == wanted:
        return
    # What the mask withheld until now must stay withheld when the mask grows.
    mask = acl.get((_MASK, _NO_ID), 7)
    acl = {key: perm & mask if key[0] in _GROUP_CLASS else perm for key, perm in acl.items()}
    acl[(_USER, account.uid)] = acl.get((_USER, account.uid), 0) | wanted
    try:
        _write_acl(path, acl)
    except OSError as error:
        if own and error.errno in (errno.ENOTSUP, errno.ENOSYS) and _has_group_of_its_own(account):
            os.chown(path, -1, account.gid)
            path.chmod(0o710)
            return
        raise EmbeddedServerError(
            f"the account {account.name}, which runs PostgreSQL for root, cannot be let into {path}"
            f" ({error.strerror}): set NEXUS_HOME to another place, run as an ordinary user, or set"
            " NEXUS_DATABASE_URL"
        ) from error


def _has_group_of_its_own(account: Account) -> bool:
    group = grp.getgrgid(account.gid)
    return group.gr_name == account.name and set(group.gr_mem) <= {account.name}


def _close(path: Path) -> None:
    """Takes all permissions from group and others; accounts that an ACL names keep theirs."""
    if not path.stat().st_mode & 0o077:
        return
    acl = _read_acl(path)
    if (_MASK, _NO_ID) not in acl:
        path.chmod(0o700)
        return
    acl[(_GROUP_OBJ, _NO_ID)] = acl[(_OTHER, _NO_ID)] = 0
    _write_acl(path, acl)


def _read_acl(path: Path) -> _Acl:
    """The ACL of `path` as {(tag, id): permissions}; made from its mode where it has none."""
    try:
        raw = os.getxattr(path, _ACL)
    except (OSError, AttributeError):  # none there, or a system without them
        mode = path.stat().st_mode
        return {
            (_USER_OBJ, _NO_ID): mode >> 6 & 7,
            (_GROUP_OBJ, _NO_ID): mode >> 3 & 7,
            (_OTHER, _NO_ID): mode & 7,
        }
    return {(tag, who): perm for tag, perm, who in struct.iter_unpack("<HHI", raw[4:])}


def _write_acl(path: Path, acl: _Acl) -> None:
    """Sets the ACL of `path`, with the mask that lets every entry of the group class have what it says."""
    if not hasattr(os, "setxattr"):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), str(path))
    mask = 0
    for (tag, _), perm in acl.items():
        mask |= perm if tag in _GROUP_CLASS else 0
    acl = {**acl, (_MASK, _NO_ID): mask}
    entries = b"".join(struct.pack("<HHI", tag, acl[tag, who], who) for tag, who in sorted(acl))
    os.setxattr(path, _ACL, struct.pack("<I", _ACL_VERSION) + entries)
