"""The files around the code: pinned versions, hooks and workflows fit what the project declares."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nexus_pipeline_tests.support.commands import PROJECT


def pins() -> dict[str, str]:
    lines = [line for line in (PROJECT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def declared() -> list[Requirement]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    return [requirement for text in texts if (requirement := Requirement(text)).name != "nexus-pipeline"]


def read_yaml(name: str) -> Any:
    return yaml.safe_load((PROJECT / name).read_text())


def test_every_declared_dependency_is_pinned_to_a_version_that_its_bounds_allow() -> None:
    pinned = pins()
    wrong = [
        str(requirement)
        for requirement in declared()
        if (version := pinned.get(canonicalize_name(requirement.name))) is None or version not in requirement.specifier
    ]
    assert wrong == []


def test_ci_runs_what_developers_run() -> None:
    jobs = read_yaml(".github/workflows/ci.yml")["jobs"]
    assert {"run": "bash .ci/run"} in jobs["test"]["steps"]
    steps = (PROJECT / ".ci" / "run").read_text().splitlines()
    makefile = (PROJECT / "Makefile").read_text()
    targets = [step.removeprefix("make ") for step in steps if step.startswith("make ")]
    assert {"lint", "docs", "test"} <= set(targets)
    assert [target for target in targets if f"\n{target}: " not in makefile] == []


def test_hooks_run_local_programs_only() -> None:
    (repository,) = read_yaml(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    lint = (PROJECT / "Makefile").read_text()
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        program, *arguments = hook["entry"].split()
        assert f"$(BIN)/{program.removeprefix('.venv/bin/')}" in lint
        assert program != ".venv/bin/python" or (PROJECT / arguments[0]).exists()


def test_issue_templates_ask_for_something() -> None:
    for name in ("bug", "feature"):
        template = read_yaml(f".github/ISSUE_TEMPLATE/{name}.yml")
        assert {"name", "description", "body"} <= template.keys()
        assert any(part.get("validations", {}).get("required") for part in template["body"])
