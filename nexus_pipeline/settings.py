"""Every NEXUS_* variable: type, default, unit and range.

A value out of range is refused at start, by the name of its variable. `nexus` reads the environment only; Dagster's
commands also load the file `.env` of the working directory into it. The strings under the fields are their
descriptions in docs/reference/settings.md.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from nexus_pipeline.errors import UserError


def _number(value: object) -> object:
    """Convert digits to a number: `Literal` compares without converting."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


class Settings(BaseSettings):
    """The settings of a process, read from the environment when the object is created."""

    model_config = SettingsConfigDict(env_prefix="NEXUS_", frozen=True, use_attribute_docstrings=True)

    database_url: SecretStr | None = None
    """libpq URL of the database. Not set: the embedded server in NEXUS_HOME."""
    dagster_database_url: SecretStr | None = None
    """libpq URL of Dagster's storage. Not set: a second database on the same server, named `<database>_dagster`."""
    home: Path = Path(".nexus")
    """Folder of the embedded server, Dagster's files, logs and reports. Relative to the working directory."""
    batch_size: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Messages claimed together and settled together, at most."""
    batches_per_run: Annotated[int, Field(ge=1, le=500)] = 100
    """Batches of a processing run, at most. Each is a step."""
    seconds_per_run: Annotated[int, Field(ge=1, le=3_600)] = 60
    """Time after which a processing run claims no more."""
    lease_seconds: Annotated[int, Field(ge=1, le=43_200)] = 30
    """Visibility timeout of a claim. After it another worker may claim the message."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    """Attempts after which a message that fails is dead-lettered."""
    retry_base_seconds: Annotated[float, Field(gt=0, le=3_600)] = 1.0
    """Upper bound of the backoff before the first retry. It doubles with each attempt; the wait is random below it."""
    retry_max_seconds: Annotated[float, Field(gt=0, le=86_400)] = 300.0
    """Upper bound of the backoff before any retry."""
    postgres_version: Annotated[Literal[16, 18], BeforeValidator(_number)] = 18
    """Major version of a new data folder of the embedded server. An existing folder keeps its version."""
    pool_size: Annotated[int, Field(ge=1, le=5)] = 5
    """Connections of a process to the database, at most."""
    max_runs: Annotated[int, Field(ge=1, le=8)] = 2
    """Processing runs in progress, at most."""
    keep_runs_hours: Annotated[int, Field(ge=1, le=8_760)] = 24
    """Time after which ended processing runs are deleted from Dagster's storage."""
    partitions_start: datetime | None = None
    """First hourly partition, ISO 8601 with an offset, as in 2026-01-01T00:00:00Z. Not set: recorded in the database
    when it is first migrated, as 366 days before the first day of that year."""

    @field_validator("partitions_start")
    @classmethod
    def _with_offset(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("needs an offset, as in 2026-01-01T00:00:00+00:00")
        return value and value.astimezone(UTC)

    @field_validator("database_url", "dagster_database_url", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value


def load_settings() -> Settings:
    """Read the settings of this process.

    Raises:
        UserError: a variable is out of range; the text names it and never repeats its value.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = "NEXUS_" + "_".join(str(part) for part in first["loc"]).upper()
        raise UserError(f"{name}: {first['msg']}") from None
