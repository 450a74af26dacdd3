"""What unit tests of the command share."""

from __future__ import annotations

from pathlib import Path

import pytest

from nexus_pipeline_tests.support.cli import Nexus


@pytest.fixture
def nexus(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Nexus:
    """The command where no database answers."""
    monkeypatch.setenv("NEXUS_DATABASE_URL", "postgresql://someone:geheim@127.0.0.1:1/nothing")
    monkeypatch.setenv("NEXUS_HOME", str(tmp_path / "home"))
    return Nexus(capsys)
