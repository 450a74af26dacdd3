"""Hourly tables, rebuilt from the executions: right with late data, cheap to keep up to date, fast to backfill."""
