"""`nexus status`, `executions` and `migrate`, and the demo's figures: they show what the database says."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from nexus_pipeline.analytics.hours import DAY, HOUR, Window, hour_of
from nexus_pipeline.analytics.tables import TABLES
from nexus_pipeline.analytics.windows import replace_window
from nexus_pipeline.database.connection import Connection
from nexus_pipeline.database.migrations import migration_names
from nexus_pipeline.demo.figures import figures
from nexus_pipeline_tests.support.analytics import execution
from nexus_pipeline_tests.support.cli import Nexus, nexus_in
from nexus_pipeline_tests.support.queues import drain, must_claim, one, send, send_signals
from nexus_pipeline_tests.support.terminal import CTRL_C, on_terminal


@pytest.fixture
def nexus(nexus_env: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Nexus:
    """The command in the test's databases."""
    return nexus_in(nexus_env, capsys, monkeypatch)


def test_an_empty_queue_adds_up(nexus: Nexus) -> None:
    found = nexus("status", "--json").json
    stale = found.pop("stale")
    recent = found.pop("recent")
    assert (recent["attempts"], recent["decisions_per_s"], recent["wait_p50_ms"]) == (0, 0, None)
    assert {asset: behind["partitions"] for asset, behind in stale.items()} == {
        "hourly_signal_aggregates": 0, "hourly_workflow_metrics": 0, "workflow_metrics": 0, "daily_signal_report": 0,
    }  # fmt: skip
    assert found == {
        "queue": "workflow_main_queue", "sent": 0, "waiting": 0, "leased": 0, "retrying": 0, "completed": 0,
        "dead_lettered": 0, "lost": 0, "doubled": 0, "unarchived": 0, "oldest_wait_s": None, "adds_up": True,
        "results_waiting": 0, "dead_letters_waiting": 0, "dead_letters_by_class": {},
    }  # fmt: skip


def test_every_state_is_counted(nexus: Nexus, connection: Connection) -> None:
    send(connection, [{"rsi": 20}, {"rsi": 50}, {"rsi": 500}])
    drain(connection)
    send_signals(connection, 7)
    must_claim(connection, 3)
    found = nexus("status", "--json").json
    assert (found["sent"], found["waiting"], found["leased"]) == (10, 4, 3)
    assert (found["completed"], found["dead_lettered"], found["adds_up"]) == (2, 1, True)
    assert (found["results_waiting"], found["dead_letters_by_class"]) == (2, {"invalid_input": 1})
    assert found["oldest_wait_s"] >= 0
    text = nexus("status").out
    assert "the counts add up: yes" in text
    assert "dead letters waiting: 1 (invalid_input 1)" in text


def test_a_lost_message_is_reported_and_ends_with_1(nexus: Nexus, connection: Connection) -> None:
    send_signals(connection, 3)
    drain(connection)
    connection.execute("DELETE FROM workflow_executions WHERE msg_id = 2")
    ended = nexus("status")
    assert ended.code == 1
    assert "the counts add up: NO, 1 lost" in ended.out
    assert ended.err.startswith("nexus: the counts of workflow_main_queue do not add up: 1 lost")
    assert '"adds_up": false' in nexus("status", "--json").out


def test_stale_hours_are_counted_until_they_are_rebuilt(nexus: Nexus, connection: Connection) -> None:
    assert "stale hours: none" in nexus("status").out
    connection.execute("UPDATE nexus.installation SET closed_until = nexus.hour_of(now())")
    days_ago = hour_of(datetime.now(UTC)) - 3 * DAY
    for occurred in (days_ago, days_ago + 5 * HOUR, days_ago + 5 * HOUR, days_ago - 10_000 * DAY):
        execution(connection, days_ago, occurred=occurred)
    oldest = f"{days_ago:%Y-%m-%d %H:%M} UTC"
    shown = nexus("status").out
    assert f"stale: 2 partitions of hourly_signal_aggregates, the oldest {oldest}" in shown
    assert f"stale: 1 partition of workflow_metrics, the oldest {oldest}" in shown
    assert "never built: 1 hour of hourly_signal_aggregates before NEXUS_PARTITIONS_START" in shown
    found = nexus("status", "--json").json["stale"]["hourly_signal_aggregates"]
    assert (found["partitions"], found["before_first"]) == (2, 1)
    for table in TABLES:
        replace_window(connection, table, Window(days_ago, days_ago + DAY))
    shown = nexus("status").out
    assert "stale:" not in shown
    assert "never built: 1 hour of hourly_signal_aggregates" in shown


