"""Is everything as it must be? Each check says what it found and, where that is not well, how to mend it.

Nothing is started, made or changed: an embedded server that does not run is reported, not started.
"""

from __future__ import annotations

import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

import psycopg
from psycopg.conninfo import make_conninfo

from nexus_pipeline.database.connection import (
    EMBEDDED_DAGSTER_DATABASE,
    EMBEDDED_DATABASE,
    Connection,
    connect,
    first_line,
    place,
    server_conninfo,
)
from nexus_pipeline.database.migrations import OLDEST_SERVER, schema_state
from nexus_pipeline.database.statements import queries
from nexus_pipeline.embedded import files as embedded_files
from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.embedded.accounts import trusted
from nexus_pipeline.errors import NexusError
from nexus_pipeline.settings import Settings

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"

_OLDEST_PYTHON = (3, 11)
_SKEW_SECONDS = 1.0
_ROUND_TRIPS = 5
_GIB = 1 << 30
_LOW_DISK_BYTES = 2 * _GIB
_NO_DISK_BYTES = _GIB // 4


@dataclass(frozen=True)
class Finding:
    """What one check found: `ok`, `warn` (works, but look at it) or `fail` (does not work until mended)."""

    check: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str | None = None


def examine(settings: Settings, *, port: int = 3000, serving: bool = False) -> list[Finding]:
    """All checks, in the order in which things depend on each other.

    `port` is the one that Dagster's UI is to have on loopback; `serving` says that `nexus up` runs already, so
    that the port may be taken.
    """
    findings = [*_python(), *_packages(), *_home(settings.home), _port(port, serving)]
    if settings.database_url is None:
        return findings + list(_embedded(settings))
    try:
        conninfo = server_conninfo(settings)
        with connect(conninfo) as connection:
            findings += _database(connection, conninfo)
            findings.append(_dagster_database(connection, settings, conninfo))
    except NexusError as error:
        findings.append(
            Finding("connection", FAIL, str(error), "start the server, or correct or unset NEXUS_DATABASE_URL")
        )
    return findings


def _python() -> Iterator[Finding]:
    here = platform.python_version()
    if tuple(sys.version_info[:2]) >= _OLDEST_PYTHON:
        yield Finding("python", OK, f"Python {here}")
    else:
        yield Finding("python", FAIL, f"Python {here} is too old", "use Python 3.11 or newer")


def _packages() -> Iterator[Finding]:
    names = ("nexus-pipeline", "dagster", "dagster-webserver", "dagster-postgres", "sqlalchemy", "psycopg", "pgmq")
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            yield Finding("packages", FAIL, f"{name} is not installed", 'pip install "nexus-pipeline"')
    yield from package_faults(found)
    if len(found) == len(names):
        yield Finding("packages", OK, ", ".join(f"{name} {number}" for name, number in found.items()))


def package_faults(found: dict[str, str]) -> Iterator[Finding]:
    """What does not go together among installed packages, given as {name: version}."""
    dagster, webserver = found.get("dagster"), found.get("dagster-webserver")
    if dagster and webserver and dagster != webserver:
        yield Finding(
            "packages",
            FAIL,
            f"dagster {dagster} and dagster-webserver {webserver} must be of one version",
            f'pip install "dagster=={webserver}"',
        )
    numbers = found.get("sqlalchemy", "2.0").split(".")[:2]
    if tuple(int(part) for part in numbers) >= (2, 1):
        yield Finding(
            "packages",
            FAIL,
            f"dagster-postgres does not work with SQLAlchemy {found['sqlalchemy']}",
            'pip install "sqlalchemy<2.1"',
        )


