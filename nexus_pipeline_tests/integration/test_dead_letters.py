"""Dead letters are listed, shown, sent again once, discarded, and every action is recorded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.errors import ConflictError, NotFoundError
from nexus_pipeline.queues.dead_letters import (
    Acted,
    actions_of,
    count_by_class,
    dead_letter_history,
    discard,
    list_dead_letters,
    redrive,
)
from nexus_pipeline.queues.leases import RetryPolicy
from nexus_pipeline.queues.names import ERRORS_QUEUE
from nexus_pipeline_tests.support.queues import (
    assert_each_has_one_outcome,
    balanced,
    drain,
    errors_of,
    one,
    put,
    raising_strategy,
    register_strategy,
    send,
)

FOREIGN = [
    None,
    "null",
    "7",
    '"text"',
    "[1, 2]",
    "{}",
    '{"original_queue": 7, "original_msg_id": "abc", "enqueued_at": "never", "error_details": "text"}',
    '{"original_queue": "workflow_results", "original_msg_id": 1, "original_message": {"rsi": 25}}',
    '{"original_queue": "x", "original_msg_id": true, "enqueued_at": "2026-01-01T00:00:00Z"}',
    '{"original_queue": "x", "original_msg_id": 1e30, "enqueued_at": "2026-01-01T00:00:00"}',
    '{"original_queue": ["x"], "original_msg_id": 1e30, "attempts": -1, "enqueued_at": 5, "execution_id": {}}',
    '{"original_queue": "workflow_main_queue", "original_msg_id": 1.5, "enqueued_at": [], "error_details": {"x": 3}}',
]


@pytest.fixture
def failed(connection: Connection) -> dict[str, list[int]]:
    """Original msg_ids of five dead letters of three classes, made by real failures."""
    raising_strategy(connection)
    invalid = send(connection, [{"rsi": 101, "symbol": "A"}, {"rsi": None, "symbol": "B"}])
    unknown = send(connection, [{"rsi": 25, "strategy": "later"}])
    failing = send(connection, [{"rsi": 25, "strategy": "raising", "symbol": symbol} for symbol in "XY"])
    drain(connection)
    return {"invalid_input": invalid, "unknown_strategy": unknown, "strategy_error": failing}


def all_of(failed: dict[str, list[int]]) -> list[int]:
    return [msg_id for msg_ids in failed.values() for msg_id in msg_ids]


def dead_letter_of(connection: Connection, original_msg_id: int) -> int:
    """The id of a message's dead letter."""
    return int(
        one(connection, "SELECT dead_letter_id FROM nexus.dead_letters WHERE original_msg_id = %s", original_msg_id)
    )


def test_the_list_has_the_newest_first_with_everything_needed_to_understand_them(
    connection: Connection, failed: dict[str, list[int]]
) -> None:
    found = list_dead_letters(connection)
    ids = [each.dead_letter_id for each in found]
    assert ids == sorted(ids, reverse=True)
    assert sorted(each.original_msg_id or 0 for each in found) == all_of(failed)
    shown = next(each for each in found if each.original_msg_id == failed["strategy_error"][0])
    assert (shown.error_class, shown.error_code, shown.error_message) == ("strategy_error", "P0002", "no prices for X")
    assert (shown.attempts, shown.original_queue) == (3, "workflow_main_queue")
    assert shown.original_message == {"rsi": 25, "strategy": "raising", "symbol": "X"}
    assert shown.execution_id == str(
        one(
            connection,
            "SELECT id FROM workflow_executions WHERE msg_id = %s AND status = 'error'",
            shown.original_msg_id,
        )
    )
    assert [entry.original_msg_id for entry in list_dead_letters(connection, "unknown_strategy")] == failed[
        "unknown_strategy"
    ]
    assert len(list_dead_letters(connection, max_rows=2)) == 2
    assert list_dead_letters(connection, "no_such_class") == []


def test_the_classes_are_counted_most_first(connection: Connection, failed: dict[str, list[int]]) -> None:
    counts = count_by_class(connection)
    assert [(count.error_class, count.letters) for count in counts] == [
        ("invalid_input", 2),
        ("strategy_error", 2),
        ("unknown_strategy", 1),
    ]
    assert all(count.oldest <= count.newest for count in counts)
    assert sum(count.letters for count in counts) == len(all_of(failed))


def test_a_dead_letter_is_shown_with_every_attempt_also_after_it_was_discarded(
    connection: Connection, failed: dict[str, list[int]]
) -> None:
    dead_letter = dead_letter_of(connection, failed["strategy_error"][0])
    shown = dead_letter_history(connection, dead_letter)
    assert [(attempt.attempt, attempt.status) for attempt in shown.attempts] == [
        (1, "retrying"),
        (2, "retrying"),
        (3, "error"),
    ]
    assert all(attempt.error_details and attempt.error_details["error_code"] == "P0002" for attempt in shown.attempts)
    assert shown.message["original_message"]["symbol"] == "X"
    assert shown.actions == []
    discard(connection, ids=[dead_letter], reason="no longer traded")
    after = dead_letter_history(connection, dead_letter)
    assert (after.message, after.attempts) == (shown.message, shown.attempts)
    assert [(action.action, action.reason) for action in after.actions] == [("discard", "no longer traded")]
    with pytest.raises(NotFoundError, match="there is no dead letter 999999"):
        dead_letter_history(connection, 999_999)


