"""The check of a signal request where it comes in: pure Python, the same rules as the database's own check.

A signal request is a JSON object. Only `rsi` is required; the known optional fields are checked when they are
there, JSON null counts as absent for them, and unknown fields are kept unchecked. Send `dumps(parse(text))`,
not the text itself: then what was checked is what is stored.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple, NoReturn

from nexus_pipeline.errors import UserError

MAX_BYTES: Final = 65_536
"""Longest request, in UTF-8 bytes of the text that PostgreSQL prints for it."""
MAX_TEXT: Final = 200
"""Longest `symbol`, `source`, `event_id` and `strategy`, in characters."""
MAX_DEPTH: Final = 100
"""Objects and arrays inside one another at most, in a request that comes in as text."""
MAX_DIGITS: Final = 4_300
"""Digits of one number at most: Python's own limit for turning text into an integer."""
MAX_EXPONENT: Final = 1_000
"""Greatest power of ten, either way: PostgreSQL refuses numbers with absurd exponents."""
MAX_AMOUNT: Final = 10**30
"""Greatest `price` and `volume`."""

_RSI: Final = "must be a number from 0 to 100"
_AMOUNT: Final = "must be a number that is 0 or more"
_TIME: Final = "must be an ISO 8601 time with an offset, as in 2026-01-31T09:00:00Z"
_OUT_OF_RANGE: Final = "is a number out of range"
_NUMBER_FIELDS: Final = {("rsi",): _RSI, ("price",): _AMOUNT, ("volume",): _AMOUNT}
_TEXT_FIELDS: Final = ("symbol", "source", "event_id", "strategy")

_TIME_PATTERN: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6})?)?"
    r"(?:Z|[+-](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)"
)

_quote: Final = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Invalid:
    """Why a request is refused: the first rule that it breaks."""

    field: str
    """The field's name, as in `rsi` or `market_context.trend`; `message` for the request as a whole."""
    reason: str
    """What is wrong, to be read after the field's name."""

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class InvalidRequest(UserError):
    """A request that is refused; its text is one line with the field and the reason."""

    def __init__(self, invalid: Invalid) -> None:
        super().__init__(str(invalid))
        self.invalid: Final = invalid


@dataclass(frozen=True, slots=True)
class _Refused:
    """Stands in a decoded value where a number cannot be taken, until its field's name is known."""

    reason: str
    finite: bool = True


_Path = tuple["_Path | None", str | int]
"""Where a value is: the path of its container, None for the outermost, and its key or position there."""


class _Scan(NamedTuple):
    """What one walk over a value finds out."""

    invalid: Invalid | None
    """The first part that PostgreSQL's jsonb cannot hold."""
    size: int
    """Bytes of the text that PostgreSQL prints for the value."""
    depth: int
    """Objects and arrays inside one another."""


def check(request: object) -> Invalid | None:
    """The first rule that a decoded JSON value breaks as a signal request, or None when it is one.

    Numbers may be int, float or Decimal. What no JSON text can carry to PostgreSQL (NaN, infinities, NUL,
    unpaired surrogates, values of other Python types) is refused before the rules.
    """
    scan = _scan(request)
    return scan.invalid or _broken_rule(request, scan.size)


def parse(text: str) -> object:
    """The JSON value that a text holds, numbers as int or Decimal so that no digit is lost.

    Strict: NaN, Infinity, NUL, unpaired surrogates, more than `MAX_DEPTH` levels, more than `MAX_DIGITS`
    digits and exponents beyond `MAX_EXPONENT` are refused. Of equal keys the last counts, as in PostgreSQL.

    Raises:
        InvalidRequest: the text is not such JSON; names the field where it is known, else `message`.
    """
    return _decode(text)[0]


def parse_and_check(text: str) -> dict[str, object]:
    """The signal request that a text holds.

    Raises:
        InvalidRequest: the text is not JSON, or the value breaks a rule.
    """
    request, size = _decode(text)
    invalid = _broken_rule(request, size)
    if invalid is not None:
        raise InvalidRequest(invalid)
    assert isinstance(request, dict)  # noqa: S101 - the first rule says so
    return request


def dumps(value: object) -> str:
    """JSON text for PostgreSQL's jsonb: Decimals as numbers with every digit, text as it is.

    Raises:
        InvalidRequest: the value holds something that jsonb cannot, or more than `MAX_DEPTH` levels.
    """
    scan = _scan(value)
    _refuse_unless_sound(scan)
    return "".join(_pieces(value))


