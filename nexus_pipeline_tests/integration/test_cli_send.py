"""`nexus send`: what reaches the queue, and that nothing does when one request is refused."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from nexus_pipeline.database.connection import Connection
from nexus_pipeline_tests.support.cli import Nexus, nexus_in
from nexus_pipeline_tests.support.queues import balanced, drain, one


@pytest.fixture
def nexus(nexus_env: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Nexus:
    """The command in the test's databases."""
    return nexus_in(nexus_env, capsys, monkeypatch)


def queued(connection: Connection) -> list[Any]:
    """The messages of the main queue, in their order."""
    rows = connection.execute("SELECT message FROM pgmq.q_workflow_main_queue ORDER BY msg_id").fetchall()
    return [row[0] for row in rows]


def test_one_request_by_options_is_queued_as_it_was_given(nexus: Nexus, connection: Connection) -> None:
    options = "--rsi 29.600000000000000001 --price 1.05 --volume 7 --symbol EURUSD --trend bullish --source me"
    ended = nexus("send", *options.split(), "--event-id", "e1", "--occurred-at", "2026-01-31T09:00:00Z", "--json")
    assert ended.json == {
        "queue": "workflow_main_queue", "sent": 1, "duplicates": 0, "first_msg_id": 1, "last_msg_id": 1,
    }  # fmt: skip
    assert queued(connection) == [
        {
            "rsi": 29.6, "price": 1.05, "volume": 7, "symbol": "EURUSD", "source": "me", "event_id": "e1",
            "market_context": {"trend": "bullish"}, "occurred_at": "2026-01-31T09:00:00Z",
        }
    ]  # fmt: skip
    digits = one(connection, "SELECT message ->> 'rsi' FROM pgmq.q_workflow_main_queue")
    assert digits == "29.600000000000000001"


def test_an_event_is_queued_once_and_the_duplicate_is_told(nexus: Nexus, connection: Connection) -> None:
    assert "as message 1" in nexus("send", "--rsi", "25", "--event-id", "e1").out
    assert "1 duplicate left out" in nexus("send", "--rsi", "25", "--event-id", "e1").out
    assert len(queued(connection)) == 1


def test_the_same_request_can_be_sent_often(nexus: Nexus, connection: Connection) -> None:
    assert nexus("send", "--rsi", "25", "--count", "2500", "--json").json["sent"] == 2500
    assert one(connection, "SELECT count(*) FROM pgmq.q_workflow_main_queue") == 2500