def test_a_missing_queue_is_a_user_error(nexus: Nexus) -> None:
    ended = nexus("status", "--queue", "nowhere")
    assert (ended.code, ended.line) == (2, "nexus: there is no queue nowhere")


def test_watch_shows_changes_until_ctrl_c(nexus_env: dict[str, str], connection: Connection) -> None:
    with on_terminal(["nexus", "status", "--watch", "0.5"], nexus_env) as terminal:
        terminal.until(b"add up")
        send_signals(connection, 4_321)
        terminal.until(b"4,321")
        terminal.answer(CTRL_C)
        assert terminal.end() == 130
    assert b"Traceback" not in terminal.shown


@pytest.fixture
def decided(connection: Connection) -> None:
    """Five executions, each settled after the one before."""
    for request in (
        {"rsi": 20, "symbol": "EURUSD", "market_context": {"trend": "bullish"}},
        {"rsi": 80, "symbol": "EURUSD"},
        {"rsi": 50, "symbol": "GOOGL", "price": 1.2345678901234567},
        {"rsi": 20.5},
        {"rsi": "x"},
    ):
        send(connection, [request])
        drain(connection)


@pytest.mark.usefixtures("decided")
@pytest.mark.parametrize(
    ("options", "msg_ids"),
    [
        ("", [5, 4, 3, 2, 1]), ("--limit 2", [5, 4]), ("--status completed", [4, 3, 2, 1]), ("--status error", [5]),
        ("--symbol EURUSD", [2, 1]), ("--signal buy", [4, 1]), ("--signal SELL", [2]), ("--signal HOLD", [3]),
        ("--msg-id 3", [3]), ("--msg-id 99", []), ("--since 1h", [5, 4, 3, 2, 1]),
        ("--since 2999-01-01T00:00:00Z", []), ("--symbol EURUSD --signal BUY --status completed --since 1d", [1]),
    ],
)  # fmt: skip
def test_executions_that_match_are_listed_newest_first(nexus: Nexus, options: str, msg_ids: list[int]) -> None:
    found = nexus("executions", *options.split(), "--json").json
    assert [each["msg_id"] for each in found] == msg_ids
    assert str(len(msg_ids)) in nexus("executions", *options.split()).out


@pytest.mark.usefixtures("decided")
def test_an_execution_is_listed_and_shown_as_it_was_decided(nexus: Nexus) -> None:
    (listed,) = nexus("executions", "--msg-id", "1", "--json").json
    assert (listed["signal"], listed["risk_level"], listed["attempt"]) == ("STRONG_BUY", "MEDIUM", 1)
    assert "STRONG_BUY" in nexus("executions").out
    shown = nexus("executions", "show", listed["id"], "--json").json
    assert shown["input_data"] == {"rsi": 20, "symbol": "EURUSD", "market_context": {"trend": "bullish"}}
    assert shown["output_data"]["enhanced_signal"] == "STRONG_BUY"
    assert '"enhanced_signal": "STRONG_BUY"' in nexus("executions", "show", listed["id"]).out
    (failed,) = nexus("executions", "--status", "error", "--json").json
    assert (failed["error_class"], failed["signal"]) == ("invalid_input", None)
    absent = nexus("executions", "show", str(UUID(int=0)))
    assert (absent.code, "there is no execution" in absent.line) == (2, True)


