"""Named statements: PostgreSQL takes each as it stands, against the schema of a migrated database."""

from __future__ import annotations

import re

import pytest
from aiosql.types import SQLOperationType

from nexus_pipeline.database.connection import Connection
from nexus_pipeline_tests.support.statements import FILES, statements


def prepare(connection: Connection, sql: str) -> None:
    """Has PostgreSQL parse and analyse a statement of psycopg without its parameters, whose types it must find out."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", sql)))
    numbered = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", sql).replace("%%", "%")
    connection.execute(f"PREPARE named AS {numbered}")
    connection.execute("DEALLOCATE named")


@pytest.mark.parametrize("file", FILES)
def test_every_named_statement_can_be_prepared(connection: Connection, file: str) -> None:
    for name, statement in statements(file).items():
        try:
            if statement.operation == SQLOperationType.SCRIPT:  # several statements, without parameters
                with connection.transaction(force_rollback=True):
                    connection.execute(statement.sql)
            else:
                prepare(connection, statement.sql)
        except Exception as error:
            error.add_note(f"sql/queries/{file}.sql, statement {name}")
            raise
