"""Where the hours start: recorded when a database is first migrated, and never moved by the clock."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import pytest

from nexus_pipeline.analytics import start
from nexus_pipeline.analytics.start import default_start, partitions_start
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.migrations import migrate
from nexus_pipeline.settings import Settings
from nexus_pipeline_tests.support.commands import PROJECT

LAST_YEAR = default_start(datetime(datetime.now(UTC).year - 1, 6, 1, tzinfo=UTC))
FIRST_KEY = "from nexus_pipeline.analytics.partitions import hourly; print(hourly.get_first_partition_key())"


class NextYear(datetime):
    """A clock that is a year ahead."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:
        return datetime.now(UTC).replace(year=datetime.now(UTC).year + 1, day=1)


@pytest.fixture(autouse=True)
def _read_again() -> None:
    partitions_start.cache_clear()


def record(connection: Connection, moment: datetime) -> None:
    connection.execute("UPDATE nexus.installation SET partitions_start = %s", (moment,))


def first_key(env: dict[str, str]) -> str:
    """The first partition of the definitions, as a process of its own loads them."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_KEY], env=env, cwd=PROJECT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_a_migrated_database_records_the_default_of_that_day(settings: Settings) -> None:
    assert partitions_start(settings) == default_start(datetime.now(UTC))


def test_a_database_migrated_last_year_keeps_its_start(
    settings: Settings, connection: Connection, conninfo: str, nexus_env: dict[str, str]
) -> None:
    record(connection, LAST_YEAR)
    migrate(conninfo)
    assert partitions_start(settings) == LAST_YEAR
    assert first_key(nexus_env) == f"{LAST_YEAR:%Y-%m-%d-%H:%M}"


def test_a_moved_clock_changes_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = partitions_start(settings)
    partitions_start.cache_clear()
    monkeypatch.setattr(start, "datetime", NextYear)
    assert partitions_start(settings) == recorded


def test_the_variable_takes_precedence(settings: Settings, nexus_env: dict[str, str]) -> None:
    chosen = datetime(2020, 2, 3, 4, tzinfo=UTC)
    assert partitions_start(settings.model_copy(update={"partitions_start": chosen})) == chosen
    assert first_key({**nexus_env, "NEXUS_PARTITIONS_START": chosen.isoformat()}) == "2020-02-03-04:00"


def test_before_the_first_migration_it_is_what_a_migration_would_record(empty_database: str) -> None:
    settings = Settings.model_validate({"database_url": empty_database})
    assert partitions_start(settings) == default_start(datetime.now(UTC))


def test_definitions_load_without_a_database_and_the_log_has_no_secret(nexus_env: dict[str, str]) -> None:
    env = {**nexus_env, "NEXUS_DATABASE_URL": "postgresql://nobody:geheim@127.0.0.1:1/nothing"}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_KEY], env=env, cwd=PROJECT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{default_start(datetime.now(UTC)):%Y-%m-%d-%H:%M}"
    assert "the database does not answer" in done.stderr
    assert "geheim" not in done.stderr
