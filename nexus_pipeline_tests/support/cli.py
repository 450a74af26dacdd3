"""Run `nexus` in the process of the test, with its output and exit code."""

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
        """The JSON value on standard output, which must be all that is printed there."""
        assert self.code == 0, self.err
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The line on stderr of a command that printed nothing else."""
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
    """`nexus` with the NEXUS_* variables of `env`."""
    for name, value in env.items():
        if name.startswith("NEXUS_"):
            monkeypatch.setenv(name, value)
    return Nexus(capsys)
