"""A function file that changed reaches every database at its next `nexus migrate`, and one that is gone leaves it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus_pipeline.database.connection import Connection
from nexus_pipeline_tests.support.queues import MAIN_QUEUE, drain, one, send_signals, works
from nexus_pipeline_tests.support.schema import catalog_of
from nexus_pipeline_tests.support.versions import copy_of_this_version, migrate_with

SETTLE = "settle_workflow_main_queue"
ADDED_LINE = "    -- One more line, that a later version has."


@pytest.fixture
def later_version(tmp_path: Path) -> Path:
    """A copy of the code and SQL under test, to change."""
    return copy_of_this_version(tmp_path)


def body(connection: Connection, function: str) -> str:
    return str(one(connection, "SELECT prosrc FROM pg_proc WHERE oid = to_regproc(%s)", f"nexus.{function}"))


def test_a_changed_line_of_settling_reaches_an_existing_database_and_its_served_queues(
    conninfo: str, connection: Connection, later_version: Path
) -> None:
    connection.execute("SELECT nexus.serve_queue('mine')")
    file = later_version / "sql" / "functions" / "queues" / f"{SETTLE}.sql"
    text = file.read_text()
    assert text.count("AS $$\n") == 1
    file.write_text(text.replace("AS $$\n", f"AS $$\n{ADDED_LINE}\n"))
    assert ADDED_LINE not in body(connection, SETTLE) + body(connection, "settle_mine")

    assert migrate_with(later_version, conninfo)["functions"] == [f"queues/{SETTLE}.sql"]
    assert ADDED_LINE in body(connection, SETTLE)
    assert ADDED_LINE in body(connection, "settle_mine")
    assert "workflow_main_queue" not in body(connection, "settle_mine")
    for queue in (MAIN_QUEUE, "mine"):
        send_signals(connection, 3, queue=queue)
        assert drain(connection, queue=queue).completed == 3
    assert migrate_with(later_version, conninfo)["functions"] == []


def test_the_functions_of_a_removed_file_are_dropped_and_those_of_a_new_one_are_made(
    conninfo: str, connection: Connection, later_version: Path
) -> None:
    before = catalog_of(conninfo)
    file = later_version / "sql" / "functions" / "queues" / "another.sql"
    file.write_text(
        "CREATE OR REPLACE FUNCTION nexus.another(a integer) RETURNS integer LANGUAGE sql AS 'SELECT a';\n"
        "CREATE OR REPLACE FUNCTION nexus.another(a text) RETURNS text LANGUAGE sql AS 'SELECT a';\n"
    )
    assert migrate_with(later_version, conninfo)["functions"] == ["queues/another.sql"]
    assert one(connection, "SELECT nexus.another(1)") == 1
    assert not one(connection, "SELECT has_function_privilege('pg_monitor', 'nexus.another(text)', 'EXECUTE')")

    file.write_text("CREATE OR REPLACE FUNCTION nexus.another(a integer) RETURNS integer LANGUAGE sql AS 'SELECT 2';\n")
    migrate_with(later_version, conninfo)
    assert one(connection, "SELECT nexus.another(1)") == 2
    assert one(connection, "SELECT to_regprocedure('nexus.another(text)')") is None

    file.unlink()
    assert migrate_with(later_version, conninfo)["functions"] == ["queues/another.sql"]
    assert catalog_of(conninfo) == before


def test_a_function_that_returns_another_type_replaces_the_one_before(
    conninfo: str, connection: Connection, later_version: Path
) -> None:
    file = later_version / "sql" / "functions" / "queues" / "another.sql"
    for type_, expected in (("integer", 1), ("text", "1")):
        file.write_text(
            f"CREATE OR REPLACE FUNCTION nexus.another() RETURNS {type_} LANGUAGE sql AS 'SELECT 1::{type_}';\n"
        )
        migrate_with(later_version, conninfo)
        assert one(connection, "SELECT nexus.another()") == expected


def test_a_function_file_that_fails_changes_nothing(conninfo: str, later_version: Path) -> None:
    before = catalog_of(conninfo)
    folder = later_version / "sql" / "functions" / "queues"
    (folder / "aaa.sql").write_text("CREATE OR REPLACE FUNCTION nexus.aaa() RETURNS int LANGUAGE sql AS 'SELECT 1';\n")
    (folder / "zzz.sql").write_text("CREATE OR REPLACE FUNCTION nexus.zzz() RETURNS int LANGUAGE sql AS 'SELECT x';\n")
    with pytest.raises(AssertionError, match="zzz"):
        migrate_with(later_version, conninfo)
    assert catalog_of(conninfo) == before
    (folder / "zzz.sql").unlink()
    assert migrate_with(later_version, conninfo)["functions"] == ["queues/aaa.sql"]
    works(conninfo)


@pytest.mark.parametrize("change", ["removed", "another type"])
def test_what_a_user_built_on_a_function_stays_and_is_named_when_the_function_must_be_dropped(
    conninfo: str, connection: Connection, later_version: Path, change: str
) -> None:
    file = later_version / "sql" / "functions" / "queues" / "another.sql"
    file.write_text("CREATE OR REPLACE FUNCTION nexus.another() RETURNS integer LANGUAGE sql AS 'SELECT 1';\n")
    migrate_with(later_version, conninfo)
    connection.execute("CREATE VIEW public.mine AS SELECT nexus.another() AS number")
    before = catalog_of(conninfo)
    if change == "removed":
        file.unlink()
    else:
        file.write_text("CREATE OR REPLACE FUNCTION nexus.another() RETURNS text LANGUAGE sql AS 'SELECT $$1$$';\n")
    with pytest.raises(AssertionError, match=r"view mine depends on function nexus\.another"):
        migrate_with(later_version, conninfo)
    assert catalog_of(conninfo) == before
    connection.execute("DROP VIEW public.mine")
    assert migrate_with(later_version, conninfo)["functions"] == ["queues/another.sql"]
