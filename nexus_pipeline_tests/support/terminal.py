"""Run a command on a terminal, as a person does: read what it shows, type an answer or Ctrl-C."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import psutil

WITHIN_SECONDS = 240
CTRL_C = b"\x03"


class OnTerminal:
    """A running command on a terminal; `shown` is all that it has printed so far."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int) -> None:
        self._process = process
        self._terminal = terminal
        self.shown = b""

    def until(self, text: bytes) -> None:
        """Read until the command has shown `text`."""
        deadline = time.monotonic() + WITHIN_SECONDS
        while text not in self.shown:
            assert self._read(deadline), f"ended without {text!r}: {self.shown!r}"

    def answer(self, text: bytes) -> None:
        """Type `text` as soon as the command waits for it.

        Python handles signals before a read, and when one interrupts the read. A Ctrl-C in the microseconds between
        the two is handled at the next key only: one that is typed while the command still runs can hang for ever.
        """
        deadline = time.monotonic() + WITHIN_SECONDS
        while psutil.Process(self._process.pid).status() != psutil.STATUS_SLEEPING:
            assert time.monotonic() < deadline, f"never waited for an answer: {self.shown!r}"
            time.sleep(0.01)
        os.write(self._terminal, text)

    def end(self) -> int:
        """Read to the end of the command and return its exit code."""
        deadline = time.monotonic() + WITHIN_SECONDS
        while self._read(deadline):
            pass
        return self._process.returncode

    def _read(self, deadline: float) -> bool:
        """Read what comes next; False when the command has ended and nothing is left."""
        while True:
            ended = self._process.poll() is not None
            if select.select([self._terminal], [], [], 0.1)[0]:
                self.shown += os.read(self._terminal, 65_536)
                return True
            if ended:
                return False
            assert time.monotonic() < deadline, f"stands still after {self.shown!r}"


@contextmanager
def on_terminal(command: Sequence[str], env: Mapping[str, str]) -> Iterator[OnTerminal]:
    """Start the command with a terminal of its own, and kill it at the end if it still runs.

    The terminal that the leader of a new session opens first becomes its controlling terminal, so Ctrl-C reaches it.
    `pty.fork` would do this too, but it runs Python between fork and exec, which can hang in a process with threads.
    """
    ours, theirs = pty.openpty()
    shell = ["sh", "-c", 'exec "$@" <>"$0" >&0 2>&0', os.ttyname(theirs), *command]
    process = subprocess.Popen(shell, env=dict(env), start_new_session=True)
    try:
        yield OnTerminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(theirs)
        os.close(ours)
