"""`nexus doctor`: finds faults, suggests corrections, and changes nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.local.doctor import Finding, _roles, examine
from nexus_pipeline.settings import Settings
from nexus_pipeline_tests.support.cli import Nexus, nexus_in
from nexus_pipeline_tests.support.commands import free_port


@pytest.fixture
def nexus(nexus_env: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Nexus:
    """The command in the test's databases."""
    return nexus_in(nexus_env, capsys, monkeypatch)


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def test_every_check_of_a_sound_installation_is_ok(nexus: Nexus) -> None:
    found = nexus("doctor", "--port", str(free_port()), "--json").json
    assert {each["check"]: each["state"] for each in found} == dict.fromkeys(
        ("folder", "disk", "port", "connection", "version", "schema", "pgmq", "roles", "privileges",
         "clock", "dagster"),
        "ok",
    )  # fmt: skip
    assert all(each["remedy"] is None for each in found)
    assert "privileges" in nexus("doctor").out


def test_every_finding_that_is_not_ok_has_a_remedy(settings: Settings, empty_database: str) -> None:
    broken = settings.model_copy(update={"database_url": SecretStr(empty_database), "home": Path("/proc/1/nexus")})
    findings = examine(broken)
    assert {finding.check for finding in findings if finding.state != "ok"} >= {"schema", "pgmq"}
    assert all(finding.remedy for finding in findings if finding.state != "ok")


def test_an_empty_database_is_reported_and_not_changed(settings: Settings, empty_database: str) -> None:
    found = by_check(examine(settings.model_copy(update={"database_url": SecretStr(empty_database)})))
    assert (found["schema"].state, found["schema"].remedy) == ("warn", "nexus migrate")
    assert found["pgmq"].state == "warn"
    with psycopg.connect(empty_database) as connection:
        schemas = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)' ORDER BY 1"
        ).fetchall()
    assert schemas == [("public",)]


def test_an_embedded_server_that_is_not_running_is_not_started(tmp_path: Path) -> None:
    home = tmp_path / "home"
    found = by_check(examine(Settings(home=home)))
    assert (found["server"].state, found["server"].remedy) == ("warn", "run nexus up")
    assert "connection" not in found
    assert not home.exists()


def test_a_server_that_does_not_answer_fails_without_showing_the_password(
    nexus: Nexus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXUS_DATABASE_URL", "postgresql://someone:geheim@127.0.0.1:1/nothing")
    ended = nexus("doctor")
    assert ended.code == 1
    assert ended.err == "nexus: 1 check failed: connection\n"
    assert "NEXUS_DATABASE_URL" in ended.out
    assert "geheim" not in ended.out


def test_a_newer_database_fails(settings: Settings, connection: Connection) -> None:
    connection.execute("INSERT INTO nexus.migrations (name) VALUES ('9999.future')")
    found = by_check(examine(settings))
    assert found["schema"].state == "fail"
    assert "9999.future" in found["schema"].detail


def test_a_pgmq_that_can_be_updated_is_a_warning_and_one_of_somebody_else_is_theirs(
    settings: Settings, connection: Connection
) -> None:
    connection.execute("UPDATE nexus.pgmq_installs SET version = '1.0.0'")
    as_sql = connection.execute("SELECT FROM pg_extension WHERE extname = 'pgmq'").fetchone() is None
    found = by_check(examine(settings))["pgmq"]
    assert (found.state, found.remedy) == (("warn", "nexus migrate") if as_sql else ("ok", None))
    connection.execute("DELETE FROM nexus.pgmq_installs")
    found = by_check(examine(settings))["pgmq"]
    assert (found.state, "somebody else" in found.detail) == ("ok", as_sql)


@pytest.fixture
def stranger(connection: Connection, conninfo: str) -> Iterator[str]:
    """The conninfo of a role that may do nothing but connect."""
    role = f"nexus_stranger_{uuid4().hex[:12]}"
    name = sql.Identifier(role)
    password = uuid4().hex
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(password)))
    try:
        yield make_conninfo(conninfo, user=role, password=password)
    finally:
        connection.execute(sql.SQL("DROP OWNED BY {}").format(name))
        connection.execute(sql.SQL("DROP ROLE {}").format(name))


