"""Run the `nexus` command: all verbs, exit codes, one line for each error.

Exit codes: 0 on success only, 2 for a user's mistake, 1 for a failure, 130 after Ctrl-C. Each but the first comes
with one line on stderr. Verbs import heavy libraries themselves, so that `nexus --help` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from nexus_pipeline.cli import (  # noqa: F401 - importing a verb registers it
    backfill,
    checks,
    demo,
    doctor,
    errors,
    executions,
    migrate,
    report,
    send,
    status,
    up,
)
from nexus_pipeline.cli.output import note, safe
from nexus_pipeline.cli.root import app
from nexus_pipeline.errors import InterruptError, NexusError, UnavailableError, UserError

# The errors of wrong arguments: Typer has them of its own copy of click or of click itself, by its version.
_UsageError: type[Exception] = typer.BadParameter.__mro__[2]
_BROKEN_PIPE = 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `nexus` and ends the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that knows few characters must not end the command
            stream.reconfigure(errors="backslashreplace")
    code = run_command(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        code = code or _BROKEN_PIPE
    sys.exit(code)


def run_command(arguments: Sequence[str]) -> int:
    """Runs `nexus` with these arguments and returns its exit code; what went wrong is on stderr, in one line."""
    try:
        code = typer.main.get_command(app).main(args=list(arguments), prog_name="nexus", standalone_mode=False)
        if code == InterruptError.exit_code:  # what Typer makes of Ctrl-C
            note("nexus: interrupted")
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        note("nexus: interrupted")
        return InterruptError.exit_code
    except BrokenPipeError:  # `nexus executions | head`
        _silence_stdout()
        return _BROKEN_PIPE
    except _UsageError as error:
        return _usage(error)
    except Exception as error:
        known = _known(error)
        if known is None:
            raise
        note(f"nexus: {safe(' '.join(str(known).split()), 2_000)}")
        return known.exit_code


def _usage(error: Exception) -> int:
    """Says what is wrong with the arguments, and where to read how they go."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "nexus"
    said = " ".join(getattr(error, "format_message", error.__str__)().split())
    note(f"{command}: {safe(said, 500)} (see {command} --help)")
    return UserError.exit_code


def _known(error: Exception) -> NexusError | None:
    """The error of the product that this is or stands for; None for a defect, whose traceback is wanted."""
    if isinstance(error, NexusError):
        return error
    if isinstance(error, OSError):
        return UnavailableError(f"{error.filename or 'file'}: {error.strerror or error}")
    import psycopg

    from nexus_pipeline.database.connection import as_nexus_error

    return as_nexus_error(error) if isinstance(error, psycopg.Error) else None


def _silence_stdout() -> None:
    """Lets the interpreter flush what is left into nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
