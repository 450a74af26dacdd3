"""Signal requests by hand: from options, from JSON lines; checked one and all before any of them is sent."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Final

from nexus_pipeline.errors import UserError
from nexus_pipeline.signals.request import Invalid, InvalidRequest, dumps, parse, parse_and_check

MAX_LINE_BYTES: Final = 4 << 20
"""Longest line that is read at all; a good request is far shorter, one that is forced may not be."""
MAX_REFUSALS: Final = 10
"""Faulty lines after which reading ends."""
BATCH: Final = 1_000
"""Requests sent in one statement."""
_BATCH_BYTES: Final = 8 << 20
_SPOOL_IN_MEMORY_BYTES: Final = 8 << 20
_CHUNK_BYTES: Final = 1 << 16

_NUMBER: Final = re.compile(r"\s*\+?(-?)0*([0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]+)?\s*", re.ASCII)
_NOT_FINITE: Final = {"nan": "NaN", "inf": "Infinity", "infinity": "Infinity"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that is no request that may be sent; lines count from 1."""

    line: int
    invalid: Invalid

    def __str__(self) -> str:
        return f"line {self.line}: {self.invalid}"


class RefusedLines(UserError):
    """Lines were refused: the first ones, at most `MAX_REFUSALS`, after which reading ended."""

    def __init__(self, refusals: list[Refusal], *, read_to_the_end: bool) -> None:
        super().__init__("; ".join(map(str, refusals)))
        self.refusals: Final = refusals
        self.read_to_the_end: Final = read_to_the_end


class Spool:
    """Requests that passed the check, as texts in their order; kept in memory, and on disk when they are many."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_SPOOL_IN_MEMORY_BYTES)  # noqa: SIM115 - close() does
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[str]:
        self._file.seek(0)
        for line in self._file:
            yield line[:-1].decode()

    def add(self, text: str) -> None:
        """Keeps one request, which is one line."""
        self._file.write(text.encode() + b"\n")
        self._count += 1

    def close(self) -> None:
        """Lets go of the texts."""
        self._file.close()


def request_text(fields: Mapping[str, str | None], trend: str | None = None) -> str:
    """The JSON text of one request whose fields came as words; None is a field that was not given.

    `rsi`, `price` and `volume` become numbers where they read as such, with every digit (`.5` and `+5` too, which
    JSON does not know); where they do not, they stay texts, for the check to refuse.
    """
    parts = [
        f"{json.dumps(name)}: {_number(value) if name in {'rsi', 'price', 'volume'} else json.dumps(value)}"
        for name, value in fields.items()
        if value is not None
    ]
    if trend is not None:
        parts.append(f'"market_context": {{"trend": {json.dumps(trend)}}}')
    return "{" + ", ".join(parts) + "}"


def accept(text: str, *, force: bool = False) -> str:
    """The text to send for a request: checked, or with `force` only made sure that PostgreSQL can store it.

    Raises:
        InvalidRequest: it is refused; names the field and the reason.
    """
    return dumps(parse(text) if force else parse_and_check(text))


def spool(stream: IO[bytes], *, force: bool = False, on_line: Callable[[int], None] | None = None) -> Spool:
    """All requests of a stream of JSON lines (UTF-8), each of them checked. Empty lines are passed over.

    `on_line` is called with the number of each line.

    Raises:
        RefusedLines: at least one line is refused.
    """
    accepted = Spool()
    refusals: list[Refusal] = []
    try:
        for number, line in _lines(stream):
            if on_line is not None:
                on_line(number)
            try:
                if line is None:
                    raise InvalidRequest(Invalid("message", f"is a line of more than {MAX_LINE_BYTES} bytes"))
                text = _decoded(line, first=number == 1)
                if text:
                    accepted.add(accept(text, force=force))
            except InvalidRequest as error:
                refusals.append(Refusal(number, error.invalid))
                if len(refusals) == MAX_REFUSALS:
                    raise RefusedLines(refusals, read_to_the_end=False) from None
        if refusals:
            raise RefusedLines(refusals, read_to_the_end=True)
    except BaseException:
        accepted.close()
        raise
    return accepted


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in lists of at most `BATCH`, fewer where they are long."""
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and (len(batch) == BATCH or size + len(text) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    if batch:
        yield batch


def _lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Lines with their numbers; None for one that is too long, of which only a piece is held at a time."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) <= MAX_LINE_BYTES or line.endswith(b"\n"):
            yield number, line
            continue
        while (rest := stream.readline(_CHUNK_BYTES)) and not rest.endswith(b"\n"):
            pass
        yield number, None


def _decoded(line: bytes, *, first: bool) -> str:
    try:
        return line.decode("utf-8-sig" if first else "utf-8").strip(" \t\r\n")
    except UnicodeDecodeError:
        raise InvalidRequest(Invalid("message", "is not UTF-8")) from None


def _number(text: str) -> str:
    """The JSON of a word that is to be a number: a number as JSON writes it, or a text."""
    bare = text.strip().lower()
    name = _NOT_FINITE.get(bare.lstrip("+-"))
    if name is not None:
        return f"-{name}" if bare.startswith("-") and name != "NaN" else name
    match = _NUMBER.fullmatch(text)
    if match is None or not any(char.isdigit() for char in text.lower().partition("e")[0]):
        return json.dumps(text)
    sign, whole, decimals, exponent = match.groups("")
    return f"{sign}{whole or '0'}{decimals if len(decimals) > 1 else ''}{exponent}"
