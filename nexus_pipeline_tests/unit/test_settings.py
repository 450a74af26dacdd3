"""The values that NEXUS_* variables accept, and the error for any other."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nexus_pipeline.errors import UserError
from nexus_pipeline.settings import Settings, load_settings
from nexus_pipeline_tests.support.commands import PROJECT

SECRET = "hidden-password"


def refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> str:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        load_settings()
    said = str(caught.value)
    assert said.startswith(f"{name}: ")
    assert "\n" not in said
    # The original error, which repeats the value, is not chained: a logged traceback shows only this line.
    assert caught.value.__suppress_context__
    return said


def test_every_setting_has_a_default() -> None:
    settings = load_settings()
    assert settings.database_url is None
    assert settings.dagster_database_url is None
    assert settings.home == Path(".nexus")
    assert (settings.batch_size, settings.lease_seconds, settings.max_attempts) == (500, 30, 5)
    assert (settings.pool_size, settings.max_runs) == (5, 2)
    assert (settings.retry_base_seconds, settings.retry_max_seconds) == (1.0, 300.0)
    assert settings.partitions_start is None


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [
        ("BATCH_SIZE", 1, 10_000),
        ("BATCHES_PER_RUN", 1, 500),
        ("SECONDS_PER_RUN", 1, 3_600),
        ("LEASE_SECONDS", 1, 43_200),
        ("MAX_ATTEMPTS", 1, 100),
        ("POOL_SIZE", 1, 5),
        ("MAX_RUNS", 1, 8),
        ("KEEP_RUNS_HOURS", 1, 8_760),
    ],
)
def test_an_integer_is_accepted_within_its_range_and_refused_by_name_outside(
    monkeypatch: pytest.MonkeyPatch, name: str, lowest: int, highest: int
) -> None:
    for value in (lowest, highest):
        monkeypatch.setenv(f"NEXUS_{name}", str(value))
        assert getattr(load_settings(), name.lower()) == value
    for wrong in (str(lowest - 1), str(highest + 1), "-1", "1.5", "many", "", "1e3x", "NaN"):
        refused(monkeypatch, f"NEXUS_{name}", wrong)


@pytest.mark.parametrize(("name", "highest"), [("RETRY_BASE_SECONDS", 3_600), ("RETRY_MAX_SECONDS", 86_400)])
def test_a_duration_is_positive_and_has_a_maximum(monkeypatch: pytest.MonkeyPatch, name: str, highest: int) -> None:
    for value in (0.001, highest):
        monkeypatch.setenv(f"NEXUS_{name}", str(value))
        assert getattr(load_settings(), name.lower()) == value
    for wrong in ("0", "-1", str(highest + 1), "nan", "inf", "soon"):
        refused(monkeypatch, f"NEXUS_{name}", wrong)


def test_the_postgres_version_is_one_that_the_package_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEXUS_POSTGRES_VERSION", raising=False)  # --postgres=embedded16 sets it
    assert load_settings().postgres_version == 18
    for version in (16, 18):
        monkeypatch.setenv("NEXUS_POSTGRES_VERSION", str(version))
        assert load_settings().postgres_version == version
    for wrong in ("17", "", "newest", "16.0", "-16"):
        refused(monkeypatch, "NEXUS_POSTGRES_VERSION", wrong)


def test_every_variable_is_a_field_with_a_description() -> None:
    fields = {f"NEXUS_{name.upper()}": field for name, field in Settings.model_fields.items()}
    sources = [*(PROJECT / "nexus_pipeline").rglob("*.py"), *(PROJECT / "docs").rglob("*.md"), PROJECT / "README.md"]
    named = {name for path in sources for name in re.findall(r"\bNEXUS_[A-Z][A-Z_]*[A-Z]\b", path.read_text())}
    assert named - {"NEXUS_CI_STRICT"} == set(fields)  # that one is for the CI script
    for name, field in fields.items():
        assert (field.description or "").endswith("."), name


def test_the_first_partition_needs_an_offset_and_is_converted_to_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_PARTITIONS_START", "2026-01-01T00:00:00+02:00")
    assert load_settings().partitions_start == datetime(2025, 12, 31, 22, tzinfo=UTC)
    assert "needs an offset" in refused(monkeypatch, "NEXUS_PARTITIONS_START", "2026-01-01T00:00:00")
    refused(monkeypatch, "NEXUS_PARTITIONS_START", "last year")


def test_an_empty_url_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_DATABASE_URL", "")
    monkeypatch.setenv("NEXUS_DAGSTER_DATABASE_URL", "")
    settings = load_settings()
    assert settings.database_url is None
    assert settings.dagster_database_url is None


def test_no_text_made_from_the_settings_contains_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXUS_DATABASE_URL", f"postgresql://me:{SECRET}@db/nexus")
    monkeypatch.setenv("NEXUS_DAGSTER_DATABASE_URL", f"postgresql://me:{SECRET}@db/dagster")
    settings = load_settings()
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == f"postgresql://me:{SECRET}@db/nexus"
    for text in (str(settings), repr(settings), settings.model_dump_json(), str(settings.model_dump()), f"{settings}"):
        assert SECRET not in text
    assert SECRET not in refused(monkeypatch, "NEXUS_BATCH_SIZE", "0")


def test_an_error_never_repeats_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    # It could be a password in the wrong variable.
    assert SECRET not in refused(monkeypatch, "NEXUS_MAX_RUNS", SECRET)


def test_settings_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().batch_size = 7