def test_a_redriven_message_completes_once_its_cause_is_fixed_and_points_back(
    connection: Connection, failed: dict[str, list[int]]
) -> None:
    [original] = failed["unknown_strategy"]
    dead_letter = dead_letter_of(connection, original)
    execution = one(connection, "SELECT execution_id FROM nexus.dead_letters WHERE dead_letter_id = %s", dead_letter)
    register_strategy(connection, "later", """RETURN '{"signal": "BUY"}';""")
    [acted] = redrive(connection, ids=[dead_letter], reason="registered").done
    assert acted == Acted(dead_letter, "workflow_main_queue", original, "unknown_strategy", acted.new_msg_id)
    assert acted.new_msg_id not in (None, original)
    assert one(connection, "SELECT headers -> 'nexus_redrive_of' FROM pgmq.q_workflow_main_queue") == {
        "dead_letter_id": dead_letter,
        "original_msg_id": original,
        "execution_id": execution,
    }
    assert drain(connection).completed == 1
    rows = connection.execute(
        "SELECT msg_id, status, attempt FROM workflow_executions WHERE msg_id IN (%s, %s) ORDER BY msg_id",
        (original, acted.new_msg_id),
    ).fetchall()
    assert rows == [(original, "error", 1), (acted.new_msg_id, "completed", 1)]
    balanced(connection)


def test_a_redriven_message_starts_with_all_its_attempts_and_keeps_its_own_headers(connection: Connection) -> None:
    raising_strategy(connection)
    put(connection, '{"rsi": 25, "strategy": "raising"}', {"trace": "abc"})
    drain(connection)
    [first] = redrive(connection).done
    headers = one(connection, "SELECT headers FROM pgmq.q_workflow_main_queue")
    assert headers["trace"] == "abc"
    assert set(headers) == {"trace", "nexus_redrive_of"}
    assert drain(connection).retried == 2
    # A second redrive points to the second dead letter.
    [second] = redrive(connection).done
    pointer = one(connection, "SELECT headers -> 'nexus_redrive_of' FROM pgmq.q_workflow_main_queue")
    assert (pointer["dead_letter_id"], pointer["original_msg_id"]) == (second.dead_letter_id, first.new_msg_id)


def test_redrive_takes_all_or_a_class_or_ids_or_a_maximum(connection: Connection, failed: dict[str, list[int]]) -> None:
    by_id = [dead_letter_of(connection, failed["invalid_input"][1])]
    assert [acted.dead_letter_id for acted in redrive(connection, ids=by_id).done] == by_id
    assert redrive(connection, error_class="no_such_class").done == []
    assert redrive(connection, ids=[]).done == []
    by_class = redrive(connection, error_class="strategy_error").done
    assert sorted(acted.original_msg_id or 0 for acted in by_class) == failed["strategy_error"]
    [oldest] = redrive(connection, max_rows=1).done
    assert oldest.original_msg_id == failed["invalid_input"][0]
    assert [acted.error_class for acted in redrive(connection).done] == ["unknown_strategy"]
    assert list_dead_letters(connection) == []
    assert balanced(connection).waiting == 5


def test_redrive_is_done_once_however_often_it_is_called(connection: Connection, failed: dict[str, list[int]]) -> None:
    dead_letter = dead_letter_of(connection, failed["invalid_input"][0])
    [acted] = redrive(connection, ids=[dead_letter, dead_letter]).done
    for _ in range(3):
        again = redrive(connection, ids=[dead_letter])
        assert (again.done, [each.new_msg_id for each in again.already]) == ([], [acted.new_msg_id])
        with pytest.raises(ConflictError, match=f"already redriven as message {acted.new_msg_id} at .* by "):
            discard(connection, ids=[dead_letter])
    [recorded] = actions_of(connection, [dead_letter])
    assert (recorded.action, recorded.new_msg_id) == ("redrive", acted.new_msg_id)
    assert balanced(connection).waiting == 1
    assert one(connection, "SELECT count(*) FROM pgmq.a_workflow_errors WHERE msg_id = %s", dead_letter) == 1


def test_operators_who_redrive_at_once_send_each_message_once(connection: Connection, conninfo: str) -> None:
    ids = send(connection, [{}] * 400)
    drain(connection, 400)
    dead_letters = [each.dead_letter_id for each in list_dead_letters(connection, max_rows=400)]

    def operate(order: int) -> list[Acted]:
        with psycopg.connect(conninfo, autocommit=True) as operator:
            outcome = redrive(operator, ids=dead_letters[::order])
            assert len(outcome.done) + len(outcome.already) == 400
            return outcome.done

    with ThreadPoolExecutor(4) as threads:
        acted = [one_acted for found in threads.map(operate, (1, -1, 1, -1)) for one_acted in found]
    assert sorted(one_acted.original_msg_id or 0 for one_acted in acted) == ids
    assert len({one_acted.new_msg_id for one_acted in acted}) == 400
    assert balanced(connection).waiting == 400
    assert one(connection, "SELECT count(*) FROM nexus.dead_letter_actions") == 400


