"""Metadata for each partition of a run."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from nexus_pipeline.dagster_instance.contract import Feature, usable


def add_partition_metadata(context: dg.AssetExecutionContext, metadata: Mapping[str, Mapping[str, Any]]) -> None:
    """Give each partition's materialization in this run its own metadata, which has none yet.

    `context.add_asset_metadata` copies everything added before and lists the run's partitions again in each call: for
    a year of hours that takes minutes. All partitions are therefore added at once.
    """
    if not usable(Feature.METADATA):
        for key, values in metadata.items():
            context.add_asset_metadata(values, partition_key=key)
        return
    from dagster._core.execution.context.metadata_logging import AssetMetadataHandle

    step = context.get_step_execution_context()
    accumulated = step._metadata_accumulator
    added = {AssetMetadataHandle(asset_key=context.asset_key, partition_key=key): metadata[key] for key in metadata}
    # The accumulator is immutable, and Dagster itself assigns a new one.
    step._metadata_accumulator = type(accumulated)(per_output_metadata={**accumulated.per_output_metadata, **added})
