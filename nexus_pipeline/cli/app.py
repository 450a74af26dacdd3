"""Run the `nexus` command. Verbs import heavy libraries themselves, so that `nexus --help` is quick."""

import os
import sys
from collections.abc import Sequence

import typer

from nexus_pipeline.cli import backfill, checks, demo, doctor, errors, executions, migrate, report, send, status, up
from nexus_pipeline.cli.output import note, safe
from nexus_pipeline.cli.root import app
from nexus_pipeline.errors import InterruptError, NexusError, UnavailableError, UserError

# click's UsageError: which module has it depends on the version of Typer.
_UsageError: type[Exception] = typer.BadParameter.__mro__[2]
_BROKEN_PIPE = 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `nexus` and end the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal with a small character set must not end the command
            stream.reconfigure(errors="backslashreplace")
    code = run_command(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        code = code or _BROKEN_PIPE
    sys.exit(code)


def run_command(arguments: Sequence[str]) -> int:
    """Run `nexus` with these arguments and return its exit code; an error is one line on stderr."""
    try:
        code = typer.main.get_command(app).main(args=list(arguments), prog_name="nexus", standalone_mode=False)
        if code == InterruptError.exit_code:  # Typer's own handling of Ctrl-C
            raise KeyboardInterrupt
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
    """Say what is wrong with the arguments, and where their help is."""
    command = getattr(getattr(error, "ctx", None), "command_path", "nexus")
    said = " ".join(getattr(error, "format_message", error.__str__)().split())
    note(f"{command}: {safe(said, 500)} (see {command} --help)")
    return UserError.exit_code


def _known(error: Exception) -> NexusError | None:
    """The `NexusError` that the error is or stands for; None for a defect, which keeps its traceback."""
    if isinstance(error, NexusError):
        return error
    if isinstance(error, OSError):
        return UnavailableError(f"{error.filename or 'file'}: {error.strerror or error}")
    import psycopg

    from nexus_pipeline.database.connection import as_nexus_error

    return as_nexus_error(error) if isinstance(error, psycopg.Error) else None


def _silence_stdout() -> None:
    """Let the interpreter flush the rest of standard output to nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