def _home(home: Path) -> Iterator[Finding]:
    home = home.resolve()
    there = home
    while not there.exists():
        there = there.parent
    if not home.exists():
        yield Finding("folder", OK, f"{home} is not there yet; the first start makes it")
    elif not home.is_dir() or not trusted(home):
        reason = "others may write in it, or it is another user's" if home.is_dir() else "it is no folder"
        yield Finding("folder", FAIL, f"{home} cannot be used: {reason}", "set NEXUS_HOME to a folder of your own")
    else:
        data = home / "postgres"
        loose = data.exists() and data.stat().st_mode & 0o077
        if loose:
            yield Finding(
                "folder", FAIL, f"other users get into {data}", f"nexus down && chmod -R go-rwx {data} && nexus up"
            )
        else:
            yield Finding("folder", OK, f"{home} is closed to other users")
    free = shutil.disk_usage(there).free
    said = f"{free / _GIB:,.1f} GiB free at {there}"
    if free < _LOW_DISK_BYTES:
        yield Finding("disk", FAIL if free < _NO_DISK_BYTES else WARN, said, "free some space, or move NEXUS_HOME")
    else:
        yield Finding("disk", OK, said)


def _port(port: int, serving: bool) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if serving:
                return Finding("port", OK, f"{port} is in use, and nexus up runs")
            return Finding("port", WARN, f"127.0.0.1:{port} cannot be had: {error.strerror}", "nexus up --port ANOTHER")
    return Finding("port", OK, f"127.0.0.1:{port} is free for the Dagster UI")


def _embedded(settings: Settings) -> Iterator[Finding]:
    """The server out of the wheel, as far as it can be seen without starting it."""
    try:
        embedded_files.installation_folder(settings.postgres_version)
    except NexusError as error:
        yield Finding("server", FAIL, str(error), "set NEXUS_DATABASE_URL to a server of your own")
        return
    info = embedded.find(settings.home)
    if info is None:
        yield Finding(
            "server", WARN, "the embedded server is not started, so the database was not checked", "run nexus up"
        )
        return
    yield Finding("server", OK, f"embedded PostgreSQL {info.version}, process {info.pid}, in {info.data}")
    try:
        with connect(info.url) as connection:
            if not queries("doctor").other_database(connection, name=EMBEDDED_DATABASE)[0]:
                yield Finding("connection", WARN, f"the database {EMBEDDED_DATABASE} is not made yet", "run nexus up")
                return
            dagster = _dagster_database(connection, settings, info.url)
        url = embedded.database_url(info, EMBEDDED_DATABASE)
        with connect(url) as connection:
            yield from _database(connection, url)
        yield dagster
    except NexusError as error:
        yield Finding("connection", FAIL, str(error), "nexus down, then nexus up")


def _database(connection: Connection, conninfo: str) -> Iterator[Finding]:
    """The database that the work is done in."""
    named = queries("doctor")
    text, number, role, database, read_only, encoding = named.server(connection)
    yield Finding("connection", OK, f"{place(conninfo)} as {role}")
    if number < OLDEST_SERVER:
        yield Finding("version", FAIL, f"PostgreSQL {text} is too old", "use PostgreSQL 15 or newer")
        return
    yield Finding("version", OK, f"PostgreSQL {text}")
    if read_only:
        yield Finding("writes", FAIL, "the database takes no writes", "use the primary server, not a standby")
    if encoding != "UTF8":
        yield Finding("encoding", WARN, f"{database} is encoded in {encoding}", "make a database with ENCODING 'UTF8'")
    try:
        yield from _installed(connection, role, database)
    except psycopg.Error as error:
        yield Finding(
            "schema", FAIL, f"it cannot be read: {first_line(error)}", f"GRANT USAGE ON SCHEMA nexus, pgmq TO {role}"
        )
    yield _clock(connection)


def _installed(connection: Connection, role: str, database: str) -> Iterator[Finding]:
    state = schema_state(connection)
    if state.unknown:
        yield Finding(
            "schema", FAIL, f"newer than this code: it has {state.unknown[-1]}", "update the package nexus-pipeline"
        )
    elif state.pending:
        yield Finding("schema", WARN, f"not applied yet: {', '.join(state.pending)}", "nexus migrate")
    else:
        yield Finding("schema", OK, f"up to date at {state.applied[-1]}")
    yield _pgmq(connection)
    named = queries("doctor")
    schemas, tables = named.may_set_up(connection)
    missing = [row[0] for row in named.missing_privileges(connection)]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        yield Finding(
            "privileges",
            FAIL,
            f"{role} lacks {'; '.join(missing[:3])}{more}",
            "; ".join(f"GRANT {privilege} TO {role}" for privilege in missing[:3]),
        )
    elif state.pending and not (schemas and tables):
        grants = [] if schemas else [f"GRANT CREATE ON DATABASE {database} TO {role}"]
        grants += [] if tables else [f"GRANT CREATE ON SCHEMA public TO {role}"]
        yield Finding("privileges", FAIL, f"{role} may not set up the schema", "; ".join(grants))
    else:
        yield Finding("privileges", OK, f"{role} may do all that is needed")


