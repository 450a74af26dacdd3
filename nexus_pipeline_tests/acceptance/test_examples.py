"""The files of examples/, run as a user runs them against a real database."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nexus_pipeline.database.connection import Connection
from nexus_pipeline_tests.support.commands import PROJECT
from nexus_pipeline_tests.support.queues import one

EXAMPLES = PROJECT / "examples"


def program(env: dict[str, str], name: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)], env=env, capture_output=True, text=True, timeout=240, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def script(connection: Connection, name: str) -> None:
    connection.execute((EXAMPLES / name).read_text())


def send(connection: Connection, *requests: str) -> None:
    connection.execute("SELECT nexus.enqueue('workflow_main_queue', %s::jsonb[])", (list(requests),))


def test_every_example_is_listed_in_its_readme_and_run_here() -> None:
    files = {file.name for file in EXAMPLES.iterdir() if file.name != "README.md"}
    assert files == {"send_requests.py", "consume_results.py", "mean_reversion.sql", "process_once.sql"}
    readme = (EXAMPLES / "README.md").read_text()
    assert [name for name in files if f"`{name}`" not in readme] == []


def test_the_sender_sends_each_event_once(nexus_env: dict[str, str], connection: Connection) -> None:
    assert program(nexus_env, "send_requests.py") == "2 sent, 0 duplicates\n"
    assert program(nexus_env, "send_requests.py") == "0 sent, 2 duplicates\n"
    assert one(connection, "SELECT waiting FROM nexus.depth('workflow_main_queue')") == 2


def test_the_consumer_acts_once_for_an_execution_that_is_delivered_twice(
    nexus_env: dict[str, str], connection: Connection
) -> None:
    send(connection, '{"rsi": 25}', '{"rsi": 50}', '{"rsi": 75}')
    script(connection, "process_once.sql")
    program(nexus_env, "consume_results.py")
    orders = "SELECT array_agg(side ORDER BY side) FROM public.orders"
    assert one(connection, orders) == ["BUY", "SELL"]
    assert one(connection, "SELECT count(*) FROM pgmq.q_workflow_results") == 0
    # A consumer that died after it acted gets the same results again.
    connection.execute("SELECT pgmq.send('workflow_results', message) FROM pgmq.a_workflow_results")
    program(nexus_env, "consume_results.py")
    assert one(connection, orders) == ["BUY", "SELL"]
    assert one(connection, "SELECT count(*) FROM pgmq.q_workflow_results") == 0


def test_the_strategy_decides_by_its_active_version(connection: Connection) -> None:
    script(connection, "mean_reversion.sql")
    decisions = []
    for version in ("1.1", "1.0"):
        connection.execute("SELECT nexus.activate_strategy('mean_reversion', %s)", (version,))
        send(connection, '{"rsi": 60, "strategy": "mean_reversion"}')
        script(connection, "process_once.sql")
        decisions.append(
            one(
                connection,
                "SELECT ARRAY[workflow_version, output_data ->> 'signal'] FROM workflow_executions"
                " ORDER BY created_at DESC LIMIT 1",
            )
        )
    assert decisions == [["1.1", "SELL"], ["1.0", "HOLD"]]


@pytest.mark.parametrize("page", ["how-to/add-a-strategy.md"])
def test_the_statements_of_a_page_work_as_they_stand(page: str, connection: Connection) -> None:
    text = (PROJECT / "docs" / page).read_text()
    statements = [block.split("```")[0] for block in text.split("```sql\n")[1:]]
    connection.execute(statements[0])
    connection.execute(statements[1])
    send(connection, '{"rsi": 40, "strategy": "mean_reversion"}')
    script(connection, "process_once.sql")
    assert one(connection, "SELECT output_data ->> 'signal' FROM workflow_executions") == "BUY"
