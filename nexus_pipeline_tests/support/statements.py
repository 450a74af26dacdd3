"""The named statements of sql/queries/, for the tests that hold them to the schema and to the code."""

from __future__ import annotations

from typing import Any

from nexus_pipeline.database.statements import queries, sql_folder

FILES = sorted(path.stem for path in (sql_folder() / "queries").glob("*.sql"))


def statements(file: str) -> dict[str, Any]:
    """The statements of a file by name."""
    loaded = queries(file)
    return {name: getattr(loaded, name) for name in loaded.available_queries if not name.endswith("_cursor")}