def _pgmq(connection: Connection) -> Finding:
    from pgmq.install import get_embedded_sql_version

    extension, installed, on_offer = queries("schema").pgmq_presence(connection)
    readable = queries("doctor").has_record(connection)[0]
    recorded = queries("schema").recorded_pgmq(connection) if readable else None
    if extension is None and not installed:
        return Finding("pgmq", WARN, "not installed yet", "nexus migrate")
    if recorded is None:
        return Finding("pgmq", WARN, "installed, but its version is not recorded", "nexus migrate")
    here, method = recorded
    newest = on_offer if extension is not None else get_embedded_sql_version() if method == "sql" else here
    if (extension or here) != newest:
        return Finding("pgmq", WARN, f"{extension or here}; {newest} is on offer", "nexus migrate")
    return Finding("pgmq", OK, f"{extension or here}, {'an extension' if extension else 'installed as SQL'}")


def _clock(connection: Connection) -> Finding:
    """The difference of the two clocks, from the round trip that took least."""
    best: tuple[float, float] | None = None
    for _ in range(_ROUND_TRIPS):
        before = datetime.now(UTC)
        theirs: datetime = queries("doctor").clock(connection)[0]
        after = datetime.now(UTC)
        took = (after - before).total_seconds()
        ahead = (theirs - before).total_seconds() - took / 2
        best = min(best, (took, ahead)) if best is not None else (took, ahead)
    ahead = best[1] if best is not None else 0.0
    said = f"the server's clock is {abs(ahead):,.3f} s {'ahead of' if ahead >= 0 else 'behind'} this machine's"
    if abs(ahead) > _SKEW_SECONDS:
        return Finding("clock", WARN, said, "set both clocks by NTP: times of events would be compared wrongly")
    return Finding("clock", OK, said)


def _dagster_database(connection: Connection, settings: Settings, conninfo: str) -> Finding:
    """Dagster's own storage: named, or the second database that is made at the first start."""
    if settings.dagster_database_url is not None:
        url = settings.dagster_database_url.get_secret_value()
        try:
            with connect(make_conninfo(url, connect_timeout=10)) as other:
                return Finding("dagster", OK, f"its database answers at {place(other.info.dsn)}")
        except (NexusError, psycopg.ProgrammingError) as error:
            said = str(error) if isinstance(error, NexusError) else "NEXUS_DAGSTER_DATABASE_URL is no libpq URL"
            return Finding("dagster", FAIL, said, "correct or unset NEXUS_DAGSTER_DATABASE_URL")
    # As connection.dagster_conninfo calls it.
    of_its_own = f"{connection.info.dbname[:55]}_dagster"
    name = EMBEDDED_DAGSTER_DATABASE if settings.database_url is None else of_its_own
    there, may_make = queries("doctor").other_database(connection, name=name)
    role = connection.info.user
    if not there and may_make:
        return Finding("dagster", OK, f"its database {name} is not there yet; the first start makes it")
    if not there:
        return Finding(
            "dagster",
            FAIL,
            f"its database {name} is missing and {role} may not create it",
            f"CREATE DATABASE {name} OWNER {role}, or set NEXUS_DAGSTER_DATABASE_URL",
        )
    try:
        with connect(make_conninfo(conninfo, dbname=name)):
            return Finding("dagster", OK, f"its database {name} answers")
    except NexusError as error:
        return Finding("dagster", FAIL, str(error), f"GRANT CONNECT ON DATABASE {name} TO {role}")
