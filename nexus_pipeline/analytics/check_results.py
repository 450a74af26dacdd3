"""The newest results of the checks, for `nexus checks` and for CI."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import dagster as dg

from nexus_pipeline.analytics.checks import analytics_checks

Status = Literal["passed", "warned", "failed", "never run"]


@dataclass(frozen=True)
class CheckResult:
    """The newest result of a check that ended."""

    asset: str
    check: str
    status: Status
    description: str
    """What it found, in one line."""
    at: datetime | None
    """When, UTC."""


def latest_results(instance: dg.DagsterInstance) -> list[CheckResult]:
    """The newest result of each check, by asset and name."""
    keys = sorted(
        (key for each in analytics_checks for key in each.check_keys), key=lambda key: (key.asset_key, key.name)
    )
    return [_latest(instance, key) for key in keys]


def _latest(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> CheckResult:
    record = instance.get_latest_asset_check_evaluation_record(key)
    if record is not None and record.status.name == "PLANNED":
        # Its run is at work or was killed: the newest that ended is what counts.
        ended = set(type(record.status)) - {record.status}
        record = next(iter(instance.event_log_storage.get_asset_check_execution_history(key, 1, status=ended)), None)
    asset = key.asset_key.to_user_string()
    evaluation = record.evaluation if record else None
    if record is None or evaluation is None:
        return CheckResult(asset, key.name, "never run", "", None)
    status: Status = "passed"
    if not evaluation.passed:
        status = "warned" if evaluation.severity == dg.AssetCheckSeverity.WARN else "failed"
    at = datetime.fromtimestamp(record.create_timestamp, UTC)
    return CheckResult(asset, key.name, status, evaluation.description or "", at)
