"""The hourly tables: one record each. Assets, checks, jobs, sensors, backfills, commands and docs iterate over them.

To add a table, write a migration (the table, and its row in `nexus.hourly_tables`), a record here, and
`sql/queries/<name>.sql` with the statements `insert`, `summarize` (preview and plotted figures of each hour) and
`reconcile`.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from nexus_pipeline.database.statements import queries

DAILY_REPORT = "daily_signal_report"
"""The asset whose partitions are days; it is built from the hourly tables that are `in_daily_report`."""

_TIME = "timestamp with time zone"
_COUNT = "bigint"
_NUMBER = "numeric"
_FLOAT = "double precision"


@dataclass(frozen=True)
class RebuildJob:
    """A job that rebuilds hourly tables."""

    name: str
    choice: str
    """What `nexus backfill --what` calls its tables."""
    scheduled: bool
    """Whether a schedule runs it for each hour that closes; the tables of the others follow by the sensor."""


class Column(NamedTuple):
    """A column, as the UI and the docs show it."""

    name: str
    type: str
    description: str
    """Its meaning and unit."""


@dataclass(frozen=True)
class HourlyTable:
    """A table in the schema public whose rows of an hour are replaced together, and the asset of the same name."""

    name: str
    description: str
    basis: Literal["event", "processing"]
    """The hour that an execution counts for: that of its event_time, or that of its created_at."""
    hour_column: str
    """The column that says which hour a row belongs to."""
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    job: RebuildJob
    in_daily_report: bool

    @property
    def statements(self) -> Any:
        """The named statements of the table."""
        return queries(self.name)

    def compose(self, statement: Any) -> Any:
        """A statement for any table, with this one's name, hour column and key as {table}, {hour} and {key}."""
        from psycopg import sql  # `nexus --help` reads the tables, without psycopg

        return sql.SQL(statement.sql).format(
            table=sql.Identifier("public", self.name),
            hour=sql.Identifier(self.hour_column),
            key=sql.SQL(", ").join(sql.Identifier("t", column) for column in self.key),
        )


HOURLY_JOB = RebuildJob("hourly_aggregates_job", choice="hourly", scheduled=True)
METRICS_JOB = RebuildJob("workflow_metrics_job", choice="metrics", scheduled=False)

SIGNALS = HourlyTable(
    name="hourly_signal_aggregates",
    description="Decisions by event hour, symbol and strategy: counts of each signal, RSI, confidence, strength, risk, "
    "price and volume. An hour without final executions has no row.",
    basis="event",
    hour_column="hour",
    key=("hour", "symbol", "strategy"),
    columns=(
        Column("hour", _TIME, "start of the event hour: occurred_at, else enqueued_at, UTC"),
        Column("symbol", "text", "'(none)' for executions without one"),
        Column("strategy", "text", "'(none)' for failures before a strategy was known"),
        Column("executions", _COUNT, "final executions: completed + failed"),
        Column("completed", _COUNT, "decisions"),
        Column("failed", _COUNT, "dead letters"),
        Column("buy_signals", _COUNT, "BUY decisions, including strong ones"),
        Column("sell_signals", _COUNT, "SELL decisions, including strong ones"),
        Column("hold_signals", _COUNT, "HOLD decisions"),
        Column("strong_buy_signals", _COUNT, "BUY decisions with the trend"),
        Column("strong_sell_signals", _COUNT, "SELL decisions with the trend"),
        Column("avg_rsi", _NUMBER, "average RSI of the decisions, 0 to 100"),
        Column("min_rsi", _NUMBER, "lowest RSI, 0 to 100"),
        Column("max_rsi", _NUMBER, "highest RSI, 0 to 100"),
        Column("avg_confidence", _NUMBER, "average confidence of the decisions, 0 to 1"),
        Column("min_confidence", _NUMBER, "lowest confidence, 0 to 1"),
        Column("max_confidence", _NUMBER, "highest confidence, 0 to 1"),
        Column("avg_strength", _NUMBER, "average trade strength of the decisions, 0 to 1"),
        Column("min_strength", _NUMBER, "lowest trade strength, 0 to 1"),
        Column("max_strength", _NUMBER, "highest trade strength, 0 to 1"),
        Column("low_risk", _COUNT, "decisions of low risk"),
        Column("medium_risk", _COUNT, "decisions of medium risk"),
        Column("high_risk", _COUNT, "decisions of high risk"),
        Column("first_price", _NUMBER, "price of the earliest decision whose request has one, quote currency"),
        Column("last_price", _NUMBER, "price of the latest decision whose request has one, quote currency"),
        Column("volume", _NUMBER, "sum over the decisions whose requests have one"),
    ),
    job=HOURLY_JOB,
    in_daily_report=True,
)

HOURLY_METRICS = HourlyTable(
    name="hourly_workflow_metrics",
    description="The attempts of each processing hour: outcomes, throughput, processing and waiting times. An hour "
    "without attempts has no row.",
    basis="processing",
    hour_column="hour",
    key=("hour",),
    columns=(
        Column("hour", _TIME, "start of the processing hour, UTC"),
        Column("total_executions", _COUNT, "attempts: successful + failed"),
        Column("successful", _COUNT, "attempts that came to a decision"),
        Column("failed", _COUNT, "attempts that failed: retried + dead_lettered"),
        Column("retried", _COUNT, "failed attempts that were followed by another"),
        Column("dead_lettered", _COUNT, "failed attempts that were the last"),
        Column("success_rate", _NUMBER, "successful / total_executions, 0 to 1"),
        Column("throughput_per_s", _NUMBER, "attempts per second, over the whole hour, 1/s"),
        Column("avg_processing_ms", _FLOAT, "average time from claim to decision, ms"),
        Column("p50_processing_ms", _FLOAT, "median time from claim to decision, ms"),
        Column("p95_processing_ms", _FLOAT, "95th percentile from claim to decision, ms"),
        Column("p99_processing_ms", _FLOAT, "99th percentile from claim to decision, ms"),
        Column("p50_wait_ms", _FLOAT, "median time from enqueue to claim, ms"),
        Column("p95_wait_ms", _FLOAT, "95th percentile from enqueue to claim, ms"),
        Column("p99_wait_ms", _FLOAT, "99th percentile from enqueue to claim, ms"),
        Column("oldest_wait_ms", _FLOAT, "longest time from enqueue to claim, ms"),
    ),
    job=HOURLY_JOB,
    in_daily_report=True,
)

METRICS = HourlyTable(
    name="workflow_metrics",
    description="Each attempt's time in the queue, its processing and end-to-end times, and its number, by processing "
    "hour.",
    basis="processing",
    hour_column="recorded_at",
    key=("execution_id", "metric_type"),
    columns=(
        Column("id", "uuid", "derived from the execution's id and the metric"),
        Column("execution_id", "uuid", "the attempt"),
        Column("metric_type", "character varying", "queue_wait_ms, processing_ms, end_to_end_ms or attempts"),
        Column("metric_value", _NUMBER, "the value, in metric_unit"),
        Column("metric_unit", "character varying", "ms or count"),
        Column("recorded_at", _TIME, "when the attempt was settled, UTC"),
    ),
    job=METRICS_JOB,
    in_daily_report=False,
)

TABLES = (SIGNALS, HOURLY_METRICS, METRICS)
JOBS = tuple(dict.fromkeys(table.job for table in TABLES))
"""Each once, in the order of the tables."""


def tables_of(job: RebuildJob) -> list[HourlyTable]:
    """The tables that a job rebuilds, in their order."""
    return [table for table in TABLES if table.job == job]
