"""The comparison of schemas, by which the other tests of this folder judge, notices every kind of difference."""

from __future__ import annotations

import pytest

from nexus_pipeline.database.connection import Connection
from nexus_pipeline_tests.support.schema import catalog

DIFFERENCES = [
    "CREATE TABLE nexus.another (a integer)",
    "DROP VIEW trading_workflow_dashboard",
    "ALTER TABLE workflow_executions ADD COLUMN another integer",
    "ALTER TABLE workflow_executions ALTER COLUMN symbol SET DEFAULT 'X'",
    "ALTER TABLE workflow_executions ALTER COLUMN status DROP NOT NULL",
    "ALTER TABLE workflow_metrics ALTER COLUMN metric_type TYPE varchar(100)",
    "ALTER TABLE workflow_metrics ADD CHECK (metric_value > -1)",
    "ALTER TABLE workflow_metrics SET (fillfactor = 50)",
    "CREATE INDEX ON workflow_executions (input_data)",
    "CREATE STATISTICS public.both_columns ON symbol, status FROM workflow_executions",
    "CREATE TRIGGER another BEFORE UPDATE ON workflow_metrics EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE FUNCTION nexus.another() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "ALTER FUNCTION public.process_trading_workflow SET work_mem = '8MB'",
    "ALTER FUNCTION public.process_trading_workflow STABLE",
    "GRANT EXECUTE ON FUNCTION public.process_trading_workflow TO PUBLIC",
    "GRANT SELECT ON workflow_executions TO pg_monitor",
    "GRANT SELECT (symbol) ON workflow_executions TO pg_monitor",
    "GRANT USAGE ON SCHEMA nexus TO pg_monitor",
    "COMMENT ON TABLE workflow_executions IS 'otherwise'",
    "COMMENT ON COLUMN workflow_executions.symbol IS 'otherwise'",
    "COMMENT ON FUNCTION public.process_trading_workflow IS 'otherwise'",
    "SELECT pgmq.create('another')",
]


def test_a_database_equals_itself(connection: Connection) -> None:
    lines = catalog(connection)
    assert len(lines) > 300
    assert catalog(connection) == lines


@pytest.mark.parametrize("statement", DIFFERENCES)
def test_a_difference_is_noticed(connection: Connection, statement: str) -> None:
    before = catalog(connection)
    connection.execute(statement)
    assert catalog(connection) != before


def test_a_changed_line_of_a_function_body_is_noticed(connection: Connection) -> None:
    before = catalog(connection)
    connection.execute(
        "DO $$ BEGIN EXECUTE replace(pg_get_functiondef('public.process_trading_workflow'::regproc), 'BEGIN',"
        " E'BEGIN\\n    -- another line'); END $$"
    )
    assert catalog(connection) != before