def _decode(text: str) -> tuple[object, int]:
    """The value and its size in bytes, as `_Scan.size`."""
    refused: list[_Refused] = []

    def number(digits: str, make: Callable[[str], object]) -> object:
        reason = _number_fault(digits)
        if reason is None:
            return make(digits)
        refused.append(_Refused(reason))
        return refused[-1]

    def constant(name: str) -> object:
        refused.append(_Refused(f"{name} is not JSON", finite=False))
        return refused[-1]

    try:
        value: object = json.loads(
            text,
            parse_int=lambda digits: number(digits, int),
            parse_float=lambda digits: number(digits, Decimal),
            parse_constant=constant,
        )
    except json.JSONDecodeError as error:
        said = error.msg.removesuffix(" at").rstrip(": ")
        _refuse("message", f"is not JSON: {said} at line {error.lineno}, column {error.colno}")
    except RecursionError:
        _refuse("message", "is nested too deeply")
    scan = _scan(value)
    _refuse_unless_sound(scan)
    if refused:  # it stood under a key that came again, so the walk did not meet it; the text is not JSON all the same
        _refuse("message", refused[0].reason)
    return value, scan.size


def _number_fault(text: str) -> str | None:
    """Why the text of a JSON number is not taken, found without computing the number."""
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa.lstrip("-").replace(".", "")) > MAX_DIGITS:
        return f"is a number with more than {MAX_DIGITS} digits"
    if len(exponent.lstrip("+-0")) > len(str(MAX_EXPONENT)) or abs(int(exponent or 0)) > MAX_EXPONENT:
        return _OUT_OF_RANGE
    number = Decimal(text)
    return _OUT_OF_RANGE if number and abs(number.adjusted()) > MAX_EXPONENT else None


def _refuse(field: str, reason: str) -> NoReturn:
    raise InvalidRequest(Invalid(field, reason)) from None


def _refuse_unless_sound(scan: _Scan) -> None:
    if scan.depth > MAX_DEPTH:
        _refuse("message", "is nested too deeply")
    if scan.invalid is not None:
        raise InvalidRequest(scan.invalid)


def _scan(value: object) -> _Scan:
    """Walk over a value in its own order, with a list instead of recursion: depth is no danger."""
    size = deepest = 0
    todo: list[tuple[object, _Path | None, int]] = [(value, None, 1)]
    while todo:
        part, path, depth = todo.pop()
        if isinstance(part, dict | list):
            deepest = max(deepest, depth)
            size += 2 + 2 * max(len(part) - 1, 0)
            if isinstance(part, dict):
                for key in part:
                    fault = _scalar_fault(key) if isinstance(key, str) else "has a name that is not a text"
                    if fault is not None:
                        return _Scan(_invalid_at(path, fault), size, deepest)
                    size += _text_size(key) + 2
            todo += reversed([(inner, (path, at), depth + 1) for at, inner in _items(part)])
            continue
        fault = _scalar_fault(part)
        if fault is not None:
            return _Scan(_invalid_at(path, fault, part), size, deepest)
        size += _scalar_size(part)
    return _Scan(None, size, deepest)


def _items(container: dict[str, object] | list[object]) -> Iterator[tuple[str | int, object]]:
    return iter(container.items()) if isinstance(container, dict) else enumerate(container)


def _scalar_fault(value: object) -> str | None:
    """Why PostgreSQL's jsonb cannot hold a text, number, boolean or null."""
    if isinstance(value, str):
        return _text_fault(value)
    if isinstance(value, _Refused):
        return value.reason
    number = Decimal(value) if isinstance(value, float) and not math.isfinite(value) else value
    if isinstance(number, Decimal) and not number.is_finite():
        name = "NaN" if number.is_nan() else "Infinity" if number > 0 else "-Infinity"
        return f"{name} is not JSON"
    return None if value is None or isinstance(value, int | float | Decimal) else "is not a JSON value"


def _text_fault(text: str) -> str | None:
    if "\0" in text:
        return "must not contain the character NUL"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "must not contain an unpaired surrogate"
    return None


