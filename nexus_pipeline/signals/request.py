"""What must be known of a signal request before it is sent: that it is JSON which PostgreSQL can hold.

The rules of a request (which fields, which values) live in SQL, in `nexus.parse_request`. The text that passes here is
sent as it is: PostgreSQL reads it with every digit, and of equal keys both take the last.
"""

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Final, NoReturn

from nexus_pipeline.errors import UserError

MAX_BYTES: Final = 4 << 20
"""Longest text of one request, in UTF-8 bytes. The rules allow far less; this much can be forced into the queue."""
MAX_DEPTH: Final = 100
"""Levels of objects and arrays: deeper ones exhaust PostgreSQL's stack, at a depth that depends on the server."""
MAX_DIGITS: Final = 4_300
"""Digits of one number: Python's own limit for turning text into an integer."""
MAX_EXPONENT: Final = 1_000
"""Largest power of ten, either way: PostgreSQL prints a number in full, so six characters could become megabytes."""
_MAX_NAME: Final = 100

Request = str | bytes | Mapping[str, object]
"""A signal request as JSON text, as UTF-8 bytes of JSON text, or as a mapping."""


class InvalidRequest(UserError):
    """A request that PostgreSQL cannot hold; the text is one line with the field and the reason."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field: Final = field
        """As in `symbol` or `market_context.levels[0]`; `message` for the request as a whole."""
        self.reason: Final = reason


class _Object(tuple[tuple[str, object], ...]):
    """The pairs of a JSON object, those of equal keys included: PostgreSQL parses all of them."""


class _Refused(str):
    """Replaces a number that is refused, and says why."""


def json_text(request: Request) -> str:
    """The JSON text to send for a request; a mapping is written with every digit of its Decimals.

    Refused are: what is no UTF-8 or no JSON, NaN and infinities, NUL, unpaired surrogates, more than `MAX_BYTES`,
    `MAX_DEPTH` or `MAX_DIGITS`, and powers of ten beyond `MAX_EXPONENT`.

    Raises:
        InvalidRequest: PostgreSQL could not hold the request, or only at the cost of others.
    """
    try:
        if isinstance(request, Mapping):
            import simplejson

            # NaN passes here and is refused below, where its field is known.
            request = simplejson.dumps(dict(request), use_decimal=True, allow_nan=True, ensure_ascii=False)
        if len(request if isinstance(request, bytes) else request.encode(errors="surrogatepass")) > MAX_BYTES:
            _refuse("message", f"is longer than {MAX_BYTES} bytes")
        text = request if isinstance(request, str) else request.decode()
        value = _DECODER.decode(text)
    except RecursionError:
        _refuse("message", "is nested too deeply")
    except UnicodeDecodeError:
        _refuse("message", "is not UTF-8")
    except json.JSONDecodeError as error:
        said = error.msg.removesuffix(" at").rstrip(": ")
        _refuse("message", f"is not JSON: {said} at line {error.lineno}, column {error.colno}")
    except (TypeError, ValueError) as error:
        _refuse("message", f"is not JSON: {error}")
    _refuse_unless_storable(value)
    return text


def _number(text: str) -> _Refused | None:
    """Why a JSON number is refused, found without computing it; None for one that is not."""
    digits, _, exponent = text.lower().partition("e")
    if len(digits) > MAX_DIGITS and len(digits.lstrip("-").replace(".", "")) > MAX_DIGITS:
        return _Refused(f"is a number with more than {MAX_DIGITS} digits")
    if exponent or len(digits) > MAX_EXPONENT:
        try:
            power = Decimal(text).adjusted()
        except InvalidOperation:  # an exponent of more than 18 digits
            power = MAX_EXPONENT + 1
        if abs(power) > MAX_EXPONENT:
            return _Refused("is a number out of range")
    return None


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_Object,
    parse_int=_number,
    parse_float=_number,
    parse_constant=lambda name: _Refused(f"{name} is not JSON"),
)


def _refuse_unless_storable(value: object) -> None:
    """Walk over a decoded value with a list instead of recursion, so that depth is no danger."""
    todo: list[tuple[object, str, int]] = [(value, "", 0)]
    while todo:
        part, name, depth = todo.pop()
        if isinstance(part, _Refused):
            _refuse(name, part)
        if isinstance(part, str):
            _refuse_unless_text(part, name)
        elif isinstance(part, _Object | list):
            if depth == MAX_DEPTH:
                _refuse("message", "is nested too deeply")
            # Names are cut as they grow: a long key must not cost its length for each of the values below it.
            if isinstance(part, list):
                inner = [
                    (item, f"{name or 'message'}[{at}]"[: _MAX_NAME + 1], depth + 1) for at, item in enumerate(part)
                ]
            else:
                inner = []
                for key, item in part:
                    _refuse_unless_text(key, name)
                    inner.append((item, (f"{name}.{key}" if name else key or '""')[: _MAX_NAME + 1], depth + 1))
            todo += reversed(inner)


def _refuse_unless_text(text: str, name: str) -> None:
    if "\0" in text:
        _refuse(name, "must not contain the character NUL")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            _refuse(name, "must not contain an unpaired surrogate")


def _refuse(name: str, reason: str) -> NoReturn:
    name = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name or "message")
    raise InvalidRequest(name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…", reason) from None
