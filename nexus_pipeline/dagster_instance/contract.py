"""Every name of Dagster's internals that this package relies on: undocumented, so any release may change it.

When one is missing, or its signature has changed, the feature built on it is switched off, and one warning says why.
"""

import inspect
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pkgutil import resolve_name
from typing import Any

import dagster as dg

_log = logging.getLogger(__name__)


class Feature(StrEnum):
    """What is built on Dagster's internals; the value completes the sentence "... takes over"."""

    STORAGE = "the stock PostgreSQL storage"
    METADATA = "add_asset_metadata for one partition at a time"


@dataclass(frozen=True)
class Name:
    """A name, and the signature relied on."""

    path: str
    """Module and object, as in `dagster:DagsterEvent.asset_key`."""
    parameters: tuple[str, ...] | None = None
    """The parameters that are passed, or those of a method that is overridden; None: it is not called."""
    overridden: bool = False
    """A subclass of ours overrides this method. Dagster calls it: a new parameter breaks it, even an optional one."""


_CONSTRUCTOR = ("postgres_url", "should_autocreate_tables")
_EVENT = ("self", "event", "event_id")
_FOR_WEBSERVER = ("self", "statement_timeout", "pool_recycle", "max_overflow")

CONTRACT: Mapping[Feature, tuple[Name, ...]] = {
    Feature.STORAGE: (
        # engine.py, storage.py
        Name("dagster_postgres.utils:create_pg_connection", ("engine",)),
        Name("dagster_postgres:PostgresRunStorage", _CONSTRUCTOR),
        Name("dagster_postgres:PostgresRunStorage.connect", ("self",), overridden=True),
        Name("dagster_postgres:PostgresRunStorage.optimize_for_webserver", _FOR_WEBSERVER, overridden=True),
        Name("dagster_postgres:PostgresScheduleStorage", _CONSTRUCTOR),
        Name("dagster_postgres:PostgresScheduleStorage.connect", ("self", "run_id"), overridden=True),
        Name("dagster_postgres:PostgresScheduleStorage.optimize_for_webserver", _FOR_WEBSERVER, overridden=True),
        Name("dagster_postgres:PostgresEventLogStorage", _CONSTRUCTOR),
        Name("dagster_postgres:PostgresEventLogStorage._connect", ("self",), overridden=True),
        Name("dagster_postgres:PostgresEventLogStorage.optimize_for_webserver", _FOR_WEBSERVER, overridden=True),
        # events.py
        Name("dagster_postgres:PostgresEventLogStorage.store_event_batch", ("self", "events"), overridden=True),
        Name("dagster_postgres:PostgresEventLogStorage.prepare_insert_event_batch", ("self", "events")),
        Name("dagster_postgres:PostgresEventLogStorage.run_connection", ("self",)),
        Name("dagster_postgres:PostgresEventLogStorage.store_asset_event", _EVENT),
        Name("dagster_postgres:PostgresEventLogStorage.store_asset_check_event", _EVENT, overridden=True),
        Name("dagster:DagsterEvent.asset_check_planned_data"),
        Name(
            "dagster._core.definitions.asset_checks.asset_check_evaluation:AssetCheckEvaluationPlanned",
            ("asset_key", "check_name", "partitions_subset"),
        ),
        Name("dagster:DagsterEvent._replace"),
        Name("dagster:EventLogEntry._replace"),
    ),
    Feature.METADATA: (
        Name("dagster:AssetExecutionContext.get_step_execution_context", ("self",)),
        Name("dagster._core.execution.context.system:StepExecutionContext._metadata_accumulator"),
        Name("dagster._core.execution.context.metadata_logging:OutputMetadataAccumulator", ("per_output_metadata",)),
        Name("dagster._core.execution.context.metadata_logging:AssetMetadataHandle", ("asset_key", "partition_key")),
    ),
}


@cache
def usable(feature: Feature) -> bool:
    """Whether all names of a feature are as expected; if not, one warning names those that are not."""
    broken = list(problems(feature))
    if broken:
        _log.warning("Dagster %s: %s takes over, because %s", dg.__version__, feature, "; ".join(broken))
    return not broken


def problems(feature: Feature) -> Iterator[str]:
    """What is wrong with the names of a feature, a phrase for each."""
    for name in CONTRACT[feature]:
        if not _exists(name.path):
            yield f"{name.path} is missing"
        elif name.parameters is not None:
            signature = _signature(resolve_name(name.path))
            if not _accepts(name, signature.parameters):
                yield f"the signature of {name.path} is {signature}"


def _exists(path: str) -> bool:
    try:
        resolve_name(path)
    except ImportError:
        return False
    except AttributeError:
        # An attribute of instances is known by the constructor that assigns it.
        owner, _, attribute = path.rpartition(".")
        constructor = getattr(resolve_name(owner), "__init__", None) if ":" in owner and _exists(owner) else None
        return attribute in getattr(getattr(constructor, "__code__", None), "co_names", ())
    return True


def _signature(found: Any) -> inspect.Signature:
    # Dagster's records build their constructor at the first call; it takes their fields.
    if hasattr(found, "_fields"):
        return inspect.Signature([inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY) for each in found._fields])
    return inspect.signature(found)


def _accepts(name: Name, parameters: Mapping[str, inspect.Parameter]) -> bool:
    expected = name.parameters or ()
    if name.overridden:
        return tuple(parameters) == expected
    others = [parameter for each, parameter in parameters.items() if each not in expected]
    return parameters.keys() >= set(expected) and all(each.default is not each.empty for each in others)
