"""Released migrations never change, and an upgraded database ends with the schema of a new one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from nexus_pipeline.database.connection import connect
from nexus_pipeline.database.migrations import migrate, schema_state
from nexus_pipeline.database.statements import sql_folder
from nexus_pipeline_tests.support.queues import send_signals, works
from nexus_pipeline_tests.support.schema import catalog_of
from nexus_pipeline_tests.support.versions import CHECKSUMS, checkout, git, last_release, migrate_with


def checksums(text: str) -> dict[str, str]:
    """The file names and SHA-256 sums of a CHECKSUMS file, which is in the format of sha256sum."""
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {name: checksum for checksum, name in lines}


def actual_checksums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.sql")}


def edited(folder: Path, released: dict[str, str]) -> list[str]:
    """The released migrations that are missing or differ."""
    actual = actual_checksums(folder)
    return sorted(name for name, checksum in released.items() if actual.get(name) != checksum)


def released_checksums() -> dict[str, str]:
    """CHECKSUMS of the last release; before the first release, nothing is frozen."""
    release = last_release()
    return checksums(git("show", f"{release}:{CHECKSUMS}").decode()) if release else {}


def test_every_migration_is_listed_with_its_checksum() -> None:
    folder = sql_folder() / "migrations"
    assert checksums((folder / "CHECKSUMS").read_text()) == actual_checksums(folder)


def test_no_released_migration_was_edited_or_removed() -> None:
    assert edited(sql_folder() / "migrations", released_checksums()) == []


def test_an_edit_and_a_removal_of_a_released_migration_are_noticed(tmp_path: Path) -> None:
    for name in ("0001.first.sql", "0002.second.sql", "0003.third.sql"):
        (tmp_path / name).write_text(f"CREATE TABLE {name[5:-4]} (a integer);\n")
    released = actual_checksums(tmp_path)
    (tmp_path / "0004.new.sql").write_text("CREATE TABLE new (a integer);\n")
    assert edited(tmp_path, released) == []
    with (tmp_path / "0002.second.sql").open("a") as file:
        file.write("-- another line\n")
    (tmp_path / "0003.third.sql").unlink()
    assert edited(tmp_path, released) == ["0002.second.sql", "0003.third.sql"]


@pytest.fixture(scope="module")
def released_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last release; before the first, the commit that last changed a migration."""
    commit = last_release() or git("log", "-1", "--format=%H", "--", CHECKSUMS).decode().strip()
    return checkout(commit, tmp_path_factory.mktemp("released"))


def test_an_upgrade_ends_with_the_schema_of_a_new_database_and_keeps_what_waits(
    conninfo: str, empty_database: str, released_version: Path
) -> None:
    migrate_with(released_version, empty_database)
    with connect(empty_database) as connection:
        connection.execute("SELECT nexus.serve_queue('mine')")
        waiting = send_signals(connection, 5)
    migrate(empty_database)
    with connect(conninfo) as connection:
        connection.execute("SELECT nexus.serve_queue('mine')")
    assert catalog_of(empty_database) == catalog_of(conninfo)
    with connect(empty_database) as connection:
        state = schema_state(connection)
        assert (state.pending, state.unknown, state.stale_functions) == ([], [], [])
    works(empty_database, waiting)
