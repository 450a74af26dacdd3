"""`nexus` without a database: help, arguments, errors."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest
import typer

from nexus_pipeline import settings
from nexus_pipeline.cli import app as cli
from nexus_pipeline.cli.arguments import parse_since
from nexus_pipeline.cli.root import _ORDER
from nexus_pipeline.errors import FailedError, InterruptError, NotFoundError, UnavailableError, UserError
from nexus_pipeline_tests.support.cli import Nexus

ID = "019a3c1e-7b1f-7cc2-8d0a-5f6e7a8b9c0d"


def verbs() -> Iterator[tuple[str, ...]]:
    todo = [((), typer.main.get_command(cli.app))]
    while todo:
        path, command = todo.pop()
        yield path
        todo += [((*path, name), inner) for name, inner in getattr(command, "commands", {}).items()]


@pytest.mark.parametrize("verb", sorted(verbs()), ids=" ".join)
def test_every_verb_has_help_with_an_example(nexus: Nexus, verb: tuple[str, ...]) -> None:
    ended = nexus(*verb, "--help")
    assert ended.code == 0
    assert f"Example: nexus {' '.join(verb)}".strip() in " ".join(ended.out.split())
    assert ended.err == ""


def leaves() -> list[tuple[str, ...]]:
    found = sorted(verbs())
    return [verb for verb in found if verb and not any(other[:-1] == verb for other in found)]


@pytest.mark.parametrize("verb", leaves(), ids=" ".join)
def test_every_verb_refuses_an_unknown_option_in_one_line(nexus: Nexus, verb: tuple[str, ...]) -> None:
    ended = nexus(*verb, "--no-such-option")
    assert ended.code == 2
    assert ended.line.startswith(f"nexus {' '.join(verb)}: ")
    assert "--no-such-option" in ended.line


@pytest.mark.parametrize("verb", [verb for verb in leaves() if verb != ("up",)], ids=" ".join)
def test_every_verb_with_results_prints_them_as_json(nexus: Nexus, verb: tuple[str, ...]) -> None:
    assert "--json" in nexus(*verb, "--help").out


def test_the_help_lists_the_verbs_in_the_order_of_use(nexus: Nexus) -> None:
    listed = re.findall(r"^  (\w+)  ", nexus("--help").out.partition("Commands:")[2], flags=re.MULTILINE)
    assert tuple(listed) == _ORDER


def test_all_verbs_of_the_contract_exist() -> None:
    named = {" ".join(verb) for verb in verbs()}
    assert named >= {
        "up",
        "down",
        "demo",
        "migrate",
        "send",
        "status",
        "executions",
        "executions show",
        "doctor",
        "errors list",
        "errors show",
        "errors redrive",
        "errors discard",
    }


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; from nexus_pipeline.cli import app as cli\n"
        "assert cli.run_command(['--help']) == 0\n"
        "heavy = {'dagster', 'psycopg', 'pydantic', 'numpy', 'sqlalchemy', 'psutil'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr


def test_version_is_printed(nexus: Nexus) -> None:
    ended = nexus("--version")
    assert ended.code == 0
    assert ended.out.startswith("nexus 0.")


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_2(nexus: Nexus) -> None:
    ended = nexus()
    assert ended.code == 2
    assert "send" in ended.out
    assert ended.err == "nexus: no command was given\n"


USER_ERRORS = [
    ("frobnicate", "No such command 'frobnicate'"),
    ("send", "nothing to send"),
    ("send --rsi", "--rsi"),
    ("send --rsi 5 --queue MyQ", "queue name 'MyQ'"),
    ("send --rsi 5 --count 0", "--count"),
    ("send --rsi 5 --count many", "--count"),
    ("send --rsi 5 --delay -1", "--delay"),
    ("send --rsi 5 --event-id e --count 2", "event_id"),
    ("send --rsi 5 --json-request {}", "--json-request and --rsi"),
    ("send --file f --json-request {}", "--file and --json-request"),
    ("send --file /nowhere/to/be/found", "No such file or directory"),
    ("send --file /", "Is a directory"),
    ("send --file f --rsi 5", "--file and --rsi"),
    ("send requests.jsonl", "the only argument is -"),
    ("status --queue Queue", "queue name 'Queue'"),
    ("status --watch 0", "--watch"),
    ("status --watch 1 --json", "--watch"),
    ("executions --status done", "--status: 'done'"),
    ("executions --signal STRONG", "--signal: 'STRONG'"),
    ("executions --since yesterday", "--since"),
    ("executions --since 2026-01-01T00:00:00", "--since"),
    ("executions --since 999999999w", "--since"),
    ("executions --limit 0", "--limit"),
    ("executions --msg-id -1", "--msg-id"),
    ("executions show 12", "12 is not the id of an execution"),
    ("executions show", "Missing argument"),
    (f"executions --json show {ID}", "takes no options of the list"),
    ("errors", "Missing command"),
    ("errors show x", "ID"),
    ("errors show 0", "ID"),
    ("errors list --limit -3", "--limit"),
    ("errors list --class x --by-class", "--by-class"),
    ("errors redrive", "which dead letters"),
    ("errors redrive 1 --all", "which dead letters"),
    ("errors redrive --class x --all", "which dead letters"),
    ("errors redrive 1 --limit 1", "--limit"),
    ("errors redrive 0", "0 is not the id"),
    ("errors redrive 99999999999999999999", "99999999999999999999 is not the id"),
    ("errors discard", "which dead letters"),
    ("migrate --to 0003", "no migration is named 0003"),
    ("migrate --to nothing", "--yes"),
    ("migrate --yes", "--to"),
    ("up --port 0", "--port"),
    ("doctor --port 65536", "--port"),
]


@pytest.mark.parametrize(("arguments", "said"), USER_ERRORS, ids=[arguments for arguments, _ in USER_ERRORS])
def test_a_user_error_is_one_line_and_exit_code_2_without_a_database(nexus: Nexus, arguments: str, said: str) -> None:
    ended = nexus(*arguments.split())
    assert ended.code == 2
    assert said in ended.line


@pytest.mark.parametrize("name", ["executions --symbol", "errors list --class", "errors redrive --reason"])
def test_an_option_that_is_not_utf8_is_refused(nexus: Nexus, name: str) -> None:
    ended = nexus(*name.split(), "\udce9")
    assert ended.code == 2
    assert "is not UTF-8" in ended.line


WITH_DATABASE = [
    "send --rsi 5",
    "status",
    "executions",
    f"executions show {ID}",
    "errors list",
    "errors show 1",
    "errors redrive 1",
    "errors redrive --all",
    "errors discard --all --yes",
    "migrate",
    "migrate --to nothing --yes",
]


@pytest.mark.parametrize("arguments", WITH_DATABASE)
def test_a_database_that_does_not_answer_is_one_line_without_the_password(nexus: Nexus, arguments: str) -> None:
    ended = nexus(*arguments.split())
    assert ended.code == 1
    assert "no connection to PostgreSQL at 127.0.0.1:1/nothing" in ended.line
    assert "geheim" not in ended.err


@pytest.mark.parametrize("verb", ["send --rsi 5", "status", "down", "doctor", "errors list"])
def test_a_variable_out_of_range_is_refused_by_name(nexus: Nexus, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.setenv("NEXUS_POOL_SIZE", "99")
    ended = nexus(*verb.split())
    assert ended.code == 2
    assert ended.line.startswith("nexus: NEXUS_POOL_SIZE: ")


def test_a_wrong_url_is_refused_in_one_line_that_does_not_repeat_it(
    nexus: Nexus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXUS_DATABASE_URL", "host geheim")
    ended = nexus("status")
    assert ended.code == 2
    assert "NEXUS_DATABASE_URL" in ended.line
    assert "geheim" not in ended.err


def server_error(sqlstate: str) -> psycopg.Error:
    return psycopg.errors.lookup(sqlstate)("the words of the server\nDETAIL: more")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("wrong"), 2, "nexus: wrong"),
        (NotFoundError("none"), 2, "nexus: none"),
        (UnavailableError("two\nlines\x1b[2J"), 1, "nexus: two lines\ufffd[2J"),
        (FailedError("half"), 1, "nexus: half"),
        (InterruptError("half"), 130, "nexus: half"),
        (KeyboardInterrupt(), 130, "nexus: interrupted"),
        (PermissionError(13, "Permission denied", "/x"), 1, "nexus: /x: Permission denied"),
        (psycopg.OperationalError("gone"), 1, "nexus: the connection to PostgreSQL was lost: gone"),
        (server_error("57P01"), 1, "nexus: the connection to PostgreSQL was lost: the words of the server"),
        (server_error("08006"), 1, "nexus: the connection to PostgreSQL was lost: the words of the server"),
        *(
            (server_error(state), 1, "nexus: PostgreSQL refused: the words of the server")
            for state in ("40P01", "55P03", "57014", "53100", "25006", "42501", "23505", "22P02", "P0001")
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_each_kind_of_error_has_its_exit_code_and_one_line(
    nexus: Nexus, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    monkeypatch.setattr(settings, "load_settings", raiser(error))
    ended = nexus("down")
    assert (ended.code, ended.line) == (code, line)


@pytest.mark.parametrize(
    "error", [server_error("42601"), server_error("42P01"), psycopg.InterfaceError("misused"), ValueError("oops")]
)
def test_a_defect_keeps_its_traceback(nexus: Nexus, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(settings, "load_settings", raiser(error))
    with pytest.raises(type(error)) as caught:
        nexus("down")
    assert caught.value is error


def raiser(error: BaseException) -> Callable[[], NoReturn]:
    def load_settings() -> NoReturn:
        raise error

    return load_settings


def test_the_installed_command_ends_with_its_code() -> None:
    command = [str(Path(sys.executable).parent / "nexus"), "send", "--rsi", "5", "--count", "2", "--event-id", "e"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "nexus: --count: a request with an event_id is queued once, however often it is sent\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", "2026-01-31T08:58:30"),
        ("30m", "2026-01-31T08:30:00"),
        ("1h", "2026-01-31T08:00:00"),
        ("2d", "2026-01-29T09:00:00"),
        ("1W", "2026-01-24T09:00:00"),
        ("2026-01-31T09:00:00+09:00", "2026-01-31T00:00:00"),
    ],
)
def test_since_is_a_duration_or_a_time(text: str, expected: str) -> None:
    now = datetime(2026, 1, 31, 9, tzinfo=UTC)
    assert parse_since(text, now) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1.5h", "1y", "2026-01-31", "2026-13-01T00:00:00Z", "99999999w"])
def test_since_refuses_anything_else(text: str) -> None:
    with pytest.raises(UserError, match="--since"):
        parse_since(text, datetime.now(UTC))
