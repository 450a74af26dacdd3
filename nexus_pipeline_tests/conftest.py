"""Fixtures for all tests: one server for a session, and for each test a database of its own."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.migrations import migrate
from nexus_pipeline.settings import Settings
from nexus_pipeline_tests.support import servers

_MARKED = ("integration", "acceptance", "migration")
HOUR_SECONDS = 3600
_NO_START_WITHIN_SECONDS = 45

hypothesis_settings.register_profile(
    "nexus",
    deadline=None,  # a database answers when it answers
    derandomize=os.environ.get("CI") == "true",
    suppress_health_check=[HealthCheck.too_slow],
)
hypothesis_settings.load_profile("nexus")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("nexus")
    group.addoption(
        "--postgres",
        choices=servers.KINDS,
        help="server to test on: embedded (PostgreSQL 18, the default), embedded16, or container;"
        " without it, the one that NEXUS_TEST_DATABASE_URL names, if it does",
    )
    group.addoption("--postgres-image", default="postgres:17", help="image for --postgres=container")


def pytest_configure(config: pytest.Config) -> None:
    # What the developer's own shell says must not reach the tests or the commands that they run.
    own = os.environ.get("NEXUS_TEST_DATABASE_URL")
    for name in [name for name in os.environ if name.startswith("NEXUS_")]:
        del os.environ[name]
    for name in ("PYTHONDONTWRITEBYTECODE", "DAGSTER_HOME"):
        os.environ.pop(name, None)
    if own:
        os.environ["NEXUS_TEST_DATABASE_URL"] = own  # for the workers of pytest-xdist
    if config.getoption("--postgres") == "embedded16":
        os.environ["NEXUS_POSTGRES_VERSION"] = "16"
    # A shell starts what it runs in the background with Ctrl-C ignored, and the commands under test would inherit that.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        room = item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
        if room in _MARKED:
            item.add_marker(room)


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of the server for a role that may create databases; each worker of pytest-xdist has a server."""
    kind = request.config.getoption("--postgres")
    own = None if kind else os.environ.get("NEXUS_TEST_DATABASE_URL")
    with servers.test_server(kind or "embedded", request.config.getoption("--postgres-image"), own) as url:
        yield url


@pytest.fixture(autouse=True)
def _hour_that_does_not_end(request: pytest.FixtureRequest) -> None:
    """Waits out the last seconds of an hour: a test that compares with the clock's hour must not begin in them."""
    left = HOUR_SECONDS - time.time() % HOUR_SECONDS
    if left < _NO_START_WITHIN_SECONDS and request.node.get_closest_marker("integration"):
        time.sleep(left)


@pytest.fixture(scope="session")
def template_database(server_url: str) -> Iterator[Callable[[], str]]:
    """Gives the name of a migrated database that nobody is connected to.

    It is made again when an hour has ended: a migrated database counts the hours that closed since.
    """
    with ExitStack() as databases:
        names: dict[int, str] = {}

        def template() -> str:
            hour = int(time.time() // HOUR_SECONDS)
            if hour not in names:
                name = f"nexus_template_{uuid4().hex[:12]}"
                migrate(databases.enter_context(servers.temporary_database(server_url, name)))
                names[hour] = name
            return names[hour]

        yield template


@pytest.fixture
def conninfo(server_url: str, template_database: Callable[[], str]) -> Iterator[str]:
    """The URL of a migrated database of the test's own."""
    with servers.temporary_database(server_url, f"nexus_test_{uuid4().hex[:12]}", template_database()) as url:
        yield url


@pytest.fixture
def empty_database(server_url: str) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    with servers.temporary_database(server_url, f"nexus_empty_{uuid4().hex[:12]}") as url:
        yield url


@pytest.fixture
def dagster_conninfo(server_url: str) -> Iterator[str]:
    """The URL of an empty database for Dagster's storage."""
    with servers.temporary_database(server_url, f"nexus_dagster_{uuid4().hex[:12]}") as url:
        yield url


@pytest.fixture
def connection(conninfo: str) -> Iterator[Connection]:
    """An autocommitting connection to the test's database."""
    with psycopg.connect(conninfo, autocommit=True) as opened:
        yield opened


@pytest.fixture
def settings(conninfo: str, dagster_conninfo: str, tmp_path: Path) -> Settings:
    """The settings of a process that works in the test's databases."""
    return Settings(
        database_url=SecretStr(conninfo), dagster_database_url=SecretStr(dagster_conninfo), home=tmp_path / "home"
    )


@pytest.fixture
def nexus_env(conninfo: str, dagster_conninfo: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a command that works in the test's databases; `nexus` and `dagster` are on its path."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "NEXUS_DATABASE_URL": conninfo,
        "NEXUS_DAGSTER_DATABASE_URL": dagster_conninfo,
        "NEXUS_HOME": str(tmp_path / "home"),
    }