def test_discard_ends_a_dead_letter_and_sends_nothing(connection: Connection, failed: dict[str, list[int]]) -> None:
    acted = discard(connection, error_class="invalid_input", reason="x" * 5000).done
    assert sorted(one_acted.original_msg_id or 0 for one_acted in acted) == failed["invalid_input"]
    assert all(one_acted.new_msg_id is None for one_acted in acted)
    assert balanced(connection).waiting == 0
    assert len(list_dead_letters(connection)) == 3
    for action in actions_of(connection, [one_acted.dead_letter_id for one_acted in acted]):
        assert (action.action, action.reason) == ("discard", "x" * 2000)


def test_every_action_is_recorded_with_actor_reason_and_time(
    connection: Connection, failed: dict[str, list[int]]
) -> None:
    dead_letter = dead_letter_of(connection, failed["strategy_error"][1])
    [acted] = redrive(connection, ids=[dead_letter], reason="prices are back").done
    row = connection.execute(
        "SELECT dead_letter_id, action, error_class, original_queue, original_msg_id, new_msg_id, actor = session_user,"
        " reason, acted_at BETWEEN now() - interval '1 min' AND clock_timestamp() FROM nexus.dead_letter_actions"
    ).fetchone()
    assert row == (
        dead_letter, "redrive", "strategy_error", "workflow_main_queue", failed["strategy_error"][1], acted.new_msg_id,
        True, "prices are back", True,
    )  # fmt: skip
    assert len(list_dead_letters(connection)) == 4


def test_foreign_messages_among_the_dead_letters_can_be_listed_shown_and_discarded_but_not_redriven(
    connection: Connection, failed: dict[str, list[int]]
) -> None:
    foreign = [put(connection, text, queue=ERRORS_QUEUE) for text in FOREIGN]
    assert len(list_dead_letters(connection)) == 5 + len(foreign)
    assert sum(count.letters for count in count_by_class(connection)) == 5 + len(foreign)
    for dead_letter in foreign:
        assert dead_letter_history(connection, dead_letter).attempts == []
    # One names a queue that workers serve, and is a dead letter like any other.
    redriven = redrive(connection).done
    assert {acted.dead_letter_id for acted in redriven} & set(foreign) == {foreign[-1]}
    assert len(redriven) == 6
    assert sorted(each.dead_letter_id for each in list_dead_letters(connection)) == foreign[:-1]
    assert len(discard(connection).done) == len(foreign) - 1
    assert list_dead_letters(connection) == []
    drain(connection)
    balanced(connection)


def test_foreign_messages_do_not_count_towards_the_maximum_of_a_redrive(connection: Connection) -> None:
    for _ in range(3):
        put(connection, '{"x": 1}', queue=ERRORS_QUEUE)
    send(connection, [{}])
    drain(connection)
    assert len(redrive(connection, max_rows=1).done) == 1


def test_dead_letters_of_several_queues_go_back_each_to_its_own(connection: Connection) -> None:
    connection.execute("SELECT nexus.serve_queue('my_queue')")
    mine = send(connection, [{}, {"rsi": -1}], "my_queue")
    main = send(connection, [{}])
    drain(connection, queue="my_queue")
    drain(connection)
    acted = redrive(connection).done
    assert {(one_acted.original_queue, one_acted.original_msg_id) for one_acted in acted} == {
        *(("my_queue", msg_id) for msg_id in mine),
        *(("workflow_main_queue", msg_id) for msg_id in main),
    }
    assert balanced(connection, "my_queue").waiting == 2
    assert balanced(connection).waiting == 1


def test_a_redrive_that_fails_does_nothing_at_all(connection: Connection, failed: dict[str, list[int]]) -> None:
    connection.execute(
        "ALTER TABLE pgmq.q_workflow_main_queue ADD CONSTRAINT no_y CHECK (message ->> 'symbol' <> 'Y') NOT VALID"
    )
    with pytest.raises(psycopg.errors.CheckViolation):
        redrive(connection)
    assert len(list_dead_letters(connection)) == 5
    assert one(connection, "SELECT count(*) FROM nexus.dead_letter_actions") == 0
    assert balanced(connection).waiting == 0


def test_dead_letters_and_outcomes_agree(connection: Connection, failed: dict[str, list[int]]) -> None:
    assert {msg_id: error[0] for msg_id, error in errors_of(connection).items()} == {
        msg_id: error_class for error_class, msg_ids in failed.items() for msg_id in msg_ids
    }
    assert_each_has_one_outcome(connection, all_of(failed))
    assert drain(connection, policy=RetryPolicy()).completed == 0