def test_a_file_of_json_lines_is_sent_in_its_order(nexus: Nexus, connection: Connection, tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text("".join(f'{{"rsi": {number % 101}, "n": {number}}}\n' for number in range(3_001)))
    assert nexus("send", "--file", str(file), "--json").json["sent"] == 3_001
    assert [message["n"] for message in queued(connection)] == list(range(3_001))


def test_one_faulty_line_in_a_file_and_nothing_is_sent(nexus: Nexus, connection: Connection, tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text('{"rsi": 5}\n' * 1_500 + '{"rsi": 500}\n{"rsi": 5}\n{"price": 1}\n')
    ended = nexus("send", "--file", str(file))
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines() == [
        "line 1501: rsi: must be a number from 0 to 100",
        "line 1503: rsi: is required",
        "nexus: 2 lines refused; nothing was sent",
    ]
    assert queued(connection) == []


def test_standard_input_is_read_by_the_installed_command(nexus_env: dict[str, str], connection: Connection) -> None:
    lines = '{"rsi": 5}\n{"rsi": 6}\n'
    for arguments in (["-"], ["--file", "-"]):
        done = subprocess.run(
            ["nexus", "send", *arguments], env=nexus_env, input=lines, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert [message["rsi"] for message in queued(connection)] == [5, 6, 5, 6]
    closed = subprocess.run("nexus send - <&-", shell=True, env=nexus_env, capture_output=True, text=True, check=False)
    assert (closed.returncode, closed.stderr) == (2, "nexus: standard input is closed\n")


def test_an_empty_file_sends_nothing_and_succeeds(nexus: Nexus, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert nexus("send", "--file", str(tmp_path / "empty"), "--json").json["sent"] == 0


MISTAKES = [
    ("--rsi abc", "rsi: must be a number from 0 to 100"),
    ("--rsi NaN", "rsi: must be a number from 0 to 100"),
    ("--rsi -inf", "rsi: must be a number from 0 to 100"),
    ("--rsi 100.0001", "rsi: must be a number from 0 to 100"),
    ("--rsi 1e400", "rsi: must be a number from 0 to 100"),
    ("--rsi 1e4000", "rsi: is a number out of range"),
    ("--price 5", "rsi: is required"),
    ("--rsi 5 --price -1", "price: must be a number that is 0 or more"),
    ("--rsi 5 --volume much", "volume: must be a number that is 0 or more"),
    (
        "--rsi 5 --occurred-at 2026-01-01",
        "occurred_at: must be an ISO 8601 time with an offset, as in 2026-01-31T09:00:00Z",
    ),
    ("--rsi 5 --symbol \udce9", "symbol: must not contain an unpaired surrogate"),
    ("--json-request null", "message: must be a JSON object, not null"),
    ("--json-request [1]", "message: must be a JSON object, not an array"),
    ('--json-request {"rsi":NaN} --force', "rsi: NaN is not JSON"),
    (r'--json-request {"rsi":5,"a":"\u0000"} --force', "a: must not contain the character NUL"),
    ('--json-request {"rsi":5', "message: is not JSON: Expecting ',' delimiter at line 1, column 9"),
    ("--json-request {} --count 3", "rsi: is required"),
]


@pytest.mark.parametrize(("arguments", "said"), MISTAKES, ids=[ascii(arguments) for arguments, _ in MISTAKES])
def test_a_refused_request_is_one_line_with_field_and_reason(
    nexus: Nexus, connection: Connection, arguments: str, said: str
) -> None:
    ended = nexus("send", *arguments.split())
    assert (ended.code, ended.line) == (2, f"nexus: {said}; nothing was sent")
    assert queued(connection) == []


def test_ctrl_c_while_a_file_is_checked_sends_nothing(nexus_env: dict[str, str], connection: Connection) -> None:
    command = ["nexus", "send", "-"]
    process = subprocess.Popen(
        command, env=nexus_env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    process.stdin.write('{"rsi": 25}\n' * 20_000)  # more than the pipe holds: some of it is being checked
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "nexus: interrupted\n")
    assert queued(connection) == []


BAD = [
    "{}", '{"rsi": null}', '{"rsi": "25"}', '{"rsi": -1}', '{"rsi": 101}', '{"rsi": 1e400}', "5", "[1]", "null",
    '{"rsi": 5, "price": -1}', '{"rsi": 5, "volume": -1}', '{"rsi": 5, "market_context": []}',
    '{"rsi": 5, "occurred_at": "soon"}', '{"rsi": 5, "note": "%s"}' % ("x" * 1_000_000),
]  # fmt: skip


def test_what_the_check_refuses_can_be_forced_and_becomes_a_dead_letter(
    nexus: Nexus, connection: Connection, tmp_path: Path
) -> None:
    file = tmp_path / "bad.jsonl"
    for text in BAD:
        file.write_text(text + "\n")
        assert nexus("send", "--file", str(file)).code == 2
    assert queued(connection) == []
    file.write_text("\n".join(BAD))
    assert nexus("send", "--file", str(file), "--force", "--json").json["sent"] == len(BAD)
    assert drain(connection).dead_lettered == len(BAD)
    assert balanced(connection).dead_lettered == len(BAD)


def test_what_postgresql_cannot_store_is_refused_even_when_forced(nexus: Nexus, connection: Connection) -> None:
    for text in ('{"rsi": NaN}', '{"rsi": Infinity}', '{"rsi": 5, "note": "a\\u0000b"}', '{"rsi": 5, "a": "\\ud800"}'):
        ended = nexus("send", "--json-request", text, "--force")
        assert ended.code == 2
        assert "nothing was sent" in ended.line
    assert queued(connection) == []


def test_data_that_postgresql_refuses_is_a_mistake_of_the_sender(
    nexus: Nexus, connection: Connection, tmp_path: Path
) -> None:
    refuse_when(connection, "true", "22023")
    (tmp_path / "one.jsonl").write_text('{"rsi": 5}')
    for source in ("--json-request", '{"rsi": 5}'), ("--file", str(tmp_path / "one.jsonl")):
        for options in (), ("--force",):
            ended = nexus("send", *source, *options)
            assert (ended.code, ended.line) == (2, "nexus: PostgreSQL refused: not here: 0 of 1 requests were sent")


def test_a_queue_that_is_not_there_or_takes_no_requests_is_a_mistake(nexus: Nexus, connection: Connection) -> None:
    assert "there is no queue nowhere" in nexus("send", "--rsi", "5", "--queue", "nowhere").line
    ended = nexus("send", "--rsi", "5", "--queue", "workflow_errors")
    assert ended.code == 2
    assert "takes no signal requests" in ended.line
    connection.execute("SELECT nexus.serve_queue('mine')")
    assert nexus("send", "--rsi", "5", "--queue", "mine", "--json").json["queue"] == "mine"


def test_a_delayed_request_waits(nexus: Nexus, connection: Connection) -> None:
    assert nexus("send", "--rsi", "5", "--delay", "600").code == 0
    ahead = one(connection, "SELECT extract(epoch FROM vt - clock_timestamp()) FROM pgmq.q_workflow_main_queue")
    assert 590 < ahead <= 600


def test_ctrl_c_ends_after_a_whole_batch_and_says_how_many_were_sent(
    nexus_env: dict[str, str], connection: Connection
) -> None:
    command = ["nexus", "send", "--rsi", "25", "--count", "50000000"]
    process = subprocess.Popen(command, env=nexus_env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while one(connection, "SELECT count(*) FROM pgmq.q_workflow_main_queue") < 3_000:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=240)
    assert (process.returncode, out) == (130, "")
    sent = one(connection, "SELECT count(*) FROM pgmq.q_workflow_main_queue")
    assert err == f"nexus: interrupted: {sent:,} of 50,000,000 requests were sent\n"


def test_a_lost_connection_is_told_with_what_is_known(
    nexus_env: dict[str, str], connection: Connection, conninfo: str
) -> None:
    command = ["nexus", "send", "--rsi", "25", "--count", "50000000"]
    process = subprocess.Popen(command, env=nexus_env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while one(connection, "SELECT count(*) FROM pgmq.q_workflow_main_queue") < 3_000:
        assert process.poll() is None
        time.sleep(0.05)
    with psycopg.connect(conninfo, autocommit=True) as killer:
        killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'nexus'"
        )
    out, err = process.communicate(timeout=240)
    assert (process.returncode, out, err.count("\n")) == (1, "", 1)
    known = re.fullmatch(
        r"nexus: the connection to PostgreSQL was lost: .*: ([\d,]+) of 50,000,000 requests were sent,"
        r" and of the 1,000 after them none or all\n",
        err,
    )
    assert known is not None, err
    told = int(known[1].replace(",", ""))
    sent = one(connection, "SELECT count(*) FROM pgmq.q_workflow_main_queue")
    assert sent - told in (0, 1_000)


@pytest.mark.parametrize("sqlstate", ["P0001", "40001", "57014", "53100"])
def test_a_refusal_after_the_first_batch_is_told_with_what_was_sent(
    nexus: Nexus, connection: Connection, tmp_path: Path, sqlstate: str
) -> None:
    refuse_when(connection, "NEW.message ->> 'symbol' = 'BAD'", sqlstate)
    lines = ['{"rsi": 25}'] * 2_500
    lines[1_200] = '{"rsi": 25, "symbol": "BAD"}'
    (tmp_path / "requests").write_text("\n".join(lines))
    ended = nexus("send", "--file", str(tmp_path / "requests"))
    assert (ended.code, ended.line) == (1, "nexus: PostgreSQL refused: not here: 1,000 of 2,500 requests were sent")
    assert one(connection, "SELECT count(*) FROM pgmq.q_workflow_main_queue") == 1_000


def refuse_when(connection: Connection, condition: str, sqlstate: str) -> None:
    """Have a trigger of a user refuse messages."""
    connection.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$BEGIN RAISE 'not here' USING ERRCODE = '{sqlstate}'; END$$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON pgmq.q_workflow_main_queue FOR EACH ROW"
        f" WHEN ({condition}) EXECUTE FUNCTION refuse()"
    )


def test_a_long_send_shows_a_bar_on_a_terminal_only(nexus_env: dict[str, str], connection: Connection) -> None:
    ours, theirs = pty.openpty()
    command = ["nexus", "send", "--rsi", "25", "--count", "50000000"]
    process = subprocess.Popen(command, env=nexus_env, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = b""
    while b"50000000" not in shown:
        shown += os.read(ours, 65_536)
    process.send_signal(signal.SIGINT)
    while True:
        try:
            shown += os.read(ours, 65_536)
        except OSError:  # the other side is closed
            break
    assert process.wait(240) == 130
    assert process.stdout is not None
    assert process.stdout.read() == b""
    process.stdout.close()
    os.close(ours)
    assert b"interrupted" in shown


def test_json_on_standard_output_is_one_object_and_nothing_else(nexus_env: dict[str, str]) -> None:
    done = subprocess.run(
        ["nexus", "send", "--rsi", "5", "--json"], env=nexus_env, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["sent"] == 1
    assert done.stderr == ""