def test_missing_privileges_fail_with_the_grants_that_add_them(
    settings: Settings, connection: Connection, stranger: str
) -> None:
    role = str(conninfo_to_dict(stranger)["user"])
    theirs = settings.model_copy(update={"database_url": SecretStr(stranger)})
    found = by_check(examine(theirs))
    assert found["schema"].state == "fail"
    assert f'TO "{role}"' in str(found["schema"].remedy)
    for privilege in ("USAGE ON SCHEMA nexus", "USAGE ON SCHEMA pgmq", "SELECT ON ALL TABLES IN SCHEMA nexus"):
        connection.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(privilege), sql.Identifier(role)))
    found = by_check(examine(theirs))
    assert found["privileges"].state == "fail"
    assert "INSERT ON TABLE" in found["privileges"].detail or "SELECT ON TABLE" in found["privileges"].detail
    for grant in str(found["privileges"].remedy).split("; "):
        connection.execute(grant)  # the remedy can be run as it is


def test_a_role_with_limited_privileges_is_named_instead_of_its_missing_privileges(
    settings: Settings, connection: Connection, stranger: str
) -> None:
    theirs = settings.model_copy(update={"database_url": SecretStr(stranger)})
    user = sql.Identifier(str(conninfo_to_dict(stranger)["user"]))
    for role in ("nexus_reader", "nexus_sender"):
        connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), user))
        found = by_check(examine(theirs))
        states = {check: found[check].state for check in ("schema", "pgmq", "roles", "privileges", "clock")}
        assert states == dict.fromkeys(states, "ok"), found
        assert f"those of {role}" in found["privileges"].detail
    connection.execute(sql.SQL("GRANT nexus_operator TO {}").format(user))
    assert "all required" in by_check(examine(theirs))["privileges"].detail


def test_missing_roles_are_a_warning_with_the_statements_that_create_them(connection: Connection) -> None:
    with connection.transaction(force_rollback=True):
        for role in ("nexus_sender", "nexus_strategy"):
            connection.execute(
                sql.SQL("ALTER ROLE {} RENAME TO {}").format(*map(sql.Identifier, (role, f"{role}_away")))
            )
        found = _roles(connection)
        assert (found.check, found.state) == ("roles", "warn")
        remedy = str(found.remedy)
        assert "CREATE ROLE nexus_reader" not in remedy
        statements = remedy.removeprefix("as an administrator: ").removesuffix("; then: nexus migrate")
        connection.execute(statements)  # type: ignore[call-overload]
        assert "no privileges in this database" in _roles(connection).detail


def test_a_role_created_after_the_migration_gets_its_privileges_from_migrate(
    nexus: Nexus, settings: Settings, connection: Connection
) -> None:
    connection.execute("REVOKE USAGE ON SCHEMA nexus FROM nexus_sender")
    found = by_check(examine(settings))["roles"]
    assert (found.state, found.remedy) == ("warn", "nexus migrate")
    assert nexus("migrate").code == 0
    assert by_check(examine(settings))["roles"].state == "ok"


def test_functions_that_differ_from_the_code_are_a_warning(settings: Settings, connection: Connection) -> None:
    connection.execute("UPDATE nexus.function_files SET hash = 'x' WHERE file = 'access.sql'")
    found = by_check(examine(settings))["schema"]
    assert (found.state, found.remedy) == ("warn", "nexus migrate")
    assert "access.sql" in found.detail


def test_a_role_that_may_not_set_up_an_empty_database_is_reported(
    settings: Settings, stranger: str, empty_database: str
) -> None:
    user = conninfo_to_dict(stranger)
    theirs = make_conninfo(empty_database, user=str(user["user"]), password=str(user["password"]))
    found = by_check(examine(settings.model_copy(update={"database_url": SecretStr(theirs)})))
    assert found["privileges"].state == "fail"
    assert "GRANT CREATE ON DATABASE" in str(found["privileges"].remedy)


