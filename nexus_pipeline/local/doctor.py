"""The checks of `nexus doctor`: each reports what it found and, if it is not ok, how to correct it.

They check what can differ between machines and pip does not enforce. They start, create and change nothing: an embedded
server that is not running is reported, not started.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import psycopg
from psycopg.conninfo import make_conninfo

from nexus_pipeline.database.connection import (
    EMBEDDED_DAGSTER_DATABASE,
    EMBEDDED_DATABASE,
    Connection,
    connect,
    dagster_database,
    first_line,
    place,
    server_conninfo,
)
from nexus_pipeline.database.functions import role_states
from nexus_pipeline.database.migrations import OLDEST_SERVER, schema_state
from nexus_pipeline.database.pgmq import pgmq_presence, recorded_pgmq
from nexus_pipeline.database.statements import queries, rows_as
from nexus_pipeline.embedded import files as embedded_files
from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.embedded.accounts import trusted
from nexus_pipeline.errors import NexusError
from nexus_pipeline.local.processes import port_fault
from nexus_pipeline.settings import Settings

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"

_MAX_SKEW_SECONDS = 1.0
_ROUND_TRIPS = 5
# Missing privileges listed in a finding.
_MAX_SHOWN = 3
_GIB = 1 << 30
_LOW_DISK_BYTES = 2 * _GIB
_NO_DISK_BYTES = _GIB // 4


@dataclass(frozen=True)
class Finding:
    """The result of a check: `ok`, `warn` (works, but needs attention) or `fail` (does not work until corrected)."""

    check: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str | None = None


def examine(settings: Settings, *, port: int = 3000, serving: bool = False) -> list[Finding]:
    """Run all checks, in the order of their dependencies; `serving`: `nexus up` runs and may be using the port."""
    findings = [*_home(settings.home), _port(port, serving)]
    if settings.database_url is None:
        return [*findings, *_embedded(settings)]
    try:
        conninfo = server_conninfo(settings)
        with connect(conninfo) as connection:
            findings += _database(connection, conninfo)
            findings.append(_dagster_database(connection, settings, conninfo))
    except NexusError as error:
        remedy = "start the server, or correct or unset NEXUS_DATABASE_URL"
        findings.append(Finding("connection", FAIL, str(error), remedy))
    return findings


def _home(home: Path) -> Iterator[Finding]:
    home = home.resolve()
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    data = home / "postgres"
    if not home.exists():
        yield Finding("folder", OK, f"{home} does not exist yet; the first start creates it")
    elif not home.is_dir() or not trusted(home):
        reason = "others can write in it, or it belongs to another user" if home.is_dir() else "it is not a folder"
        yield Finding("folder", FAIL, f"{home} cannot be used: {reason}", "set NEXUS_HOME to a folder of your own")
    elif data.exists() and data.stat().st_mode & 0o077:
        remedy = f"nexus down && chmod -R go-rwx {data} && nexus up"
        yield Finding("folder", FAIL, f"other users have access to {data}", remedy)
    else:
        yield Finding("folder", OK, f"{home} is closed to other users")
    free = shutil.disk_usage(existing).free
    detail = f"{free / _GIB:,.1f} GiB free at {existing}"
    if free < _LOW_DISK_BYTES:
        yield Finding("disk", FAIL if free < _NO_DISK_BYTES else WARN, detail, "free some space, or move NEXUS_HOME")
    else:
        yield Finding("disk", OK, detail)


def _port(port: int, serving: bool) -> Finding:
    fault = port_fault(port)
    if fault is None:
        return Finding("port", OK, f"127.0.0.1:{port} is free for the Dagster UI")
    if serving:
        return Finding("port", OK, f"{port} is in use, and nexus up is running")
    return Finding("port", WARN, f"127.0.0.1:{port} is not available: {fault}", "nexus up --port ANOTHER")


def _embedded(settings: Settings) -> Iterator[Finding]:
    """The embedded server, as far as it can be checked without starting it."""
    try:
        embedded_files.installation_folder(settings.postgres_version)
    except NexusError as error:
        yield Finding("server", FAIL, str(error), "set NEXUS_DATABASE_URL to a server of your own")
        return
    info = embedded.find(settings.home)
    if info is None:
        detail = "the embedded server is not running, so the database was not checked"
        yield Finding("server", WARN, detail, "run nexus up")
        return
    yield Finding("server", OK, f"embedded PostgreSQL {info.version}, process {info.pid}, in {info.data}")
    try:
        with connect(info.url) as connection:
            if not _row(connection, "other_database", name=EMBEDDED_DATABASE)["present"]:
                detail = f"the database {EMBEDDED_DATABASE} does not exist yet"
                yield Finding("connection", WARN, detail, "run nexus up")
                return
        url = embedded.database_url(info, EMBEDDED_DATABASE)
        with connect(url) as connection:
            yield from _database(connection, url)
            yield _dagster_database(connection, settings, url)
    except NexusError as error:
        yield Finding("connection", FAIL, str(error), "nexus down, then nexus up")


def _row(connection: Connection, statement: str, **parameters: Any) -> dict[str, Any]:
    """The row of a statement of doctor.sql that returns one."""
    return rows_as(dict, connection, getattr(queries("doctor"), statement), **parameters)[0]


def _database(connection: Connection, conninfo: str) -> Iterator[Finding]:
    """The database with the queues and executions."""
    server = _row(connection, "server")
    role = server["role"]
    yield Finding("connection", OK, f"{place(conninfo)} as {role}")
    if server["version_number"] < OLDEST_SERVER:
        yield Finding("version", FAIL, f"PostgreSQL {server['version']} is too old", "use PostgreSQL 15 or newer")
        return
    yield Finding("version", OK, f"PostgreSQL {server['version']}")
    if server["read_only"]:
        yield Finding("writes", FAIL, "the database is read-only", "use the primary server, not a standby")
    if server["encoding"] != "UTF8":
        detail = f"the encoding of {server['database']} is {server['encoding']}"
        yield Finding("encoding", WARN, detail, "create a database with ENCODING 'UTF8'")
    try:
        yield from _installed(connection, server)
    except psycopg.Error as error:
        remedy = f"GRANT USAGE ON SCHEMA nexus, pgmq TO {role}"
        yield Finding("schema", FAIL, f"it cannot be read: {first_line(error)}", remedy)
    yield _clock(connection)


def _installed(connection: Connection, server: dict[str, Any]) -> Iterator[Finding]:
    """What a migration installs: schema, pgmq, roles, and the privileges on them."""
    role = server["role"]
    state = schema_state(connection)
    if state.unknown:
        yield Finding(
            "schema", FAIL, f"newer than this code: it has {state.unknown[-1]}", "update the package nexus-pipeline"
        )
    elif state.pending:
        yield Finding("schema", WARN, f"not applied yet: {', '.join(state.pending)}", "nexus migrate")
    elif state.stale_functions:
        yield Finding("schema", WARN, f"functions out of date: {', '.join(state.stale_functions)}", "nexus migrate")
    else:
        yield Finding("schema", OK, f"up to date at {state.applied[-1]}")
    yield _pgmq(connection)
    if not state.pending:
        yield _roles(connection)
    missing = [row["missing"] for row in rows_as(dict, connection, queries("doctor").missing_privileges)]
    set_up = {f"CREATE ON DATABASE {server['database']}": server["may_create_schemas"]}
    set_up["CREATE ON SCHEMA public"] = server["may_create_tables"]
    if missing and server["granted_role"] is not None:
        detail = f"{role} has those of {server['granted_role']}; processing needs those of nexus_operator"
        yield Finding("privileges", OK, detail)
    elif missing:
        more = f" and {len(missing) - _MAX_SHOWN} more" if len(missing) > _MAX_SHOWN else ""
        detail = f"{role} lacks {'; '.join(missing[:_MAX_SHOWN])}{more}"
        yield Finding("privileges", FAIL, detail, _grants(missing[:_MAX_SHOWN], role))
    elif state.pending and not all(set_up.values()):
        denied = [privilege for privilege, held in set_up.items() if not held]
        yield Finding("privileges", FAIL, f"{role} may not set up the schema", _grants(denied, role))
    else:
        yield Finding("privileges", OK, f"{role} has all required privileges")


def _grants(privileges: list[str], role: str) -> str:
    return "; ".join(f"GRANT {privilege} TO {role}" for privilege in privileges)


def _pgmq(connection: Connection) -> Finding:
    from pgmq.install import get_embedded_sql_version

    found = pgmq_presence(connection)
    extension = found["extension"]
    if extension is None and not found["installed"]:
        return Finding("pgmq", WARN, "not installed yet", "nexus migrate")
    readable = _row(connection, "has_record")["readable"]
    if readable is False:
        return Finding("pgmq", OK, "installed; this role may not read its version")
    recorded = recorded_pgmq(connection) if readable else None
    if recorded is None:
        return Finding("pgmq", WARN, "installed, but its version is not recorded", "nexus migrate")
    version = newest = extension or recorded.version
    if extension is not None:
        newest = found["on_offer"]
    elif recorded.method == "sql":
        newest = get_embedded_sql_version()
    if version != newest:
        return Finding("pgmq", WARN, f"{version}; {newest} is available", "nexus migrate")
    return Finding("pgmq", OK, f"{version}, {'an extension' if extension else 'installed as SQL'}")


def _roles(connection: Connection) -> Finding:
    """The roles to grant to users; a migration creates them where it may."""
    roles = role_states(connection)
    missing = [role["name"] for role in roles if not role["present"]]
    if missing:
        statements = "; ".join(f"CREATE ROLE {name} NOLOGIN" for name in missing)
        detail = f"{', '.join(missing)} do not exist; only the owner of the schema has access"
        return Finding("roles", WARN, detail, f"as an administrator: {statements}; then: nexus migrate")
    without = [role["name"] for role in roles if not role["granted"]]
    if without:
        return Finding("roles", WARN, f"{', '.join(without)} have no privileges in this database yet", "nexus migrate")
    return Finding("roles", OK, ", ".join(role["name"] for role in roles))


def _clock(connection: Connection) -> Finding:
    """The difference of the two clocks, measured in the shortest of several round trips."""
    measured = []
    for _ in range(_ROUND_TRIPS):
        before = datetime.now(UTC)
        server = _row(connection, "clock")["now"]
        round_trip = (datetime.now(UTC) - before).total_seconds()
        measured.append((round_trip, (server - before).total_seconds() - round_trip / 2))
    ahead = min(measured)[1]
    detail = f"the server's clock is {abs(ahead):,.3f} s {'ahead of' if ahead >= 0 else 'behind'} this machine's"
    if abs(ahead) > _MAX_SKEW_SECONDS:
        return Finding("clock", WARN, detail, "synchronize both clocks by NTP: event times depend on them")
    return Finding("clock", OK, detail)


def _dagster_database(connection: Connection, settings: Settings, conninfo: str) -> Finding:
    """Dagster's own storage: the configured database, or one that the first start creates."""
    if settings.dagster_database_url is not None:
        url = settings.dagster_database_url.get_secret_value()
        try:
            with connect(make_conninfo(url, connect_timeout=10)) as other:
                return Finding("dagster", OK, f"its database answers at {place(other.info.dsn)}")
        except (NexusError, psycopg.ProgrammingError) as error:
            detail = str(error) if isinstance(error, NexusError) else "NEXUS_DAGSTER_DATABASE_URL is not a libpq URL"
            return Finding("dagster", FAIL, detail, "correct or unset NEXUS_DAGSTER_DATABASE_URL")
    name = EMBEDDED_DAGSTER_DATABASE if settings.database_url is None else dagster_database(connection)
    other_database = _row(connection, "other_database", name=name)
    role = connection.info.user
    if not other_database["present"]:
        if other_database["may_create"]:
            return Finding("dagster", OK, f"its database {name} does not exist yet; the first start creates it")
        remedy = f"CREATE DATABASE {name} OWNER {role}, or set NEXUS_DAGSTER_DATABASE_URL"
        return Finding("dagster", FAIL, f"its database {name} is missing and {role} may not create it", remedy)
    try:
        with connect(make_conninfo(conninfo, dbname=name)):
            return Finding("dagster", OK, f"its database {name} answers")
    except NexusError as error:
        return Finding("dagster", FAIL, str(error), f"GRANT CONNECT ON DATABASE {name} TO {role}")
