"""The columns of the tables, as the UI shows them: name, type, meaning, unit. A test holds them to the database."""

from __future__ import annotations

_COUNT = "bigint"
_NUMBER = "numeric"
_FLOAT = "double precision"
_TIME = "timestamp with time zone"

SIGNAL_COLUMNS = (
    ("hour", _TIME, "start of the event hour, UTC: occurred_at, else enqueued_at"),
    ("symbol", "text", "'(none)' for executions without"),
    ("strategy", "text", "'(none)' for failures before a strategy was known"),
    ("executions", _COUNT, "final executions: completed + failed"),
    ("completed", _COUNT, "decisions"),
    ("failed", _COUNT, "dead letters"),
    ("buy_signals", _COUNT, "decisions to buy, strong ones among them"),
    ("sell_signals", _COUNT, "decisions to sell, strong ones among them"),
    ("hold_signals", _COUNT, "decisions to hold"),
    ("strong_buy_signals", _COUNT, "decisions to buy with the trend"),
    ("strong_sell_signals", _COUNT, "decisions to sell with the trend"),
    ("avg_rsi", _NUMBER, "0 to 100"),
    ("min_rsi", _NUMBER, "0 to 100"),
    ("max_rsi", _NUMBER, "0 to 100"),
    ("avg_confidence", _NUMBER, "0 to 1"),
    ("min_confidence", _NUMBER, "0 to 1"),
    ("max_confidence", _NUMBER, "0 to 1"),
    ("avg_strength", _NUMBER, "trade strength, 0 to 1"),
    ("min_strength", _NUMBER, "trade strength, 0 to 1"),
    ("max_strength", _NUMBER, "trade strength, 0 to 1"),
    ("low_risk", _COUNT, "decisions of low risk"),
    ("medium_risk", _COUNT, "decisions of medium risk"),
    ("high_risk", _COUNT, "decisions of high risk"),
    ("first_price", _NUMBER, "price of the earliest event that names one"),
    ("last_price", _NUMBER, "price of the latest event that names one"),
    ("volume", _NUMBER, "sum over the events that name one"),
)

HOURLY_METRIC_COLUMNS = (
    ("hour", _TIME, "start of the processing hour, UTC"),
    ("total_executions", _COUNT, "attempts: successful + failed"),
    ("successful", _COUNT, "attempts that came to a decision"),
    ("failed", _COUNT, "attempts that failed: retried + dead_lettered"),
    ("retried", _COUNT, "failed attempts that another followed"),
    ("dead_lettered", _COUNT, "failed attempts that were the last"),
    ("success_rate", _NUMBER, "successful / total_executions, 0 to 1"),
    ("throughput_per_s", _NUMBER, "attempts a second over the whole hour"),
    ("avg_processing_ms", _FLOAT, "from claim to settle, ms"),
    ("p50_processing_ms", _FLOAT, "from claim to settle, ms"),
    ("p95_processing_ms", _FLOAT, "from claim to settle, ms"),
    ("p99_processing_ms", _FLOAT, "from claim to settle, ms"),
    ("p50_wait_ms", _FLOAT, "from enqueue to claim, ms"),
    ("p95_wait_ms", _FLOAT, "from enqueue to claim, ms"),
    ("p99_wait_ms", _FLOAT, "from enqueue to claim, ms"),
    ("oldest_wait_ms", _FLOAT, "longest from enqueue to claim, ms"),
)

METRIC_COLUMNS = (
    ("id", "uuid", "made out of the execution's id and the metric"),
    ("execution_id", "uuid", "the attempt"),
    ("metric_type", "character varying", "queue_wait_ms, processing_ms, end_to_end_ms or attempts"),
    ("metric_value", _NUMBER, "in metric_unit"),
    ("metric_unit", "character varying", "ms or count"),
    ("recorded_at", _TIME, "when the attempt was settled"),
)
