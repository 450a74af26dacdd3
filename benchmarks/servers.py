"""A server of its own for a benchmark, as the embedded server is set up for users, and thrown away afterwards."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nexus_pipeline.embedded import server as embedded
from nexus_pipeline.settings import Settings


@contextmanager
def fresh_home() -> Iterator[Settings]:
    """Settings whose home is a new folder; its server is stopped and the folder removed at the end."""
    home = Path(tempfile.mkdtemp(prefix="nxb-"))
    try:
        yield Settings(home=home)
    finally:
        embedded.stop(home)
        shutil.rmtree(home, ignore_errors=True)
