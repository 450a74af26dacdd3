"""Runs `nexus` inside the test's own process, and says what it printed and how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from nexus_pipeline.cli import app as cli


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on standard output; anything beside it is a mistake."""
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The one line on stderr, where nothing is on standard output."""
        assert self.out == ""
        assert self.err.count("\n") == 1, self.err
        assert self.err.endswith("\n")
        return self.err.rstrip("\n")


class Nexus:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Ended:
        self._capsys.readouterr()
        code = cli.run_command(arguments)
        captured = self._capsys.readouterr()
        return Ended(code, captured.out, captured.err)


def nexus_in(env: Mapping[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Nexus:
    """The command in the databases that `env` names."""
    for name, value in env.items():
        if name.startswith("NEXUS_"):
            monkeypatch.setenv(name, value)
    return Nexus(capsys)