@pytest.mark.usefixtures("decided")
def test_the_attempts_at_a_message_are_found_by_an_index(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO workflow_executions (workflow_type, input_data, status, queue_name, msg_id, enqueued_at)"
        " SELECT 'trading_signal', '{}', 'completed', 'workflow_main_queue', n, now() FROM generate_series(10, 30000) n"
    )
    connection.execute("ANALYZE workflow_executions")
    plan = connection.execute(
        "EXPLAIN SELECT * FROM workflow_executions e WHERE (e.msg_id = 5 AND e.status IN ('completed', 'error'))"
        " OR (e.msg_id = 5 AND e.status = 'retrying')"
    ).fetchall()
    assert "Seq Scan" not in str(plan)


def test_migrate_says_what_it_did_and_takes_back_only_with_yes(nexus: Nexus, connection: Connection) -> None:
    names = migration_names()
    assert nexus("migrate", "--json").json["applied"] == []
    assert "up to date" in nexus("migrate").out
    assert nexus("migrate", "--to", names[0]).code == 2
    assert one(connection, "SELECT to_regclass('workflow_executions') IS NOT NULL")
    assert nexus("migrate", "--to", names[0], "--yes", "--json").json["rolled_back"] == names[:0:-1]
    assert one(connection, "SELECT to_regclass('workflow_executions') IS NULL")
    assert nexus("migrate", "--json").json["applied"] == names[1:]
    assert nexus("status", "--json").json["sent"] == 0


def test_the_demos_figures_are_what_was_decided(connection: Connection) -> None:
    send(
        connection,
        [
            {"rsi": 20, "price": 1.5, "source": "demo", "occurred_at": "2026-01-01T23:00:00Z"},
            {"rsi": 80, "price": 1.25, "source": "demo", "occurred_at": "2026-01-01T22:00:00Z",
             "market_context": {"trend": "bearish"}},
            {"rsi": 50, "price": 1.75, "source": "demo", "occurred_at": "2026-01-02T01:00:00+02:00"},
            {"rsi": 50, "price": 2, "source": "demo", "occurred_at": "2026-01-03T00:30:00Z"},
            {"rsi": 20, "source": "somebody else", "occurred_at": "2026-01-01T00:00:00Z"},
            {"rsi": 500, "source": "demo"},
        ],
    )  # fmt: skip
    drain(connection)
    found = figures(connection)
    assert found["signals"] == {"BUY": 1, "SELL": 1, "HOLD": 2}
    assert found["strong"] == {"STRONG_BUY": 0, "STRONG_SELL": 1}
    assert found["by_day"] == [
        {"day": "2026-01-01", "BUY": 1, "SELL": 1, "HOLD": 1, "close": 1.75},
        {"day": "2026-01-03", "BUY": 0, "SELL": 0, "HOLD": 1, "close": 2.0},
    ]
    assert [hour["hour"] for hour in found["by_hour"]] == list(range(24))
    assert found["by_hour"][23] == {"hour": 23, "BUY": 1, "SELL": 0, "HOLD": 1}
    assert sum(hour["HOLD"] for hour in found["by_hour"]) == 2
    assert found["first_event"] == "2026-01-01T22:00:00+00:00"
    assert found["last_event"] == "2026-01-03T00:30:00+00:00"
    latency = found["latency_ms"]
    assert 0 <= latency["p50"] <= latency["p95"] <= latency["p99"] < 60_000


def test_the_demos_figures_of_nothing_are_zeros(connection: Connection) -> None:
    found = figures(connection)
    assert (found["signals"], found["by_day"], found["first_event"]) == ({"BUY": 0, "SELL": 0, "HOLD": 0}, [], None)
    assert found["latency_ms"] == {"p50": None, "p95": None, "p99": None}
    assert len(found["by_hour"]) == 24
