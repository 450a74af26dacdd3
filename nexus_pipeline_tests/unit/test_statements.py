"""Named statements: each file belongs to one Python file, or to one hourly table, and every statement is used."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import nexus_pipeline
from nexus_pipeline.analytics.tables import TABLES
from nexus_pipeline_tests.support.statements import FILES, statements

TABLE_FILES = {table.name for table in TABLES}
PYTHON_FILES = sorted(Path(nexus_pipeline.__file__).parent.rglob("*.py"))


def loaded_by(path: Path) -> set[str]:
    """The files of statements that a Python file loads: its calls of `queries("name")`."""
    return {
        call.args[0].value
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "queries"
        and isinstance(call.args[0], ast.Constant)
    }


def names(path: Path) -> set[str]:
    """The attributes that a Python file reads and its strings: the names of the statements that it calls are there."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return attributes | {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize("file", sorted(set(FILES) - TABLE_FILES))
def test_a_file_of_statements_belongs_to_one_python_file_which_uses_all_of_them(file: str) -> None:
    users = [path for path in PYTHON_FILES if file in loaded_by(path)]
    assert len(users) == 1, [str(path) for path in users]
    assert set(statements(file)) - names(users[0]) == set()


@pytest.mark.parametrize("file", sorted(TABLE_FILES))
def test_a_file_of_an_hourly_table_has_the_statements_that_analytics_uses_of_every_table(file: str) -> None:
    assert set(statements(file)) == set.intersection(*(set(statements(other)) for other in TABLE_FILES))
    used = set().union(*(names(path) for path in PYTHON_FILES if path.parent.name == "analytics"))
    assert set(statements(file)) - used == set()
