"""The processes of `nexus up`, recorded in `<home>/up.json` for `nexus down` and `nexus doctor`.

The file is `{"pids": {"webserver": {"pid": 123, "created": 1763840000.12}}}`. A process is the recorded one when it
started at the same time and belongs to the owner of the file.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_FILE = "up.json"
_KILL_SECONDS = 10.0


def record(home: Path, pids: Mapping[str, int]) -> None:
    """Record which processes run, instead of those recorded before; skips processes that have ended."""
    entries = {}
    for name, pid in pids.items():
        with contextlib.suppress(psutil.NoSuchProcess):
            entries[name] = {"pid": pid, "created": psutil.Process(pid).create_time()}
    handle, path = tempfile.mkstemp(prefix=f".{_FILE}.", dir=home)  # mode 0600
    with os.fdopen(handle, "w") as file:
        json.dump({"pids": entries}, file)
    os.replace(path, home / _FILE)


def forget(home: Path) -> None:
    """Remove the file."""
    (home / _FILE).unlink(missing_ok=True)


def recorded(home: Path) -> dict[str, psutil.Process]:
    """The recorded processes that still run, by name; none when there is no valid file."""
    try:
        with (home / _FILE).open("rb") as file:
            owner = os.fstat(file.fileno()).st_uid
            entries = json.loads(file.read(65_536))["pids"]
        known = [(str(name), int(of["pid"]), float(of["created"])) for name, of in entries.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {name: found for name, pid, created in known if (found := _process(pid, created, owner)) is not None}


def stop(home: Path, seconds: float = 30.0) -> list[str]:
    """End the recorded processes and return their names; one that has not ended `seconds` after SIGTERM is killed."""
    processes = recorded(home)
    leader = processes.get("up")
    if leader is not None:  # it stops the others
        with contextlib.suppress(psutil.NoSuchProcess):
            leader.terminate()
        psutil.wait_procs(list(processes.values()), timeout=seconds)
    left = [process for process in processes.values() if process.is_running()]
    end(left, seconds if leader is None else _KILL_SECONDS)
    if (home / _FILE).exists():
        forget(home)
    return list(processes)


def end(processes: Sequence[psutil.Process], seconds: float) -> None:
    """End processes: by SIGTERM, `seconds` later by SIGKILL. psutil signals no other process that reuses a pid."""
    for signal, timeout in ((psutil.Process.terminate, seconds), (psutil.Process.kill, _KILL_SECONDS)):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                signal(process)
        _, processes = psutil.wait_procs(processes, timeout=timeout)


def _process(pid: int, created: float, owner: int) -> psutil.Process | None:
    """The process of an entry, if it is still the same and belongs to `owner`; root's file may name any process."""
    try:
        process = psutil.Process(pid)
        # The start time is counted from boot, and the time of boot changes when the clock is set: allow 1 s.
        same = abs(process.create_time() - created) < 1
        allowed = owner in (0, process.uids().real)
        return process if same and allowed and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, ValueError, OverflowError):
        return None
