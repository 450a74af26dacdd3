"""`nexus errors`: list and show dead letters, redrive or discard each once."""

from __future__ import annotations

import json
import subprocess

import pytest

from nexus_pipeline.database.connection import Connection
from nexus_pipeline_tests.support.cli import Nexus, nexus_in
from nexus_pipeline_tests.support.queues import balanced, drain, one, put, send
from nexus_pipeline_tests.support.terminal import CTRL_C, on_terminal


@pytest.fixture
def nexus(nexus_env: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Nexus:
    """The command in the test's databases."""
    return nexus_in(nexus_env, capsys, monkeypatch)


@pytest.fixture
def dead_letters(connection: Connection) -> list[int]:
    """Five dead letters: three of invalid_input, two of unknown_strategy; returns their ids, oldest first."""
    send(connection, [{"rsi": 500}, {}, {"rsi": "x"}, {"rsi": 5, "strategy": "none"}, {"rsi": 6, "strategy": "none"}])
    assert drain(connection).dead_lettered == 5
    rows = connection.execute("SELECT dead_letter_id FROM nexus.dead_letters ORDER BY original_msg_id").fetchall()
    return [row[0] for row in rows]


def waiting(connection: Connection) -> int:
    return int(one(connection, "SELECT count(*) FROM nexus.dead_letters"))


def test_the_list_shows_the_newest_first(nexus: Nexus, dead_letters: list[int]) -> None:
    found = nexus("errors", "list", "--json").json
    assert [each["dead_letter_id"] for each in found] == sorted(dead_letters, reverse=True)
    assert found[-1] | {"dead_lettered_at": "", "execution_id": ""} == {
        "dead_letter_id": 1, "dead_lettered_at": "", "error_class": "invalid_input", "error_code": "22023",
        "error_message": "rsi: must be a number from 0 to 100", "attempts": 1, "original_queue": "workflow_main_queue",
        "original_msg_id": 1, "execution_id": "", "original_message": {"rsi": 500},
    }  # fmt: skip
    of_class = nexus("errors", "list", "--class", "unknown_strategy", "--json").json
    assert len(of_class) == 2
    table = nexus("errors", "list", "--limit", "2").out
    assert "unknown_strategy" in table
    assert "2 dead letters, and there may be more" in table


def test_the_list_can_count_by_class(nexus: Nexus, dead_letters: list[int]) -> None:
    counts = nexus("errors", "list", "--by-class", "--json").json
    assert {each["error_class"]: each["letters"] for each in counts} == {"invalid_input": 3, "unknown_strategy": 2}
    assert "invalid_input" in nexus("errors", "list", "--by-class").out


def test_one_dead_letter_is_shown_in_full(nexus: Nexus, dead_letters: list[int]) -> None:
    shown = nexus("errors", "show", str(dead_letters[0]), "--json").json
    assert shown["message"]["original_message"] == {"rsi": 500}
    assert [attempt["status"] for attempt in shown["attempts"]] == ["error"]
    assert shown["actions"] == []
    readable = nexus("errors", "show", str(dead_letters[0])).out
    assert json.loads(readable)["message"]["error_details"]["field"] == "rsi"
    assert "there is no dead letter 99" in nexus("errors", "show", "99").line


def test_a_redrive_by_id_is_done_once_and_says_so_the_second_time(
    nexus: Nexus, connection: Connection, dead_letters: list[int]
) -> None:
    first = nexus("errors", "redrive", str(dead_letters[0]), "--reason", "tried", "--json").json
    assert [(each["dead_letter_id"], each["new_msg_id"]) for each in first["done"]] == [(dead_letters[0], 6)]
    again = nexus("errors", "redrive", str(dead_letters[0]), str(dead_letters[0]))
    assert again.code == 0
    assert "already redriven as message 6" in again.out
    assert "(tried)" in again.out
    assert "0 dead letters redriven" in again.out
    assert nexus("errors", "redrive", str(dead_letters[0]), "--json").json["already"][0]["new_msg_id"] == 6
    assert balanced(connection).sent == 6


def test_an_unknown_id_is_a_user_error_and_nothing_is_done(
    nexus: Nexus, connection: Connection, dead_letters: list[int]
) -> None:
    ended = nexus("errors", "redrive", str(dead_letters[0]), "99")
    assert ended.code == 2
    assert ended.line == "nexus: there is no dead letter 99; nothing was redriven"
    assert waiting(connection) == 5


def test_a_discarded_dead_letter_cannot_be_redriven_and_the_reverse(nexus: Nexus, dead_letters: list[int]) -> None:
    assert nexus("errors", "discard", str(dead_letters[0])).code == 0
    assert "already discarded" in nexus("errors", "discard", str(dead_letters[0])).out
    ended = nexus("errors", "redrive", str(dead_letters[0]))
    assert (ended.code, "already discarded" in ended.line) == (2, True)
    assert nexus("errors", "redrive", str(dead_letters[1])).code == 0
    ended = nexus("errors", "discard", str(dead_letters[1]))
    assert (ended.code, "already redriven as message 6" in ended.line) == (2, True)


def test_a_redrive_by_class_takes_the_oldest_first(
    nexus: Nexus, connection: Connection, dead_letters: list[int]
) -> None:
    done = nexus("errors", "redrive", "--class", "invalid_input", "--limit", "2", "--json").json["done"]
    assert [each["dead_letter_id"] for each in done] == sorted(dead_letters[:3])[:2]
    assert nexus("errors", "redrive", "--class", "no_such_class", "--json").json["done"] == []
    assert waiting(connection) == 3


def test_a_redrive_of_all_leaves_none(nexus: Nexus, connection: Connection, dead_letters: list[int]) -> None:
    assert "5 dead letters redriven" in nexus("errors", "redrive", "--all").out
    assert waiting(connection) == 0
    assert drain(connection).dead_lettered == 5
    assert balanced(connection).dead_lettered == 10


def test_a_dead_letter_that_names_no_queue_can_be_discarded_but_not_redriven(
    nexus: Nexus, connection: Connection
) -> None:
    by_hand = str(put(connection, '"hello"', queue="workflow_errors"))
    ended = nexus("errors", "redrive", by_hand)
    assert (ended.code, "no queue that takes requests" in ended.line) == (2, True)
    assert nexus("errors", "show", by_hand).code == 0
    assert nexus("errors", "discard", by_hand).code == 0
    assert waiting(connection) == 0


def test_discarding_many_needs_yes_without_a_terminal(
    nexus_env: dict[str, str], connection: Connection, dead_letters: list[int]
) -> None:
    command = ["nexus", "errors", "discard", "--all"]
    done = subprocess.run(command, env=nexus_env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, "--yes" in done.stderr) == (2, "", True)
    assert waiting(connection) == 5
    done = subprocess.run([*command, "--yes"], env=nexus_env, capture_output=True, text=True, check=True)
    assert done.stdout == "5 dead letters discarded\n"
    assert waiting(connection) == 0


@pytest.mark.parametrize(("answer", "code", "left"), [(b"n\n", 1, 5), (b"y\n", 0, 2), (CTRL_C, 130, 5)])
def test_discarding_many_asks_on_a_terminal(
    nexus_env: dict[str, str], connection: Connection, dead_letters: list[int], answer: bytes, code: int, left: int
) -> None:
    with on_terminal(["nexus", "errors", "discard", "--class", "invalid_input"], nexus_env) as terminal:
        terminal.until(b"discard 3 dead letters? [y/N]: ")
        terminal.answer(answer)
        assert terminal.end() == code
    assert waiting(connection) == left


HOSTILE = [
    '{"rsi": 5, "strategy": "\\u001b[2J\\u009b"}',
    '{"rsi": 1e4000}',
    '{"rsi": ' + "9" * 5_000 + "}",
    "[" * 2_000 + "]" * 2_000,
    '{"rsi": 1.2345678901234567890123456789, "price": -1}',
    '"x"',
    "null",
]


def test_any_message_can_be_listed_shown_and_redriven(nexus: Nexus, connection: Connection) -> None:
    for text in HOSTILE:
        put(connection, text)
    assert drain(connection).dead_lettered == len(HOSTILE)
    for arguments in (["list"], *(["show", str(number)] for number in range(1, len(HOSTILE) + 1))):
        for option in ([], ["--json"]):
            ended = nexus("errors", *arguments, *option)
            assert (ended.code, ended.err) == (0, "")
            assert "\x1b" not in ended.out
            assert "\x9b" not in ended.out
    assert "1.2345678901234567890123456789" in nexus("errors", "list", "--json").out
    assert nexus("executions", "--status", "error", "--json").json[0]["status"] == "error"
    assert len(nexus("errors", "redrive", "--all", "--json").json["done"]) == len(HOSTILE)


def test_two_operators_who_redrive_at_once_send_each_dead_letter_once(
    nexus_env: dict[str, str], connection: Connection, dead_letters: list[int]
) -> None:
    command = ["nexus", "errors", "redrive", *map(str, dead_letters), "--json"]
    both = [subprocess.Popen(command, env=nexus_env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    ended = [json.loads(process.communicate(timeout=240)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(len(each["done"]) for each in ended) == 5
    assert sum(len(each["already"]) for each in ended) == 5
    assert balanced(connection).sent == 10
