"""Metadata for each partition of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.execution.context.metadata_logging import AssetMetadataHandle, OutputMetadataAccumulator

# Up to this many partitions, the public method costs little.
_FEW_PARTITIONS = 24


def add_partition_metadata(context: dg.AssetExecutionContext, metadata: Mapping[str, Mapping[str, Any]]) -> None:
    """Give each partition's materialization in this run its own metadata, by partition key.

    `context.add_asset_metadata` copies everything added before and lists the run's partitions again in each call: for
    a year of hours that takes minutes. Many partitions are therefore added at once.
    """
    if len(metadata) <= _FEW_PARTITIONS:
        for key, values in metadata.items():
            context.add_asset_metadata(values, partition_key=key)
        return
    step = context.op_execution_context._step_execution_context
    added = dict(step._metadata_accumulator.per_output_metadata)
    for key, values in metadata.items():
        added[AssetMetadataHandle(asset_key=context.asset_key, partition_key=key)] = values
    step._metadata_accumulator = OutputMetadataAccumulator(per_output_metadata=added)
