"""What several verbs share about their arguments: limits and parsing."""

import re
from datetime import datetime, timedelta

import typer

from nexus_pipeline.analytics.hours import parse_time
from nexus_pipeline.cli.output import safe
from nexus_pipeline.errors import UserError

MAX_ROWS = 100_000
MAX_ID = 2**63 - 1

_DURATION = re.compile(r"([0-9]{1,9})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_since(text: str, now: datetime) -> datetime:
    """The moment, in UTC, that `--since` names: a duration before `now` (`90s`, `30m`, `1h`, `2d`, `1w`) or a time.

    Raises:
        UserError: it is neither, has no offset, or lies before the year 1.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    try:
        if match is not None:
            return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
        return parse_time(text.strip(), "--since")
    except (UserError, OverflowError):
        raise UserError(
            f"--since: {safe(text, 60)!r} is neither a duration (90s, 30m, 1h, 2d, 1w) nor a time with an offset"
            " (2026-01-31T09:00:00Z)"
        ) from None


def one_of(value: str | None, choices: tuple[str, ...], name: str) -> str | None:
    """Check that the value of the option `name` is one of `choices`."""
    if value is not None and value not in choices:
        raise UserError(f"{name}: {safe(value, 60)!r} is not one of {', '.join(choices)}")
    return value


def utf8(value: str | None) -> str | None:
    """Option callback: refuse text that is not UTF-8, which PostgreSQL would not accept."""
    try:
        if value is not None:
            value.encode()
    except UnicodeEncodeError:
        raise typer.BadParameter("is not UTF-8") from None
    return value
