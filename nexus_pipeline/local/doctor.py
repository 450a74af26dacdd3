"""The checks of `nexus doctor`: each reports what it found and, if it is not ok, how to correct it.

They check what differs between machines and pip does not enforce. They start, create and change nothing.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psycopg
from psycopg.conninfo import make_conninfo

from nexus_pipeline.database import connection as db
from nexus_pipeline.database.connection import Connection, connect
from nexus_pipeline.database.functions import role_states
from nexus_pipeline.database.migrations import schema_state
from nexus_pipeline.database.pgmq import is_old, pgmq_presence, recorded_pgmq
from nexus_pipeline.database.server import OLDEST_SERVER, Server, reset_statement, server_faults, server_of
from nexus_pipeline.database.session import is_pooled
from nexus_pipeline.database.statements import queries, rows_as
from nexus_pipeline.embedded import files as embedded_files
from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.embedded.accounts import trusted
from nexus_pipeline.errors import NexusError
from nexus_pipeline.local.processes import port_fault
from nexus_pipeline.settings import Settings

State = Literal["ok", "warn", "fail"]

_MAX_SKEW_SECONDS = 1.0
_ROUND_TRIPS = 5
_MAX_PRIVILEGES_SHOWN = 3
_LOW_DISK_GIB, _NO_DISK_GIB = 2, 0.25


@dataclass(frozen=True)
class Finding:
    """The result of a check: `ok`, `warn` (works, but needs attention) or `fail` (does not work until corrected)."""

    check: str
    state: State
    detail: str
    remedy: str | None = None


def examine(settings: Settings, *, port: int = 3000, serving: bool = False) -> list[Finding]:
    """Run all checks, in the order of their dependencies; `serving`: `nexus up` runs and may be using the port."""
    findings = [*_home(settings.home), _port(port, serving)]
    own = settings.database_url is None
    try:
        # Findings made before an error are kept.
        findings += _embedded(settings) if own else _server(settings, db.server_conninfo(settings))
    except NexusError as error:
        remedy = "nexus down, then nexus up" if own else "start the server, or correct or unset NEXUS_DATABASE_URL"
        findings.append(Finding("connection", "fail", str(error), remedy))
    return findings


def _home(home: Path) -> Iterator[Finding]:
    home = home.resolve()
    data = home / "postgres"
    if not home.exists():
        yield Finding("folder", "ok", f"{home} does not exist yet; the first start creates it")
    elif not home.is_dir() or not trusted(home):
        reason = "others can write in it, or it belongs to another user" if home.is_dir() else "it is not a folder"
        yield Finding("folder", "fail", f"{home} cannot be used: {reason}", "set NEXUS_HOME to a folder of your own")
    elif data.exists() and data.stat().st_mode & 0o077:
        closing = f"nexus down && chmod -R go-rwx {data} && nexus up"
        yield Finding("folder", "fail", f"other users have access to {data}", closing)
    else:
        yield Finding("folder", "ok", f"{home} is closed to other users")
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(existing).free / 2**30
    state: State = "fail" if free < _NO_DISK_GIB else "warn" if free < _LOW_DISK_GIB else "ok"
    remedy = None if state == "ok" else "free some space, or move NEXUS_HOME"
    yield Finding("disk", state, f"{free:,.1f} GiB free at {existing}", remedy)


def _port(port: int, serving: bool) -> Finding:
    fault = port_fault(port)
    if fault is None:
        return Finding("port", "ok", f"127.0.0.1:{port} is free for the Dagster UI")
    if serving:
        return Finding("port", "ok", f"{port} is in use, and nexus up is running")
    return Finding("port", "warn", f"127.0.0.1:{port} is not available: {fault}", "nexus up --port ANOTHER")


def _embedded(settings: Settings) -> Iterator[Finding]:
    """The embedded server, as far as it can be checked without starting it."""
    try:
        embedded_files.installation_folder(settings.postgres_version)
    except NexusError as error:
        yield Finding("server", "fail", str(error), "set NEXUS_DATABASE_URL to a server of your own")
        return
    info = embedded.find(settings.home)
    if info is None:
        detail = "the embedded server is not running, so the database was not checked"
        yield Finding("server", "warn", detail, "run nexus up")
        return
    yield Finding("server", "ok", f"embedded PostgreSQL {info.version}, process {info.pid}, in {info.data}")
    with connect(info.url) as connection:
        present = _row(connection, "other_database", name=db.EMBEDDED_DATABASE)["present"]
    if present:
        yield from _server(settings, embedded.database_url(info, db.EMBEDDED_DATABASE))
    else:
        yield Finding("connection", "warn", f"the database {db.EMBEDDED_DATABASE} does not exist yet", "run nexus up")


def _server(settings: Settings, conninfo: str) -> Iterator[Finding]:
    with connect(conninfo) as connection:
        yield from _database(connection, conninfo)
        yield _dagster_database(connection, settings, conninfo)


def _row(connection: Connection, statement: str, **parameters: Any) -> dict[str, Any]:
    """The row of a statement of doctor.sql that returns one."""
    return rows_as(dict, connection, getattr(queries("doctor"), statement), **parameters)[0]


def _database(connection: Connection, conninfo: str) -> Iterator[Finding]:
    """The database with the queues and executions: connection, version, settings, schema and clock."""
    server = server_of(connection)
    yield Finding("connection", "ok", f"{db.place(conninfo)} as {server.role}")
    faults = list(server_faults(server))
    yield from (Finding(fault.check, "fail", fault.detail, fault.remedy) for fault in faults)
    if server.version_number < OLDEST_SERVER:
        return
    yield Finding("version", "ok", f"PostgreSQL {server.version}")
    yield from _session(connection, server)
    try:
        yield from _installed(connection, server)
    except psycopg.Error as error:
        remedy = f"GRANT USAGE ON SCHEMA nexus, pgmq TO {db.quoted(server.role)}"
        yield Finding("schema", "fail", f"it cannot be read: {db.first_line(error)}", remedy)
    yield _clock(connection)


def _session(connection: Connection, server: Server) -> Iterator[Finding]:
    """What is between us and the server, and what it sets in a session that we cannot set otherwise."""
    pooled = is_pooled(connection)
    if pooled:
        yield Finding("pooler", "ok", "a pooler leads to the server; nothing is prepared or left in its sessions")
    for row in rows_as(dict, connection, queries("doctor").session_defaults, pooled=pooled):
        detail = f"{row['name']} is {row['value']}, which can cancel or fail statements of the product"
        yield Finding("session", "warn", detail, reset_statement(row["name"], row["source"], server))


def _installed(connection: Connection, server: Server) -> Iterator[Finding]:
    """What a migration installs: schema, pgmq, roles, and the privileges on them."""
    role, may = server.role, _row(connection, "rights")
    state = schema_state(connection)
    if state.unknown:
        newest = state.unknown[-1]
        yield Finding("schema", "fail", f"newer than this code: it has {newest}", "update the package nexus-pipeline")
    elif state.pending:
        yield Finding("schema", "warn", f"not applied yet: {', '.join(state.pending)}", "nexus migrate")
    elif state.stale_functions:
        yield Finding("schema", "warn", f"functions out of date: {', '.join(state.stale_functions)}", "nexus migrate")
    else:
        yield Finding("schema", "ok", f"up to date at {state.applied[-1]}")
    yield _pgmq(connection)
    if not state.pending:
        yield _roles(connection)
    missing = [row["missing"] for row in rows_as(dict, connection, queries("doctor").missing_privileges)]
    set_up = {f"DATABASE {db.quoted(server.database)}": may["may_create_schemas"]}
    set_up["SCHEMA public"] = may["may_create_tables"]
    denied = [f"CREATE ON {target}" for target, held in set_up.items() if not held]
    if missing and may["granted_role"] is not None:
        detail = f"{role} has those of {may['granted_role']}; processing needs those of nexus_operator"
        yield Finding("privileges", "ok", detail)
    elif missing:
        more = f" and {len(missing) - _MAX_PRIVILEGES_SHOWN} more" if len(missing) > _MAX_PRIVILEGES_SHOWN else ""
        detail = f"{role} lacks {'; '.join(missing[:_MAX_PRIVILEGES_SHOWN])}{more}"
        yield Finding("privileges", "fail", detail, _grants(missing[:_MAX_PRIVILEGES_SHOWN], role))
    elif state.pending and denied:
        yield Finding("privileges", "fail", f"{role} may not set up the schema", _grants(denied, role))
    else:
        yield Finding("privileges", "ok", f"{role} has all required privileges")


def _grants(privileges: list[str], role: str) -> str:
    return "; ".join(f"GRANT {privilege} TO {db.quoted(role)}" for privilege in privileges)


def _pgmq(connection: Connection) -> Finding:
    from pgmq.install import get_embedded_sql_version

    found = pgmq_presence(connection)
    extension = found["extension"]
    if extension is None and not found["installed"]:
        return Finding("pgmq", "warn", "not installed yet", "nexus migrate")
    if is_old(connection):
        detail = f"{extension or 'the version here'} is too old: 1.10 or newer is needed"
        return Finding("pgmq", "fail", detail, "ALTER EXTENSION pgmq UPDATE, or have whoever installed it update it")
    readable = _row(connection, "has_record")["readable"]
    if readable is False:
        return Finding("pgmq", "ok", "installed; this role may not read its version")
    recorded = recorded_pgmq(connection) if readable else None
    if extension is not None:
        version, newest, way = extension, found["on_offer"], "an extension"
    elif recorded is not None:
        version, newest, way = recorded.version, get_embedded_sql_version(), "installed as SQL"
    else:
        return Finding("pgmq", "ok", "installed by somebody else, version unknown")
    if version != newest:
        return Finding("pgmq", "warn", f"{version}; {newest} is available", "nexus migrate")
    return Finding("pgmq", "ok", f"{version}, {way}")


def _roles(connection: Connection) -> Finding:
    """The roles to grant to users; a migration creates them where it may."""
    roles = role_states(connection)
    missing = [role["name"] for role in roles if not role["present"]]
    if missing:
        statements = "; ".join(f"CREATE ROLE {name} NOLOGIN" for name in missing)
        detail = f"{', '.join(missing)} do not exist; only the owner of the schema has access"
        return Finding("roles", "warn", detail, f"as an administrator: {statements}; then: nexus migrate")
    without = [role["name"] for role in roles if not role["granted"]]
    if without:
        detail = f"{', '.join(without)} have no privileges in this database yet"
        return Finding("roles", "warn", detail, "nexus migrate")
    return Finding("roles", "ok", ", ".join(role["name"] for role in roles))


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
        return Finding("clock", "warn", detail, "synchronize both clocks by NTP: event times depend on them")
    return Finding("clock", "ok", detail)


def _dagster_database(connection: Connection, settings: Settings, conninfo: str) -> Finding:
    """Dagster's own storage: the configured database, or one that the first start creates."""
    if settings.dagster_database_url is not None:
        url = settings.dagster_database_url.get_secret_value()
        try:
            with connect(make_conninfo(url, connect_timeout=10)) as other:
                return Finding("dagster", "ok", f"its database answers at {db.place(other.info.dsn)}")
        except (NexusError, psycopg.ProgrammingError) as error:
            detail = str(error) if isinstance(error, NexusError) else "NEXUS_DAGSTER_DATABASE_URL is not a libpq URL"
            return Finding("dagster", "fail", detail, "correct or unset NEXUS_DAGSTER_DATABASE_URL")
    name = db.EMBEDDED_DAGSTER_DATABASE if settings.database_url is None else db.dagster_database(connection)
    other_database = _row(connection, "other_database", name=name)
    role = connection.info.user
    if not other_database["present"]:
        if other_database["may_create"]:
            return Finding("dagster", "ok", f"its database {name} does not exist yet; the first start creates it")
        remedy = f"CREATE DATABASE {db.quoted(name)} OWNER {db.quoted(role)}, or set NEXUS_DAGSTER_DATABASE_URL"
        return Finding("dagster", "fail", f"its database {name} is missing and {role} may not create it", remedy)
    try:
        with connect(make_conninfo(conninfo, dbname=name)):
            return Finding("dagster", "ok", f"its database {name} answers")
    except NexusError as error:
        return Finding(
            "dagster", "fail", str(error), f"GRANT CONNECT ON DATABASE {db.quoted(name)} TO {db.quoted(role)}"
        )
