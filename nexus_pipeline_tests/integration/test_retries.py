"""What fails is tried again with backoff, dead-lettered after its last attempt, and harms no other message."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.queues.leases import RetryPolicy, Settlement, claim, settle
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline_tests.support.queues import (
    SOON,
    assert_each_has_one_outcome,
    balanced,
    drain,
    errors_of,
    let_leases_end,
    must_claim,
    one,
    put,
    raising_strategy,
    refuse_executions,
    register_strategy,
    send,
)

ASSERT_FAILURE = "P0004"  # WHEN OTHERS does not catch it


def attempts(connection: Connection, msg_id: int) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT attempt, status, error_details ->> 'error_class', error_details ->> 'error_code',"
        " error_details ->> 'error_message' FROM workflow_executions WHERE msg_id = %s ORDER BY attempt, created_at",
        (msg_id,),
    ).fetchall()


def test_a_strategy_that_raises_is_tried_again_and_dead_lettered_after_its_last_attempt(connection: Connection) -> None:
    raising_strategy(connection)
    bad, good = send(connection, [{"rsi": 25, "strategy": "raising", "symbol": "X"}, {"rsi": 25}])
    policy = RetryPolicy(max_attempts=3, base_seconds=100, max_seconds=100)
    assert settle(connection, must_claim(connection), policy) == Settlement(1, 1, 0, 0)
    assert claim(connection, MAIN_QUEUE, 10, 30) is None
    assert balanced(connection).retrying == 1
    for expected in (Settlement(0, 1, 0, 0), Settlement(0, 0, 1, 0)):
        let_leases_end(connection)
        lease = must_claim(connection)
        assert not lease.suspect
        assert settle(connection, lease, policy) == expected
    failure = ("strategy_error", "P0002", "no prices for X")
    assert attempts(connection, bad) == [
        (1, "retrying", *failure),
        (2, "retrying", *failure),
        (3, "error", *failure),
    ]
    assert errors_of(connection) == {bad: ("strategy_error", "no prices for X")}
    assert connection.execute("SELECT attempts, error_code FROM nexus.dead_letters").fetchone() == (3, "P0002")
    assert_each_has_one_outcome(connection, [bad, good])


def test_a_failure_that_passes_ends_in_one_completed_execution(connection: Connection) -> None:
    connection.execute("CREATE SEQUENCE tries")
    register_strategy(
        connection,
        "flaky",
        "IF nextval('tries') < 3 THEN RAISE EXCEPTION 'not yet'; END IF;"
        """RETURN '{"signal": "SELL", "strategy": "forged", "version": "forged"}';""",
        version="2.7",
    )
    msg_id = put(connection, '{"rsi": 25, "strategy": "flaky"}')
    assert drain(connection) == Settlement(1, 2, 0, 0)
    assert [row[:2] for row in attempts(connection, msg_id)] == [(1, "retrying"), (2, "retrying"), (3, "completed")]
    assert_each_has_one_outcome(connection, [msg_id])
    row = connection.execute(
        "SELECT workflow_version, output_data FROM workflow_executions WHERE status = 'completed'"
    ).fetchone()
    assert row == ("2.7", {"signal": "SELL", "strategy": "flaky", "version": "2.7"})


def test_a_crash_between_retries_is_no_attempt(connection: Connection) -> None:
    raising_strategy(connection)
    msg_id = put(connection, '{"rsi": 25, "strategy": "raising"}')
    settle(connection, must_claim(connection), SOON)
    let_leases_end(connection)
    for _ in range(2):
        must_claim(connection)
        let_leases_end(connection)
    lease = must_claim(connection)
    assert (lease.suspect, lease.read_cts) == (True, [4])
    assert settle(connection, lease, SOON) == Settlement(0, 1, 0, 0)
    assert [row[0] for row in attempts(connection, msg_id)] == [1, 2]
    # What settled cleanly is no suspect any more.
    let_leases_end(connection)
    assert not must_claim(connection).suspect


def test_retries_wait_longer_each_time_with_full_jitter_up_to_the_limit(connection: Connection) -> None:
    raising_strategy(connection)
    send(connection, [{"rsi": 25, "strategy": "raising"}] * 200)
    policy = RetryPolicy(max_attempts=10, base_seconds=100, max_seconds=300)
    for ceiling in (100, 200, 300, 300):
        assert settle(connection, must_claim(connection, 200), policy).retried == 200
        waits = [
            row[0]
            for row in connection.execute(
                "SELECT extract(epoch FROM vt - clock_timestamp())::float FROM pgmq.q_workflow_main_queue"
            )
        ]
        assert -5 < min(waits) < 0.1 * ceiling
        assert 0.9 * ceiling < max(waits) <= ceiling
        assert 0.35 * ceiling < sum(waits) / 200 < 0.65 * ceiling
        let_leases_end(connection)


def test_a_strategy_that_nobody_registered_is_a_dead_letter_at_once(connection: Connection) -> None:
    bad, good = send(
        connection, [{"rsi": 25, "strategy": "'; DROP TABLE x; --"}, {"rsi": 25, "strategy": "enhanced_rsi"}]
    )
    assert settle(connection, must_claim(connection), RetryPolicy()) == Settlement(1, 0, 1, 0)
    assert errors_of(connection) == {
        bad: ("unknown_strategy", "strategy: no strategy of this name and version is registered")
    }
    assert_each_has_one_outcome(connection, [bad, good])


@pytest.mark.parametrize(
    "output",
    ["NULL", "'null'", "'[]'", "'{}'", "'1'", "'\"BUY\"'", """'{"signal": "MAYBE"}'""", """'{"signal": null}'""",
     """'{"signal": ["BUY"]}'"""],
)  # fmt: skip
def test_a_strategy_that_returns_no_signal_has_failed(connection: Connection, output: str) -> None:
    register_strategy(connection, "odd", f"RETURN {output};")
    ids = send(connection, [{"rsi": 25, "strategy": "odd"}, {"rsi": 25}])
    assert drain(connection) == Settlement(1, 2, 1, 0)
    assert errors_of(connection) == {
        ids[0]: ("strategy_error", "the strategy returned no object with a signal of BUY, SELL or HOLD")
    }
    assert_each_has_one_outcome(connection, ids)


def test_a_strategy_whose_function_was_dropped_has_failed(connection: Connection) -> None:
    raising_strategy(connection)
    connection.execute("DROP FUNCTION raising_decides(jsonb, timestamptz)")
    ids = send(connection, [{"rsi": 25, "strategy": "raising"}, {"rsi": 25}])
    assert drain(connection) == Settlement(1, 2, 1, 0)
    assert errors_of(connection)[ids[0]][0] == "strategy_error"


def test_only_a_function_of_the_right_form_can_be_registered(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="must be a function"):
        connection.execute("SELECT nexus.register_strategy('x', '1', 'length(text)')")


def test_a_registered_version_is_immutable_and_one_version_is_active(connection: Connection) -> None:
    register_strategy(connection, "plain", """RETURN '{"signal": "BUY"}';""", "1")
    connection.execute("SELECT nexus.register_strategy('plain', '1', 'plain_decides(jsonb, timestamptz)')")
    connection.execute(
        "CREATE FUNCTION other(request jsonb, decided_at timestamptz) RETURNS jsonb LANGUAGE sql"
        """ AS $$ SELECT '{"signal": "SELL"}'::jsonb $$"""
    )
    with pytest.raises(psycopg.errors.UniqueViolation, match="register the new one under a new version"):
        connection.execute("SELECT nexus.register_strategy('plain', '1', 'other(jsonb, timestamptz)')")
    connection.execute("SELECT nexus.register_strategy('plain', '2', 'other(jsonb, timestamptz)')")
    versions = [{}, {"strategy_version": "1"}, {"strategy_version": "2"}, {"strategy_version": "3"}]
    send(connection, [{"rsi": 25, "strategy": "plain", **version} for version in versions])
    assert drain(connection) == Settlement(3, 0, 1, 0)
    rows = connection.execute(
        "SELECT workflow_version, output_data ->> 'signal' FROM workflow_executions WHERE status = 'completed'"
        " ORDER BY msg_id"
    ).fetchall()
    assert rows == [("2", "SELL"), ("1", "BUY"), ("2", "SELL")]
    connection.execute("SELECT nexus.activate_strategy('plain', '1')")
    assert connection.execute("SELECT version FROM nexus.strategies WHERE name = 'plain' AND active").fetchall() == [
        ("1",)
    ]
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="plain 9: is not registered"):
        connection.execute("SELECT nexus.activate_strategy('plain', '9')")


def test_another_version_of_the_built_in_strategy_decides_once_it_is_active(connection: Connection) -> None:
    connection.execute(
        "CREATE FUNCTION contrarian(request jsonb, decided_at timestamptz) RETURNS jsonb LANGUAGE sql"
        """ AS $$ SELECT '{"signal": "SELL"}'::jsonb $$;"""
        "SELECT nexus.register_strategy('enhanced_rsi', '2.0', 'contrarian(jsonb, timestamptz)')"
    )
    requests = [{"rsi": 25}, {"rsi": 25, "strategy_version": "1.0"}, {"rsi": 25, "strategy": "enhanced_rsi"}]
    send(connection, requests)
    drain(connection)
    send(connection, requests)
    one(connection, "SELECT process_trading_workflow()")
    rows = connection.execute(
        "SELECT output_data ->> 'signal', output_data ->> 'version' FROM workflow_executions ORDER BY msg_id"
    ).fetchall()
    assert rows == [("SELL", "2.0"), ("BUY", "1.0"), ("SELL", "2.0")] * 2


@pytest.mark.parametrize("code", ["P0001", ASSERT_FAILURE])
def test_an_exception_while_a_batch_is_settled_fails_the_one_message_that_raised_it(
    connection: Connection, code: str
) -> None:
    refuse_executions(connection, "NEW.symbol = 'BAD' AND NEW.status = 'completed'", code)
    ids = send(connection, [{"rsi": 25, "symbol": "BAD" if number == 13 else "GOOD"} for number in range(50)])
    assert settle(connection, must_claim(connection), SOON) == Settlement(49, 1, 0, 0)
    assert drain(connection) == Settlement(0, 1, 1, 0)
    assert errors_of(connection) == {ids[13]: ("evaluation_error", "refused: BAD")}
    assert [row[:4] for row in attempts(connection, ids[13])] == [
        (1, "retrying", "evaluation_error", code),
        (2, "retrying", "evaluation_error", code),
        (3, "error", "evaluation_error", code),
    ]
    assert_each_has_one_outcome(connection, ids)


PICKY = """ASSERT request ? 'price', 'price is needed'; RETURN '{"signal": "HOLD"}';"""


def test_a_failing_assertion_of_a_strategy_fails_the_one_message_that_it_is_about(connection: Connection) -> None:
    register_strategy(connection, "picky", PICKY)
    ids = send(connection, [{"rsi": 25, "strategy": "picky", **({"price": 1} if n != 4 else {})} for n in range(10)])
    assert settle(connection, must_claim(connection), SOON) == Settlement(9, 1, 0, 0)
    assert drain(connection) == Settlement(0, 1, 1, 0)
    assert errors_of(connection) == {ids[4]: ("strategy_error", "price is needed")}
    assert [row[3] for row in attempts(connection, ids[4])] == [ASSERT_FAILURE] * 3
    assert_each_has_one_outcome(connection, ids)


def test_one_call_completes_the_batch_around_a_failing_assertion(connection: Connection) -> None:
    register_strategy(connection, "picky", PICKY)
    send(connection, [{"rsi": 25, "strategy": "picky", "price": 1}, {"rsi": 25, "strategy": "picky"}])
    refuse_executions(connection, "NEW.symbol = 'BAD' AND NEW.status = 'completed'", ASSERT_FAILURE)
    send(connection, [{"rsi": 25}, {"rsi": 25, "symbol": "BAD"}])
    said = one(connection, "SELECT process_trading_workflow(20)")
    assert (said["processed_count"], said["error_count"]) == (2, 2)
    balanced(connection)


def test_a_failure_that_cannot_even_be_recorded_is_raised_and_holds_up_nobody_else(connection: Connection) -> None:
    refuse_executions(connection, "NEW.symbol = 'BAD'")
    ids = send(connection, [{"rsi": 25, "symbol": "BAD" if number == 3 else "GOOD"} for number in range(8)])
    with pytest.raises(psycopg.errors.RaiseException, match="refused: BAD"):
        settle(connection, must_claim(connection), SOON)
    assert balanced(connection).leased == 8
    let_leases_end(connection)
    for _ in ids:
        lease = must_claim(connection)
        if lease.msg_ids == [ids[3]]:
            with pytest.raises(psycopg.errors.RaiseException):
                settle(connection, lease, SOON)
        else:
            assert settle(connection, lease, SOON).completed == 1
    counted = balanced(connection)
    assert (counted.completed, counted.leased) == (7, 1)
    # Its reason gone, it is a message like any other.
    connection.execute("DROP TRIGGER refuse ON workflow_executions")
    assert drain(connection, policy=RetryPolicy()).completed == 1
    assert_each_has_one_outcome(connection, ids)


@pytest.mark.parametrize(
    "code", ["40001", "40P01", "53100", "53200", "55P03", "57P01", "58030", "XX001", "08006", "25006"]
)
def test_an_error_of_the_server_settles_nothing_and_counts_against_no_message(
    connection: Connection, code: str
) -> None:
    refuse_executions(connection, "NEW.symbol = 'BAD'", code)
    ids = send(connection, [{"rsi": 25, "symbol": "BAD" if number == 1 else "GOOD"} for number in range(3)])
    lease = must_claim(connection)
    with pytest.raises(psycopg.Error) as caught:
        settle(connection, lease, SOON)
    assert caught.value.sqlstate == code
    assert one(connection, "SELECT count(*) FROM workflow_executions") == 0
    assert balanced(connection).leased == 3
    connection.execute("DROP TRIGGER refuse ON workflow_executions")
    assert settle(connection, lease, SOON) == Settlement(3, 0, 0, 0)
    assert_each_has_one_outcome(connection, ids)


def test_a_settling_that_is_cancelled_settles_nothing(connection: Connection) -> None:
    register_strategy(connection, "slow", "PERFORM pg_sleep(30); RETURN NULL;")
    send(connection, [{"rsi": 25}, {"rsi": 25, "strategy": "slow"}])
    lease = must_claim(connection)
    connection.execute("SET statement_timeout = '200 ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        settle(connection, lease, SOON)
    connection.execute("RESET statement_timeout")
    assert balanced(connection).leased == 2
    assert one(connection, "SELECT count(*) FROM workflow_executions") == 0