def _invalid_at(path: _Path | None, fault: str, value: object = None) -> Invalid:
    """The fault with its place in words; a field that must be a number says so when it is not finite."""
    found: list[str | int] = []
    while path is not None:
        path, inner = path
        found.append(inner)
    parts = tuple(reversed(found))
    not_finite = isinstance(value, float | Decimal) or (isinstance(value, _Refused) and not value.finite)
    if not_finite and parts in _NUMBER_FIELDS:
        return Invalid(str(parts[0]), _NUMBER_FIELDS[parts])
    name = "message" if not parts or isinstance(parts[0], int) else ""
    for part in parts:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part or '""'
    printable = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name[:101])
    return Invalid(printable if len(printable) <= 100 else printable[:99] + "…", fault)


def _scalar_size(value: object) -> int:
    """Bytes that PostgreSQL prints for a text, number, boolean or null."""
    if isinstance(value, str):
        return _text_size(value)
    number = _exact(value)
    if number is None:
        return 5 if value is False else 4
    return _number_size(number)


def _text_size(text: str) -> int:
    quoted = _quote(text)
    return len(quoted) if text.isascii() else len(quoted.encode())


def _number_size(number: Decimal) -> int:
    # PostgreSQL prints plain digits, without exponent, with the decimals that were written. They are counted,
    # not printed: 1e400000000 has more of them than there is memory.
    sign, _, exponent = number.as_tuple()
    decimals = max(0, -int(exponent))
    whole = max(number.adjusted() + 1, 1) if number else 1
    return (1 if sign and number else 0) + whole + (decimals + 1 if decimals else 0)


def _exact(value: object) -> Decimal | None:
    """A JSON number as PostgreSQL would read it, or None when the value is no number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return Decimal(repr(value))  # its JSON text; the binary value of 1e30 is a little more than 1e30
    return Decimal(value) if isinstance(value, int | Decimal) else None


def _pieces(value: object) -> Iterator[str]:
    """The JSON text of a sound value, in pieces."""
    if isinstance(value, dict | list):
        is_object = isinstance(value, dict)
        yield "{" if is_object else "["
        for count, (key, inner) in enumerate(_items(value)):
            yield ", " if count else ""
            yield f"{_quote(key)}: " if is_object else ""
            yield from _pieces(inner)
        yield "}" if is_object else "]"
    elif isinstance(value, str) or value is None or isinstance(value, bool):
        yield _quote(value)
    else:
        # A Decimal's text is JSON. Integers go the same way: Python prints none of more than 4300 digits.
        yield str(_exact(value))


def _broken_rule(request: object, size: int) -> Invalid | None:
    """The first of the rules of a signal request that a sound value of that size breaks."""
    if not isinstance(request, dict):
        return Invalid("message", f"must be a JSON object, not {_kind(request)}")
    if size > MAX_BYTES:
        return Invalid("message", f"is longer than {MAX_BYTES} bytes")
    for field, reason in _field_reasons(request):
        if reason is not None:
            return Invalid(field, reason)
    return None


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, str):
        return "a string"
    return "a boolean" if isinstance(value, bool) else "a number"


def _field_reasons(request: dict[str, object]) -> Iterator[tuple[str, str | None]]:
    """Each checked field in the order of the rules, with what is wrong with it or None."""
    yield "rsi", _rsi_reason(request["rsi"]) if "rsi" in request else "is required"
    optional: list[tuple[str, Callable[[object], str | None]]] = [
        ("price", _amount_reason),
        ("volume", _amount_reason),
        ("market_context", lambda value: None if isinstance(value, dict) else "must be an object"),
        *((field, _text_reason) for field in _TEXT_FIELDS),
        ("occurred_at", lambda value: None if _is_time(value) else _TIME),
    ]
    for field, reason_of in optional:
        value = request.get(field)
        yield field, None if value is None else reason_of(value)


def _rsi_reason(value: object) -> str | None:
    number = _exact(value)
    return None if number is not None and 0 <= number <= 100 else _RSI


def _amount_reason(value: object) -> str | None:
    number = _exact(value)
    if number is None or number < 0:
        return _AMOUNT
    return "must be at most 1e30" if number > MAX_AMOUNT else None


def _text_reason(value: object) -> str | None:
    if isinstance(value, str) and 1 <= len(value) <= MAX_TEXT:
        return None
    return f"must be a text of 1 to {MAX_TEXT} characters"


def _is_time(value: object) -> bool:
    """Whether a value is a time of the years 1970 to 2999 (as written) that exists in the calendar."""
    match = _TIME_PATTERN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return False
    try:
        day = date.fromisoformat(match[1])
    except ValueError:
        return False
    return 1970 <= day.year <= 2999
