"""Nexus Pipeline: trading signals on Dagster and PostgreSQL, nothing lost and nothing done twice."""

__version__ = "0.1.0"

import warnings

# Dagster warns at every start, of the command as well, that these parameters may still change. We use them on purpose.
warnings.filterwarnings("ignore", message=r"Parameter `(backfill_policy|owners)` of ")
