"""What `nexus up` left running: written down in `<home>/up.json`, found and stopped again by `nexus down`.

The file is `{"pids": {"webserver": {"pid": 123, "created": 1763840000.12}}}`. A process is believed to be the one
that was written down when it began at the same moment and belongs to whoever wrote the file.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

_FILE = "up.json"
_LONGEST = 65_536
# The system counts a process's beginning from boot, and boot by a clock that is sometimes set.
_SAME_MOMENT_SECONDS = 1.0
_KILL_SECONDS = 10.0


@dataclass(frozen=True)
class Running:
    """A process that runs: what it is called in the file, its process id, and when it began (Unix time, s)."""

    name: str
    pid: int
    created: float


def record(home: Path, pids: Mapping[str, int]) -> None:
    """Writes down which processes run, in place of what was written before.

    Raises:
        psutil.NoSuchProcess: one of them has ended already.
        OSError: the folder cannot be written.
    """
    entries = {name: {"pid": pid, "created": psutil.Process(pid).create_time()} for name, pid in pids.items()}
    handle, name = tempfile.mkstemp(prefix=f".{_FILE}.", dir=home)  # mode 0600
    with os.fdopen(handle, "w") as file:
        json.dump({"pids": entries}, file)
    os.replace(name, home / _FILE)


def forget(home: Path) -> None:
    """Removes the file."""
    (home / _FILE).unlink(missing_ok=True)


def recorded(home: Path) -> list[Running]:
    """The processes of the file that still run, in its order; none where there is no file, or not such a file."""
    try:
        with (home / _FILE).open("rb") as file:
            owner = os.fstat(file.fileno()).st_uid
            entries = json.loads(file.read(_LONGEST))["pids"]
        found = [Running(str(name), int(of["pid"]), float(of["created"])) for name, of in entries.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return [entry for entry in found if _process(entry, owner) is not None]


def stop(home: Path, seconds: float = 30.0) -> list[str]:
    """Ends the processes of the file and returns their names.

    One that is called `up` looks after the others: it is asked first. Who does not end within `seconds` after
    SIGTERM is killed.
    """
    entries = recorded(home)
    processes = {entry.name: found for entry in entries if (found := _process(entry)) is not None}
    leader = processes.get("up")
    if leader is not None:
        _terminate([leader])
        psutil.wait_procs(list(processes.values()), timeout=seconds)
    left = [process for process in processes.values() if process.is_running()]
    _terminate(left)
    _, stubborn = psutil.wait_procs(left, timeout=seconds if leader is None else _KILL_SECONDS)
    for process in stubborn:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(stubborn, timeout=_KILL_SECONDS)
    if entries or (home / _FILE).exists():
        forget(home)
    return list(processes)


def _terminate(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.terminate()  # psutil checks once more that the process is the same
        except psutil.NoSuchProcess:
            continue


def _process(entry: Running, owner: int | None = None) -> psutil.Process | None:
    """The process of an entry, if it still runs, is the same, and belongs to `owner` (root's file: anybody)."""
    try:
        process = psutil.Process(entry.pid)
        same = abs(process.create_time() - entry.created) < _SAME_MOMENT_SECONDS
        allowed = owner is None or owner in (0, process.uids().real)
        return process if same and allowed and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, ValueError, OverflowError):
        return None
