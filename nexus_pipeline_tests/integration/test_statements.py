"""Named statements: PostgreSQL takes each as it stands, against the schema of a migrated database."""

from __future__ import annotations

import re

import psycopg
import pytest
from aiosql.types import SQLOperationType
from psycopg.pq import ExecStatus

from nexus_pipeline.analytics.tables import TABLES
from nexus_pipeline.database.connection import Connection
from nexus_pipeline_tests.support.statements import FILES, statements


def prepare(connection: Connection, sql: str) -> None:
    """Has PostgreSQL parse and analyse a statement of psycopg without its parameters, whose types it must find out.

    By the protocol, as drivers do: the command PREPARE does not take SET TRANSACTION.
    """
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", sql)))
    numbered = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", sql).replace("%%", "%")
    result = connection.pgconn.prepare(b"", numbered.encode())
    if result.status != ExecStatus.COMMAND_OK:
        raise psycopg.errors.error_from_result(result)


def test_a_statement_that_does_not_fit_the_schema_is_noticed(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.UndefinedColumn):
        prepare(connection, "SELECT e.no_such_column FROM workflow_executions e WHERE e.id = %(id)s")
    with pytest.raises(psycopg.errors.DatatypeMismatch):
        prepare(connection, "UPDATE workflow_executions SET created_at = %(at)s::integer")


@pytest.mark.parametrize("file", FILES)
def test_every_named_statement_can_be_prepared(connection: Connection, file: str) -> None:
    for name, statement in statements(file).items():
        try:
            if statement.operation == SQLOperationType.SCRIPT:  # several statements, without parameters
                with connection.transaction(force_rollback=True):
                    connection.execute(statement.sql)
            else:
                shared = "{table}" in statement.sql
                for text in [t.compose(statement).as_string(connection) for t in TABLES] if shared else [statement.sql]:
                    prepare(connection, text)
        except Exception as error:
            error.add_note(f"sql/queries/{file}.sql, statement {name}")
            raise