def test_a_read_only_database_fails(settings: Settings, connection: Connection) -> None:
    database = sql.Identifier(connection.info.dbname)
    connection.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(database))
    assert by_check(examine(settings))["writes"].state == "fail"


def test_dagsters_database_is_looked_up_and_not_created(
    settings: Settings, connection: Connection, stranger: str
) -> None:
    alone = settings.model_copy(update={"dagster_database_url": None})
    found = by_check(examine(alone))["dagster"]
    assert (found.state, "first start creates it" in found.detail) == ("ok", True)
    theirs = alone.model_copy(update={"database_url": SecretStr(stranger)})
    found = by_check(examine(theirs))["dagster"]
    assert (found.state, "CREATE DATABASE" in str(found.remedy)) == ("fail", True)
    name = f"{connection.info.dbname[:55]}_dagster"
    assert connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone() is None
    wrong = settings.model_copy(update={"dagster_database_url": SecretStr("host geheim")})
    found = by_check(examine(wrong))["dagster"]
    assert (found.state, "geheim" in found.detail) == ("fail", False)


def test_a_taken_port_is_a_warning_unless_nexus_up_is_running(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        assert by_check(examine(settings, port=port))["port"].state == "warn"
        assert by_check(examine(settings, port=port, serving=True))["port"].state == "ok"


def test_a_folder_open_to_others_fails(settings: Settings) -> None:
    settings.home.mkdir()
    settings.home.chmod(0o777)
    assert by_check(examine(settings))["folder"].state == "fail"
    settings.home.chmod(0o700)
    assert by_check(examine(settings))["folder"].state == "ok"
    (settings.home / "postgres").mkdir()
    os.chmod(settings.home / "postgres", 0o755)
    found = by_check(examine(settings))["folder"]
    assert (found.state, "chmod" in str(found.remedy)) == ("fail", True)


@pytest.mark.parametrize(
    ("target", "remedy"),
    [("DATABASE {database}", 'ALTER DATABASE "{}" RESET statement_timeout'),
     ("ROLE CURRENT_USER IN DATABASE {database}", 'IN DATABASE "{}" RESET statement_timeout')],
)  # fmt: skip
def test_a_statement_timeout_is_a_warning_with_the_statement_that_resets_it(
    settings: Settings, connection: Connection, target: str, remedy: str
) -> None:
    database = connection.info.dbname
    connection.execute(f"ALTER {target.format(database=database)} SET statement_timeout = '60s'")
    connection.execute(f"ALTER DATABASE {database} SET default_transaction_isolation = 'serializable'")
    found = [each for each in examine(settings) if each.check == "session"]
    assert [(each.state, "statement_timeout is 60000" in each.detail) for each in found] == [("warn", True)]
    assert remedy.format(database) in str(found[0].remedy)
    connection.execute(str(found[0].remedy))
    assert by_check(examine(settings)).get("session") is None


def test_three_faults_are_three_findings_each_with_its_remedy(
    settings: Settings, connection: Connection, empty_database: str
) -> None:
    with psycopg.connect(empty_database, autocommit=True) as admin:
        admin.execute(
            "CREATE SCHEMA pgmq; CREATE FUNCTION pgmq.create(queue_name text) RETURNS void LANGUAGE sql AS ''"
        )
        for setting in ("statement_timeout = '1s'", "default_transaction_read_only = on"):
            admin.execute(f"ALTER DATABASE {admin.info.dbname} SET {setting}")
    found = examine(settings.model_copy(update={"database_url": SecretStr(empty_database)}))
    faults = {each.check: each for each in found if each.check in ("session", "writes", "pgmq")}
    assert {check: each.state for check, each in faults.items()} == {
        "session": "warn",
        "writes": "fail",
        "pgmq": "fail",
    }
    assert all(each.remedy for each in faults.values())
