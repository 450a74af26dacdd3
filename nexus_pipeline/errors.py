"""The error family: whatever the product raises on purpose derives from `NexusError`.

The class says who has to act: the user (`UserError` and its children), an operator (`UnavailableError`), or the reader
of a log (`FailedError`). Anything that is no `NexusError` is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

from typing import ClassVar


class NexusError(Exception):
    """An error with one line of text for people, without secrets."""

    exit_code: ClassVar[int] = 1
    """What `nexus` ends with."""
    http_status: ClassVar[int] = 500
    """What the API answers with."""


class UserError(NexusError):
    """The request, the argument or the setting is wrong; the text says which and how to correct it."""

    exit_code = 2
    http_status = 400


class NotFoundError(UserError):
    """What was asked for does not exist."""

    http_status = 404


class ConflictError(UserError):
    """What was asked for contradicts what is there."""

    http_status = 409


class UnavailableError(NexusError):
    """PostgreSQL, a process or the machine cannot do its part; the text says what an operator can do."""

    http_status = 503


class FailedError(NexusError):
    """Work that was begun could not be finished; the text says how far it came."""


class InterruptError(NexusError):
    """Ctrl-C in the middle of the work; the text says how far it came."""

    exit_code = 130
    http_status = 503
