"""Nexus Pipeline: trading signals on Dagster and PostgreSQL, nothing lost and nothing done twice."""

__version__ = "0.1.0"
