"""What the tests of the embedded server share: its folders, and other processes that start it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

import nexus_pipeline
from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.embedded.server import ServerInfo
from nexus_pipeline.errors import NexusError

PROJECT = Path(nexus_pipeline.__file__).resolve().parents[1]
START = """
import sys
from pathlib import Path
from nexus_pipeline.embedded import server as embedded
print(embedded.start(Path(sys.argv[1])).pid, flush=True)
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a short path that only this account can enter."""
    monkeypatch.delenv("NEXUS_POSTGRES_VERSION", raising=False)
    made = Path(tempfile.mkdtemp(prefix="nexus-test-", dir="/tmp"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def home(folder: Path) -> Iterator[Path]:
    """A home folder that does not exist yet; a server in it is stopped at the end."""
    made = folder / "home"
    yield made
    embedded.stop(made)


def starter(home: Path, code: str = START, **environment: str) -> subprocess.Popen[str]:
    """Another Python process that runs `code` with the home folder as its argument."""
    return subprocess.Popen(
        [sys.executable, "-c", code, str(home)],
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def started(process: subprocess.Popen[str]) -> int:
    """Waits for a starter to end, and returns the pid of the postmaster that it printed."""
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return int(out)


def value(url: str, query: str) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return row[0]


def kill_hard(info: ServerInfo) -> None:
    """Kills the postmaster as the kernel does when memory runs out, and waits until it is gone."""
    postmaster = psutil.Process(info.pid)
    os.kill(info.pid, signal.SIGKILL)
    psutil.wait_procs([postmaster], timeout=60)


def end(process: subprocess.Popen[Any]) -> None:
    process.kill()
    process.wait()


def one_line(error: pytest.ExceptionInfo[NexusError]) -> str:
    text = str(error.value)
    assert text
    assert "\n" not in text
    return text
