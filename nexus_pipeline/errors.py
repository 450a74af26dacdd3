"""The error family: every error that is raised on purpose derives from `NexusError`.

The class says who can act: the user (`UserError` and its children), an operator (`UnavailableError`), or the reader of
a log (`FailedError`). Any other exception is a defect and keeps its traceback. Errors of PostgreSQL are translated by
`database.connection.as_nexus_error`. Raise these classes directly; a subclass is for a caller that catches it apart.
"""

from typing import ClassVar


class NexusError(Exception):
    """One line of text for people, without secrets; the exit code of `nexus`, and the status of the HTTP API."""

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500


class UserError(NexusError):
    """The request, the argument or the setting is wrong; the text says which and how to correct it."""

    exit_code = 2
    http_status = 400


class NotFoundError(UserError):
    """The object that was asked for does not exist."""

    http_status = 404


class ConflictError(UserError):
    """The request contradicts the current state."""

    http_status = 409


class UnavailableError(NexusError):
    """PostgreSQL, a process or the machine is not usable; the text says what an operator can do."""

    http_status = 503


class FailedError(NexusError):
    """Work was started and could not be completed; the text says how far it got."""


class InterruptError(NexusError):
    """Ctrl-C interrupted the work; the text says how far it got."""

    exit_code = 130
    http_status = 503
