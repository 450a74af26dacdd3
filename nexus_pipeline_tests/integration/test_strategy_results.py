"""What a strategy returns is data: whatever stands where a number is usual, lists, hours and reports show the rest."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nexus_pipeline.analytics.daily_report import write_report
from nexus_pipeline.analytics.tables import SIGNALS
from nexus_pipeline.analytics.windows import replace_window
from nexus_pipeline.database.connection import Connection
from nexus_pipeline_tests.support.analytics import ALL
from nexus_pipeline_tests.support.cli import Nexus, nexus_in
from nexus_pipeline_tests.support.queues import drain, one, put, register_strategy

ODD = ['"n/a"', "true", "null", "[1, 2]", '{"value": 1}', "1e400", "-1e400", "9e131071", "1e-16000", '"<i>"']


@pytest.fixture
def nexus(nexus_env: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Nexus:
    return nexus_in(nexus_env, capsys, monkeypatch)


@pytest.fixture
def odd(connection: Connection) -> datetime:
    """Executions with odd numbers, twice each, and one of the usual kind; the day that they are of."""
    names = ("rsi", "confidence", "trade_strength", "price", "volume", "risk_level")
    # As texts in the request: some of them are longer than a request may be.
    fields = ", ".join(f"'{name}', (request ->> 'odd')::jsonb" for name in names)
    register_strategy(connection, "odd", f"RETURN jsonb_build_object('signal', 'BUY', {fields});")
    at = datetime.now(UTC).replace(hour=0, minute=30, second=0, microsecond=0)
    for value in (*ODD, *ODD):
        request = {"rsi": 5, "strategy": "odd", "occurred_at": at.isoformat(), "odd": value}
        put(connection, json.dumps(request))
    put(connection, f'{{"rsi": 20, "price": 2, "volume": 3, "occurred_at": "{at.isoformat()}"}}')
    assert drain(connection).completed == 2 * len(ODD) + 1
    return at.replace(minute=0)


def test_executions_lists_every_row(nexus: Nexus, odd: datetime) -> None:
    rows = nexus("executions", "--limit", "50", "--json").json
    assert len(rows) == 2 * len(ODD) + 1
    assert sum(row["rsi"] is None for row in rows) == 2 * (len(ODD) - 1)
    assert nexus("executions").code == 0
    for row in rows[:3]:
        assert nexus("executions", "show", row["id"]).code == 0


def test_the_hour_is_built_and_leaves_out_what_is_no_plausible_number(connection: Connection, odd: datetime) -> None:
    assert replace_window(connection, SIGNALS, ALL).rows == 2
    [(buys, highest)] = connection.execute(
        "SELECT buy_signals, max_rsi FROM hourly_signal_aggregates WHERE strategy = 'odd'"
    ).fetchall()
    assert (buys, 0 < highest < 1) == (2 * len(ODD), True)
    assert one(connection, "SELECT max_rsi FROM hourly_signal_aggregates WHERE strategy = 'enhanced_rsi'") == 20


def test_the_report_of_the_day_is_written(connection: Connection, odd: datetime, tmp_path: Path) -> None:
    replace_window(connection, SIGNALS, ALL)
    written = write_report(connection, tmp_path, odd)
    assert "odd" in written.html
    assert "<i>" not in written.html
