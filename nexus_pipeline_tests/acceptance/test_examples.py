"""The files of examples/, run as a user runs them against a real database."""

from __future__ import annotations

import subprocess
import sys

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


def test_the_statements_of_the_page_on_strategies_work_as_they_stand(connection: Connection) -> None:
    page = (PROJECT / "docs" / "how-to" / "add-a-strategy.md").read_text()
    create, register, second_version, limit = [block.split("```")[0] for block in page.split("```sql\n")[1:]]

    def status() -> object:
        send(connection, '{"rsi": 40, "strategy": "mean_reversion"}')
        script(connection, "process_once.sql")
        return one(
            connection,
            "SELECT coalesce(output_data ->> 'signal', error_details ->> 'error_message') FROM workflow_executions"
            " ORDER BY created_at DESC LIMIT 1",
        )

    connection.execute(create)
    connection.execute(register)
    assert status() == "BUY"
    connection.execute(limit)
    assert status() == "BUY"
    # One that reads a table: with the privileges of its owner it may not.
    connection.execute(
        "CREATE FUNCTION public.mean_reversion_1_1(request jsonb, decided_at timestamptz) RETURNS jsonb LANGUAGE sql"
        " AS $$ SELECT jsonb_build_object('signal', 'BUY', 'n', count(*)) FROM workflow_executions $$"
    )
    connection.execute(second_version)
    assert status() == "BUY"
    connection.execute(limit.replace("mean_reversion(", "mean_reversion_1_1(").replace("pg_catalog", "public"))
    assert status() == "permission denied for table workflow_executions"
