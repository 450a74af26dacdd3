"""Other versions of the project in folders of their own: as released, or with a line changed; and their `nexus`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

from nexus_pipeline_tests.support.commands import PROJECT

PARTS = ("nexus_pipeline", "sql", "dagster.yaml")
CHECKSUMS = "sql/migrations/CHECKSUMS"


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, check=True).stdout


def last_release() -> str | None:
    """The newest tag before this commit, if anything was released."""
    tags = git("tag", "--merged", "HEAD", "--sort=-creatordate").decode().split()
    return tags[0] if tags else None


def checkout(commit: str, folder: Path) -> Path:
    """Writes the code and SQL of a commit into a folder."""
    with tarfile.open(fileobj=BytesIO(git("archive", commit, *PARTS))) as archive:
        archive.extractall(folder, filter="data")
    return folder


def copy_of_this_version(folder: Path) -> Path:
    """Copies the code and SQL under test into a folder, to change something there."""
    for part in PARTS:
        source = PROJECT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, folder / part)
    return folder


def migrate_with(version: Path, url: str) -> Any:
    """Runs `nexus migrate` of the version in that folder; returns what it prints with --json."""
    env = {**os.environ, "PYTHONPATH": str(version), "NEXUS_DATABASE_URL": url, "NEXUS_HOME": str(version / "home")}
    command = [sys.executable, "-m", "nexus_pipeline.cli", "migrate", "--json"]
    done = subprocess.run(command, cwd=version, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
