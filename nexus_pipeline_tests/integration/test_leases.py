"""The life of a lease: claimed by one, settled once, fenced when it ran out, alone when it was in a crash."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.queues.leases import Lease, RetryPolicy, Settlement, claim, release, settle
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
    register_strategy,
    send,
    send_signals,
)


def test_a_claim_is_committed_at_once_so_that_a_crash_does_not_hide_it(connection: Connection, conninfo: str) -> None:
    ids = send_signals(connection, 3)
    with psycopg.connect(conninfo, autocommit=True) as worker:
        lease = must_claim(worker, 2, 30)
    # The worker is gone, its claim is not.
    assert sorted(lease.msg_ids) == ids[:2]
    assert lease.read_cts == [1, 1]
    assert not lease.suspect
    rows = connection.execute(
        "SELECT read_ct, vt - clock_timestamp() BETWEEN interval '20 s' AND interval '30 s'"
        " FROM pgmq.q_workflow_main_queue ORDER BY msg_id"
    ).fetchall()
    assert rows == [(1, True), (1, True), (0, False)]
    assert (balanced(connection).leased, balanced(connection).waiting) == (2, 1)


def test_what_waits_longest_is_claimed_first_and_an_empty_queue_gives_none(connection: Connection) -> None:
    assert claim(connection, MAIN_QUEUE, 10, 30) is None
    batches = [send_signals(connection, 3) for _ in range(3)]
    for batch in batches:
        assert sorted(must_claim(connection, 3).msg_ids) == batch
    assert claim(connection, MAIN_QUEUE, 10, 30) is None


def test_a_lease_that_ran_out_and_was_claimed_by_another_settles_nothing(connection: Connection) -> None:
    ids = send_signals(connection, 5)
    late = must_claim(connection)
    let_leases_end(connection)
    current = [must_claim(connection) for _ in ids]
    assert settle(connection, late, RetryPolicy()) == Settlement(0, 0, 0, 5)
    assert release(connection, late) == 0
    assert one(connection, "SELECT count(*) FROM workflow_executions") == 0
    assert [settle(connection, lease, RetryPolicy()) for lease in current] == [Settlement(1, 0, 0, 0)] * 5
    assert settle(connection, late, RetryPolicy()) == Settlement(0, 0, 0, 5)
    assert_each_has_one_outcome(connection, ids)
    balanced(connection)


def test_of_a_lease_that_was_lost_in_part_only_the_rest_is_settled(connection: Connection) -> None:
    ids = send_signals(connection, 5)
    late = must_claim(connection)
    let_leases_end(connection, ids[:2])
    current = [must_claim(connection) for _ in range(2)]
    assert settle(connection, late, RetryPolicy()) == Settlement(3, 0, 0, 2)
    assert [settle(connection, lease, RetryPolicy()).completed for lease in current] == [1, 1]
    assert_each_has_one_outcome(connection, ids)


def test_a_lease_that_ran_out_settles_nothing_also_when_nobody_claimed_since(connection: Connection) -> None:
    ids = send_signals(connection, 5)
    late = must_claim(connection)
    let_leases_end(connection)
    assert settle(connection, late, RetryPolicy()) == Settlement(0, 0, 0, 5)
    assert one(connection, "SELECT count(*) FROM workflow_executions") == 0
    assert drain(connection) == Settlement(5, 0, 0, 0)
    assert_each_has_one_outcome(connection, ids)


def test_a_worker_slower_than_its_lease_of_a_second_settles_nothing_and_the_message_is_done_once(
    connection: Connection,
) -> None:
    ids = send_signals(connection, 1)
    late = must_claim(connection, lease_seconds=1)
    time.sleep(1.1)
    assert settle(connection, late, RetryPolicy()) == Settlement(0, 0, 0, 1)
    again = must_claim(connection)
    assert (again.msg_ids, again.suspect) == (ids, True)
    assert settle(connection, again, RetryPolicy()) == Settlement(1, 0, 0, 0)
    assert settle(connection, late, RetryPolicy()) == Settlement(0, 0, 0, 1)
    assert_each_has_one_outcome(connection, ids)


def older(connection: Connection) -> int:
    """A message that becomes visible below all that wait: committed late, or made visible by hand."""
    (late,) = send_signals(connection, 1)
    connection.execute("SELECT pgmq.set_vt('workflow_main_queue', %s, -3600)", (late,))
    return late


def test_a_message_below_where_claims_begin_is_claimed_at_once_when_nothing_else_waits(connection: Connection) -> None:
    first = send_signals(connection, 4)
    assert must_claim(connection, 2).msg_ids == first[:2]
    late = older(connection)
    assert must_claim(connection, 2).msg_ids == first[2:]
    assert must_claim(connection, 2).msg_ids == [late]
    assert claim(connection, MAIN_QUEUE, 2, 30) is None


def test_a_message_below_where_claims_begin_waits_a_second_at_most_behind_a_backlog(connection: Connection) -> None:
    send_signals(connection, 1_000)
    must_claim(connection, 1)
    late = older(connection)
    visible_since = time.monotonic()
    claimed_at = visible_since
    while must_claim(connection, 1).msg_ids != [late]:
        assert claimed_at - visible_since < 1, "a claim that began a second later did not find it"
        time.sleep(0.05)
        claimed_at = time.monotonic()


def test_where_claims_begin_is_forgotten_by_a_transaction_that_is_rolled_back(connection: Connection) -> None:
    ids = send_signals(connection, 4)
    with connection.transaction(force_rollback=True):
        assert must_claim(connection, 2).msg_ids == ids[:2]
        assert must_claim(connection, 2).msg_ids == ids[2:]
    assert must_claim(connection, 2).msg_ids == ids[:2]


def test_what_a_strategy_takes_while_it_settles_is_in_the_times(connection: Connection) -> None:
    connection.execute(
        "CREATE FUNCTION slow(request jsonb, decided_at timestamptz) RETURNS jsonb LANGUAGE plpgsql AS"
        ' $$BEGIN PERFORM pg_sleep(0.1); RETURN \'{"signal": "HOLD"}\'; END$$;'
        "SELECT nexus.register_strategy('slow', '1.0', 'slow(jsonb, timestamptz)'::regprocedure)"
    )
    send(connection, [{"rsi": 25, "strategy": "slow"}, {"rsi": 25}, {"rsi": 25, "strategy": "slow"}])
    assert drain(connection).completed == 3
    took = connection.execute(
        "SELECT e.processing_time_ms, extract(epoch FROM e.completed_at - e.started_at) * 1000,"
        " (r.message ->> 'processing_time')::numeric FROM workflow_executions e"
        " JOIN pgmq.q_workflow_results r ON r.message ->> 'execution_id' = e.id::text"
    ).fetchall()
    assert len(took) == 3
    assert all(200 <= value < 5_000 for row in took for value in row)


def test_a_strategy_that_takes_longer_than_the_lease_still_settles_its_messages(
    connection: Connection, conninfo: str
) -> None:
    register_strategy(connection, "slow", 'PERFORM pg_sleep(3); RETURN \'{"signal": "HOLD"}\';')
    send(connection, [{"rsi": 25, "strategy": "slow"}])
    lease = must_claim(connection, lease_seconds=1)
    with psycopg.connect(conninfo, autocommit=True) as worker, ThreadPoolExecutor(1) as threads:
        settling = threads.submit(settle, worker, lease, RetryPolicy())
        time.sleep(1.5)
        assert not settling.done()
        assert claim(connection, MAIN_QUEUE, 1, 1) is None
        assert settling.result() == Settlement(1, 0, 0, 0)
    balanced(connection)


def test_settling_twice_changes_nothing(connection: Connection) -> None:
    raising_strategy(connection)
    ids = send(connection, [{"rsi": 25}, {"rsi": 101}, {"rsi": 25, "strategy": "raising"}])
    lease = must_claim(connection)
    assert settle(connection, lease, RetryPolicy()) == Settlement(1, 1, 1, 0)
    before = connection.execute("SELECT * FROM workflow_executions ORDER BY id").fetchall()
    assert settle(connection, lease, RetryPolicy()) == Settlement(0, 0, 0, 3)
    assert release(connection, lease) == 0
    assert connection.execute("SELECT * FROM workflow_executions ORDER BY id").fetchall() == before
    ledger = balanced(connection)
    # The delay before a retry is random from 0: the message may be due again already.
    assert ledger.retrying + ledger.waiting == 1
    drain(connection)
    assert_each_has_one_outcome(connection, ids)


def test_a_released_lease_waits_again_as_if_it_was_never_read(connection: Connection) -> None:
    ids = send_signals(connection, 3)
    lease = must_claim(connection)
    assert release(connection, lease) == 3
    assert release(connection, lease) == 0
    assert settle(connection, lease, RetryPolicy()).fenced == 3
    assert balanced(connection).waiting == 3
    again = must_claim(connection)
    assert (sorted(again.msg_ids), again.read_cts, again.suspect) == (ids, [1, 1, 1], False)
    assert settle(connection, again, RetryPolicy()).completed == 3
    assert_each_has_one_outcome(connection, ids)


def test_claims_at_the_same_time_never_overlap_and_together_get_everything(
    connection: Connection, conninfo: str
) -> None:
    ids = send_signals(connection, 600)

    def claim_all(_: int) -> list[Lease]:
        leases = []
        with psycopg.connect(conninfo, autocommit=True) as worker:
            while (lease := claim(worker, MAIN_QUEUE, 7, 300)) is not None:
                leases.append(lease)
        return leases

    with ThreadPoolExecutor(4) as threads:
        leases = [lease for found in threads.map(claim_all, range(4)) for lease in found]
    claimed = [msg_id for lease in leases for msg_id in lease.msg_ids]
    assert sorted(claimed) == ids
    assert all(lease.read_cts == [1] * len(lease) for lease in leases)
    assert balanced(connection).leased == 600


def test_two_that_settle_the_same_lease_at_once_settle_it_once_and_never_deadlock(
    connection: Connection, conninfo: str
) -> None:
    ids = []
    for _ in range(10):
        ids += send_signals(connection, 50)
        lease = must_claim(connection)
        backwards = Lease(lease.queue, lease.msg_ids[::-1], lease.read_cts[::-1], False, lease.claimed_at)

        def settle_one(which: Lease) -> Settlement:
            with psycopg.connect(conninfo, autocommit=True) as worker:
                return settle(worker, which, RetryPolicy())

        with ThreadPoolExecutor(2) as threads:
            done = list(threads.map(settle_one, (lease, backwards)))
        assert sorted(one_done.completed for one_done in done) == [0, 50]
        assert sorted(one_done.fenced for one_done in done) == [0, 50]
    assert_each_has_one_outcome(connection, ids)


def test_messages_of_a_crashed_batch_are_claimed_alone_and_the_others_in_batches_again(connection: Connection) -> None:
    crashed = send_signals(connection, 4)
    must_claim(connection)
    let_leases_end(connection)
    fresh = send_signals(connection, 20)
    leases = []
    while (lease := claim(connection, MAIN_QUEUE, 100, 30)) is not None:
        leases.append(lease)
        settle(connection, lease, RetryPolicy())
    alone = [lease for lease in leases if lease.suspect]
    assert sorted(lease.msg_ids[0] for lease in alone) == crashed
    assert all(len(lease) == 1 and lease.read_cts == [2] for lease in alone)
    assert [sorted(lease.msg_ids) for lease in leases if not lease.suspect] == [fresh]
    assert_each_has_one_outcome(connection, crashed + fresh)


@pytest.mark.parametrize("headers", [None, {"nexus_settled_reads": 999_999_999}, {"nexus_settled_reads": 1}])
def test_a_message_that_kills_whoever_works_on_it_becomes_a_dead_letter_and_its_batch_mates_complete(
    connection: Connection, conninfo: str, headers: object
) -> None:
    # The strategy ends the server process of the worker that runs it: no exception handler sees that.
    register_strategy(connection, "killing", "PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(10);")
    mates = send_signals(connection, 10)
    killer = put(connection, '{"rsi": 25, "strategy": "killing"}', headers)
    mates += send_signals(connection, 10)
    deaths = 0
    for _ in range(100):
        with psycopg.connect(conninfo, autocommit=True) as worker:
            lease = claim(worker, MAIN_QUEUE, 100, 30)
            if lease is None:
                let_leases_end(connection)
                lease = claim(worker, MAIN_QUEUE, 100, 30)
            if lease is None:
                break
            try:
                settle(worker, lease, SOON)
            except psycopg.OperationalError:
                assert killer in lease.msg_ids
                deaths += 1
                assert deaths == 1 or headers is not None or len(lease) == 1
        balanced(connection)
    assert deaths - SOON.max_attempts in ((0,) if headers is None else (0, 1))
    error_class, text = errors_of(connection)[killer]
    assert error_class == "crash"
    assert text.startswith("the worker died or lost its lease")
    assert_each_has_one_outcome(connection, [*mates, killer])
    counted = balanced(connection)
    assert (counted.completed, counted.dead_lettered) == (20, 1)


def test_a_queue_of_ones_own_is_served_like_the_main_queue(connection: Connection) -> None:
    for _ in range(2):  # serving it again is harmless
        connection.execute("SELECT nexus.serve_queue('my_queue_2')")
    raising_strategy(connection)
    ids = send(
        connection,
        [{"rsi": 25}, {}, {"rsi": 80}, {"rsi": 1, "strategy": "raising"}],
        "my_queue_2",
    )
    assert claim(connection, MAIN_QUEUE, 10, 30) is None
    assert drain(connection, queue="my_queue_2") == Settlement(2, 2, 2, 0)
    assert_each_has_one_outcome(connection, ids, "my_queue_2")
    assert balanced(connection, "my_queue_2").sent == 4
    assert balanced(connection).sent == 0


@pytest.mark.parametrize("name", ["MyQ", "a-b", "", "x" * 48, 'a"; DROP TABLE x; --', "ä", "a b", None])
def test_a_queue_name_that_could_collide_is_refused_by_every_function(connection: Connection, name: str | None) -> None:
    for call in (
        "nexus.serve_queue(%s)",
        "nexus.claim(%s, 1, 1)",
        "nexus.settle(%s, '{1}', '{1}', now())",
        "nexus.release(%s, '{1}', '{1}')",
        "nexus.enqueue(%s, '{}')",
        "nexus.depth(%s)",
        "nexus.ledger(%s)",
    ):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="must be 1 to 47 of a-z, 0-9 and _"):
            connection.execute(f"SELECT {call}", (name,))


def buffers_of(connection: Connection, call: str) -> int:
    """Pages that a call touches, all statements inside it included."""
    plan = one(connection, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM {call}")[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def test_messages_that_are_parked_or_leased_cost_a_claim_nothing(connection: Connection, conninfo: str) -> None:
    claim_10 = "nexus.claim('workflow_main_queue', 10, 3600)"
    connection.execute("ALTER TABLE pgmq.q_workflow_main_queue SET (autovacuum_enabled = off)")
    for _ in range(3):  # this session's plans are made while the queue is empty
        buffers_of(connection, claim_10)
    send_signals(connection, 10)
    alone = buffers_of(connection, claim_10)
    for parked, analyzed in ((100_000, False), (0, True)):
        connection.execute(
            "INSERT INTO pgmq.q_workflow_main_queue (vt, read_ct, message, headers)"
            """ SELECT now() + interval '1 h', 1, '{"rsi": 25}', '{"nexus_attempts": 1, "nexus_settled_reads": 1}'"""
            " FROM generate_series(1, %s)",
            (parked,),
        )
        if analyzed:
            connection.execute("ANALYZE pgmq.q_workflow_main_queue")
        ids = send_signals(connection, 10)
        behind = buffers_of(connection, claim_10)
        assert sorted(_leased(connection)) == ids
        assert behind < alone + 300, (alone, behind)  # a walk past the parked ones is more than 1,500
    with psycopg.connect(conninfo, autocommit=True) as fresh:  # plans made for the full queue
        buffers_of(fresh, claim_10)  # reads the catalogue too
        ids = send_signals(connection, 10)
        assert buffers_of(fresh, claim_10) < alone + 300
        lease = Lease(MAIN_QUEUE, ids, [1] * 10, False, one(fresh, "SELECT clock_timestamp()"))
        assert settle(fresh, lease, RetryPolicy()).completed == 10
    assert buffers_of(connection, "nexus.depth('workflow_main_queue')") < alone + 300


def _leased(connection: Connection) -> list[int]:
    """The messages of the newest claim."""
    rows = connection.execute(
        "SELECT msg_id FROM pgmq.q_workflow_main_queue"
        " WHERE last_read_at = (SELECT max(last_read_at) FROM pgmq.q_workflow_main_queue)"
    )
    return [row[0] for row in rows]


def test_a_plan_that_looks_expensive_is_not_compiled_at_every_call(connection: Connection) -> None:
    # Where the server has jit on, as most have, compiling takes longer than the work by a factor of hundreds.
    rows = connection.execute(
        "SELECT oid::regprocedure::text, 'jit=off' = ANY (proconfig) FROM pg_proc"
        " WHERE pronamespace = 'nexus'::regnamespace AND array_to_string(proconfig, ' ') LIKE '%enable_%=off%'"
    ).fetchall()
    assert len(rows) == 4  # claim, settle, evaluate and enqueue
    assert all(is_off for _, is_off in rows)
