"""The functions of ours in a database: each plpgsql function pins its search_path, and nobody may call one unasked."""

from __future__ import annotations

import pytest

from nexus_pipeline.database.connection import Connection

PUBLIC_MAY_EXECUTE: set[str] = set()
"""Functions that every role may call, as documented: none."""

# Served queues have functions of their own, which count as ours.
_OURS = """
SELECT p.oid::regprocedure::text FROM pg_proc p
 WHERE p.pronamespace IN ('nexus'::regnamespace, 'public'::regnamespace)
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')"""


def unpinned(connection: Connection) -> set[str]:
    """The plpgsql functions whose names are resolved by the caller's search_path."""
    rows = connection.execute(
        f"""{_OURS} AND p.prolang = (SELECT l.oid FROM pg_language l WHERE l.lanname = 'plpgsql')
            AND NOT EXISTS (SELECT FROM unnest(p.proconfig) setting WHERE setting LIKE 'search\\_path=%'
                            AND setting NOT LIKE '%$user%')"""
    )
    return {name for (name,) in rows.fetchall()}


def open_to_all(connection: Connection) -> set[str]:
    """The functions that PUBLIC may execute."""
    rows = connection.execute(
        f"""{_OURS} AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) acl
                                 WHERE acl.grantee = 0 AND acl.privilege_type = 'EXECUTE')"""
    )
    return {name for (name,) in rows.fetchall()}


@pytest.fixture
def served(connection: Connection) -> Connection:
    """A database that serves a second queue."""
    connection.execute("SELECT nexus.serve_queue('mine')")
    return connection


def test_every_plpgsql_function_pins_its_search_path(served: Connection) -> None:
    assert unpinned(served) == set()


def test_no_function_may_be_executed_by_public_but_the_documented_ones(served: Connection) -> None:
    assert open_to_all(served) == PUBLIC_MAY_EXECUTE


def test_a_function_without_either_is_noticed(connection: Connection) -> None:
    connection.execute("CREATE FUNCTION nexus.careless() RETURNS integer LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'")
    assert (unpinned(connection), open_to_all(connection)) == ({"nexus.careless()"}, {"nexus.careless()"})
