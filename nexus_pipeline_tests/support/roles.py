"""Roles with a password and few rights, and databases that belong to one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from nexus_pipeline_tests.support.servers import role_url, temporary_database


@dataclass(frozen=True)
class Role:
    """A role that may log in, and nothing else."""

    name: str
    password: str

    def at(self, url: str) -> str:
        return role_url(url, self.name, self.password)


@pytest.fixture
def role(server_url: str) -> Iterator[Role]:
    """Named before the databases that it has a part in: it is dropped after them."""
    made = Role(f"nexus_role_{uuid4().hex[:12]}", uuid4().hex)
    name = sql.Identifier(made.name)
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(made.password)))
    yield made
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP ROLE {}").format(name))


@pytest.fixture
def owned_database(server_url: str, role: Role) -> Iterator[str]:
    """The URL of an empty database for its owner, who is no superuser."""
    with temporary_database(server_url, f"nexus_owned_{uuid4().hex[:12]}", owner=role.name) as url:
        yield role.at(url)
