"""The product with one more hourly table, added as a developer would: a record and its statements.

Import it only in a process of its own: it has to be imported before the rest of the analytics.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

import aiosql
import dagster as dg
import psycopg

from nexus_pipeline.analytics import tables

STATEMENTS = aiosql.from_str(
    """
-- name: insert(start, before)!
INSERT INTO public.hourly_failures (hour, symbol, failures)
SELECT nexus.hour_of(e.created_at), e.symbol, count(*) FROM public.workflow_executions e
 WHERE e.created_at >= :start AND e.created_at < :before AND e.status = 'error' GROUP BY 1, 2;

-- name: summarize(start, before)
SELECT h.hour, count(f.hour) AS rows, coalesce(sum(f.failures), 0)::bigint AS failures,
       array_agg(json_build_object('symbol', f.symbol, 'failures', f.failures) ORDER BY f.symbol)
           FILTER (WHERE f.hour IS NOT NULL) AS preview, 0 AS more
  FROM generate_series(:start::timestamptz, :before::timestamptz - interval '1 hour', interval '1 hour') h (hour)
  LEFT JOIN public.hourly_failures f ON f.hour = h.hour GROUP BY h.hour;

-- name: reconcile(start, before)^
WITH expected AS (
    SELECT count(*) AS n FROM public.workflow_executions e
     WHERE e.created_at >= :start AND e.created_at < :before AND e.status = 'error'
), actual AS (
    SELECT coalesce(sum(f.failures), 0)::bigint AS n FROM public.hourly_failures f
     WHERE f.hour >= :start AND f.hour < :before
)
SELECT 1 AS groups, x.n AS expected, a.n AS actual, (x.n <> a.n)::int AS different, 0 AS stale_hours,
       NULL::jsonb AS examples
  FROM expected x, actual a;
""",
    "psycopg",
)


class _Table(tables.HourlyTable):
    @property
    def statements(self) -> Any:
        return STATEMENTS


FAILURES = _Table(
    name="hourly_failures",
    description="Failures by processing hour and symbol.",
    basis="processing",
    hour_column="hour",
    key=("hour", "symbol"),
    columns=(
        tables.Column("hour", "timestamp with time zone", "start of the processing hour, UTC"),
        tables.Column("symbol", "text", "the symbol"),
        tables.Column("failures", "bigint", "dead letters"),
    ),
    job=tables.METRICS_JOB,
    in_daily_report=False,
)
tables.TABLES = (*tables.TABLES, FAILURES)

from nexus_pipeline.analytics.backfill import run_backfill, tables_of_choice  # noqa: E402
from nexus_pipeline.analytics.checks import reconcile  # noqa: E402
from nexus_pipeline.analytics.hours import DAY, HOUR, Window, hour_of  # noqa: E402
from nexus_pipeline.analytics.sensors import stale_hours_sensor  # noqa: E402
from nexus_pipeline.dagster_instance.resources import NexusDatabase  # noqa: E402
from nexus_pipeline.definitions import defs  # noqa: E402
from nexus_pipeline_tests.support.analytics import execution, stale  # noqa: E402

SCHEMA = """
CREATE TABLE public.hourly_failures (
    hour timestamptz, symbol text, failures bigint NOT NULL, PRIMARY KEY (hour, symbol));
INSERT INTO nexus.hourly_tables (name, basis, hour_column) VALUES ('hourly_failures', 'processing', 'hour');
"""


def exercise(url: str) -> None:
    """Has the table follow late data, heals it, checks and backfills it; prints what happened as JSON."""
    noon = hour_of(datetime.now(UTC)).replace(hour=0) - 2 * DAY + 12 * HOUR
    found: dict[str, Any] = {}
    with psycopg.connect(url, autocommit=True) as connection, dg.DagsterInstance.ephemeral() as instance:
        connection.execute(SCHEMA)
        connection.execute("UPDATE nexus.installation SET closed_until = nexus.hour_of(now())")
        for symbol in ("A", "A", "B"):
            execution(connection, noon, status="error", symbol=symbol)
        found["stale"] = stale(connection, FAILURES.name) == {noon}

        context = dg.build_sensor_context(instance=instance, definitions=defs, resources={"nexus": NexusDatabase()})
        (request,) = [each for each in stale_hours_sensor(context).run_requests if each.job_name == FAILURES.job.name]
        result = defs.resolve_job_def(str(request.job_name)).execute_in_process(
            instance=instance, tags={**request.tags, "dagster/partition": str(request.partition_key)}
        )
        found["healed"] = stale(connection, FAILURES.name) == set()
        rows = connection.execute("SELECT symbol, failures FROM hourly_failures ORDER BY 1").fetchall()
        found["rows"] = [list(row) for row in rows]
        (event,) = result.asset_materializations_for_node(FAILURES.name)
        found["metadata"] = {name: event.metadata[name].value for name in ("failures", "preview")}
        evaluations = result.get_asset_check_evaluations()
        found["checks"] = {each.check_name: each.passed for each in evaluations if FAILURES.name in each.check_name}

        connection.execute("UPDATE hourly_failures SET failures = failures + 1")
        found["different"] = reconcile(connection, FAILURES, None)["different"]
        run_backfill(instance, Window(noon, noon + HOUR), lambda *_: None, tables_of_choice("all"), __name__)
        found["different_after_backfill"] = reconcile(connection, FAILURES, None)["different"]
        connection.execute("TRUNCATE workflow_executions")
        found["stale_after_truncate"] = stale(connection, FAILURES.name) == {noon}
    sys.stdout.write(json.dumps(found) + "\n")
