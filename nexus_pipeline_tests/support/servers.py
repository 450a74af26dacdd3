"""The PostgreSQL that the tests run on: embedded, in a container, or one of the user's own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

from nexus_pipeline.embedded import server as embedded

KINDS = ("embedded", "embedded16", "container")


@contextmanager
def test_server(kind: str, image: str, url_of_own: str | None) -> Iterator[str]:
    """The URL of a running server, for a role that may create databases; what was started is stopped at the end."""
    if url_of_own:
        yield url_of_own
    elif kind == "container":
        with _container(image) as url:
            yield url
    else:
        with embedded_server(durable=False) as (info, _):
            yield info.url


@contextmanager
def embedded_server(*, durable: bool) -> Iterator[tuple[embedded.ServerInfo, Path]]:
    """An embedded server in a temporary folder, and its home; `durable` for those that are killed on purpose."""
    folder = Path(tempfile.mkdtemp(prefix="nexus-", dir="/tmp"))
    home = folder / "home"
    try:
        info = embedded.start(home)
        if not durable:
            _trade_durability_for_speed(info.url)
        yield info, home
    finally:
        if home.is_dir():
            embedded.stop(home)
        shutil.rmtree(folder)


@contextmanager
def _container(image: str) -> Iterator[str]:
    # Its helper that removes forgotten containers is another image; ours is removed below.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.community.postgres import PostgresContainer

    with PostgresContainer(image, driver=None) as container:
        url = container.get_connection_url()
        _trade_durability_for_speed(url)
        yield url


def _trade_durability_for_speed(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes"):
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
        connection.execute("SELECT pg_reload_conf()")


def database_url(server_url: str, database: str) -> str:
    """The URL of another database of the same server."""
    return urlsplit(server_url)._replace(path="/" + quote(database, safe="")).geturl()


def role_url(url: str, role: str, password: str) -> str:
    """The same place for another role."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{quote(role)}:{quote(password)}@{place}").geturl()


@contextmanager
def temporary_database(
    server_url: str, name: str, template: str = "template0", owner: str | None = None
) -> Iterator[str]:
    """The URL of a new database, which is dropped at the end whoever is still in it."""
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    if template == "template0":
        create += sql.SQL(" ENCODING 'UTF8'")
    if owner is not None:
        create += sql.SQL(" OWNER {}").format(sql.Identifier(owner))
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(create)
    try:
        yield database_url(server_url, name)
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
