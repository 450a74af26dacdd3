"""Dagster's internals: used in one package, listed in one place, and never relied on unchecked."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType

import pytest

import nexus_pipeline
from nexus_pipeline.dagster_instance import contract
from nexus_pipeline.dagster_instance.contract import CONTRACT, Feature, Name, problems, usable

PACKAGE = Path(nexus_pipeline.__file__).parent
ROOM = PACKAGE / "dagster_instance"
DAGSTER = re.compile(r"^dagster\w*(\.\w+)*$")
NAMES = [(feature, name) for feature in Feature for name in CONTRACT[feature]]
# `_replace` of the standard library's named tuples is documented.
ALLOWED = {("embedded/server.py", "_replace")}


def private_names(file: Path) -> Iterator[tuple[int, str]]:
    """The private names that a file reads out of others: line, and dotted module or attribute."""
    tree = ast.parse(file.read_text())
    for_types = [
        node
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and (file.parent != ROOM or node not in for_types):
            module = getattr(node, "module", None)
            for alias in node.names:
                path = f"{module}.{alias.name}" if module else alias.name
                if is_private(path):
                    yield node.lineno, path
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and is_private(node.value):
            yield node.lineno, node.value
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
            owner = ast.unparse(node.value)
            if owner not in {"self", "cls", "super()"}:
                yield node.lineno, node.attr


def is_private(path: str) -> bool:
    return bool(DAGSTER.match(path)) and any(part.startswith("_") for part in path.split("."))


def test_no_private_name_of_dagster_is_used_outside_its_package() -> None:
    found = [
        f"{file.relative_to(PACKAGE)}:{line}: {name}"
        for file in sorted(PACKAGE.rglob("*.py"))
        if file.parent != ROOM
        for line, name in private_names(file)
        if (str(file.relative_to(PACKAGE)), name) not in ALLOWED
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "import dagster._core",
        "from dagster._core.events import DagsterEvent",
        "from dagster_postgres import _private",
        "from dagster import _check as check",
        'command = ["dagster._daemon", "run"]',
        "context._step_execution_context",
        "context.op_execution_context._step_execution_context.instance",
        "found._replace(passed=True)",
    ],
)
def test_the_search_finds_each_way_to_a_private_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "code.py"
    file.write_text(f"{text}\n")
    assert len(list(private_names(file))) == 1


def test_each_private_name_used_in_the_package_is_in_the_contract() -> None:
    listed = {re.split(r"[:.]", name.path)[-1] for _, name in NAMES}
    used = {
        re.split(r"\.", name)[-1]: f"{file.name}:{line}"
        for file in ROOM.glob("*.py")
        if file.name != "contract.py"
        for line, name in private_names(file)
    }
    assert used
    assert {name: place for name, place in used.items() if name not in listed} == {}


@pytest.mark.parametrize("feature", Feature)
def test_the_installed_dagster_keeps_the_contract(feature: Feature) -> None:
    assert list(problems(feature)) == []
    assert usable(feature)


@pytest.mark.parametrize(("feature", "name"), [pytest.param(*each, id=each[1].path) for each in NAMES])
def test_a_name_that_is_removed_is_reported(feature: Feature, name: Name, monkeypatch: pytest.MonkeyPatch) -> None:
    remove(name.path, monkeypatch)
    assert f"{name.path} is missing" in list(problems(feature))


@pytest.mark.parametrize(
    ("feature", "name"),
    [pytest.param(*each, id=each[1].path) for each in NAMES if each[1].parameters is not None],
)
def test_a_signature_that_is_changed_is_reported(feature: Feature, name: Name, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(self: object, somewhat: object, different: object) -> None: ...

    monkeypatch.setattr(*parts(name.path), changed)
    assert f"the signature of {name.path} is (self: object, somewhat: object, different: object) -> None" in [
        problem.replace("'object'", "object").replace("'None'", "None") for problem in problems(feature)
    ]


def test_an_optional_parameter_more_breaks_only_what_we_override(monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster_postgres import PostgresEventLogStorage

    def called(self: object, event: object, event_id: object, more: object = None) -> None: ...

    monkeypatch.setattr(PostgresEventLogStorage, "store_asset_event", called)
    assert list(problems(Feature.STORAGE)) == []
    monkeypatch.setattr(PostgresEventLogStorage, "store_asset_check_event", called)
    (problem,) = problems(Feature.STORAGE)
    assert "store_asset_check_event" in problem


def test_a_broken_contract_is_reported_once_in_one_line_that_names_what_broke(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for path in ("dagster_postgres:PostgresEventLogStorage._connect", "dagster_postgres.utils:create_pg_connection"):
        remove(path, monkeypatch)
    usable.cache_clear()
    with caplog.at_level(logging.WARNING, contract.__name__):
        assert not usable(Feature.STORAGE)
        assert not usable(Feature.STORAGE)
        assert usable(Feature.METADATA)
    usable.cache_clear()
    (record,) = caplog.records
    text = record.getMessage()
    assert "\n" not in text
    assert "the stock PostgreSQL storage takes over" in text
    assert "PostgresEventLogStorage._connect is missing" in text
    assert "create_pg_connection is missing" in text


def parts(path: str) -> tuple[object, str]:
    """The object that holds a name, and the name in it."""
    owner, attribute = re.split(r"[:.](?=\w+$)", path)
    return resolve_name(owner), attribute


def remove(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes a name away, as a release of Dagster could."""
    owner, attribute = parts(path)
    if isinstance(owner, ModuleType):
        monkeypatch.delattr(owner, attribute)
        return
    assert isinstance(owner, type)
    holders = [each for each in owner.__mro__ if attribute in vars(each)]
    for each in holders:
        monkeypatch.delattr(each, attribute)
    if not holders:
        # An attribute that the constructor assigns.
        monkeypatch.setattr(owner, "__init__", lambda self: None)
