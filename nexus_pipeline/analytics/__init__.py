"""Hourly aggregates and metrics out of the executions: right, also late; cheap to keep up to date; fast to backfill."""
