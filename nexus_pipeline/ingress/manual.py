"""Signal requests by hand: one from options, many from JSON lines."""

import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import IO, Final, TypeVar

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.errors import UserError
from nexus_pipeline.ingress import sender
from nexus_pipeline.queues.sending import Fault, RejectedRequests
from nexus_pipeline.signals.request import MAX_BYTES

MAX_REFUSALS: Final = 10
"""Refused lines after which reading ends."""
BATCH: Final = 1_000
"""Requests in one statement, at most."""
_BATCH_BYTES: Final = 8 << 20
_CHUNK_BYTES: Final = 1 << 16
_NUMBERS: Final = ("rsi", "price", "volume")

Sized = TypeVar("Sized", str, bytes)


class RefusedLines(UserError):
    """Lines of a file are refused, and nothing was sent."""

    def __init__(self, faults: list[Fault], *, read_to_the_end: bool) -> None:
        lines = "1 line" if len(faults) == 1 else f"{len(faults)} lines"
        super().__init__(f"{lines} refused{'' if read_to_the_end else ' and the rest was not read'}; nothing was sent")
        self.faults: Final = faults
        """The first ones, at most `MAX_REFUSALS`; their positions are the numbers of the lines, from 1."""


def request_of_words(fields: Mapping[str, str | None], trend: str | None = None) -> dict[str, object]:
    """A request out of words; None is a field that was not given.

    `rsi`, `price` and `volume` become numbers with every digit, or stay texts for the rules to refuse.
    """
    request: dict[str, object] = {
        name: _number(word) if name in _NUMBERS else word for name, word in fields.items() if word is not None
    }
    return request if trend is None else {**request, "market_context": {"trend": trend}}


def spool(
    connection: Connection,
    stream: IO[bytes],
    into: IO[bytes],
    *,
    validate: bool = True,
    advance: Callable[[int], None] = lambda lines: None,
) -> int:
    """Check the requests of a stream of JSON lines (UTF-8), and write them to `into`, one a line; returns how many.

    Empty lines are skipped. `advance` is called with the number of lines checked since its last call.

    Raises:
        RefusedLines: at least one line is refused.
    """
    count = read = 0
    faults: list[Fault] = []
    for batch in batches(_lines(stream)):
        numbers = [number for number, line in enumerate(batch, read + 1) if line]
        read += len(batch)
        try:
            texts = sender.check(connection, [line for line in batch if line], validate=validate)
            into.writelines(text.encode() + b"\n" for text in texts)
            count += len(texts)
        except RejectedRequests as error:
            faults += [replace(fault, position=numbers[fault.position - 1]) for fault in error.faults]
            if len(faults) >= MAX_REFUSALS:
                raise RefusedLines(faults[:MAX_REFUSALS], read_to_the_end=False) from None
        advance(len(batch))
    if faults:
        raise RefusedLines(faults, read_to_the_end=True)
    return count


def batches(requests: Iterable[Sized]) -> Iterator[list[Sized]]:
    """The requests in lists of at most `BATCH`, fewer where they are long."""
    batch: list[Sized] = []
    size = 0
    for request in requests:
        if batch and (len(batch) == BATCH or size + len(request) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(request)
        size += len(request)
    if batch:
        yield batch


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """The lines without the white space around them. Of one that is too long, only enough to be refused for it."""
    mark = codecs.BOM_UTF8
    while line := stream.readline(MAX_BYTES + 1):
        if line.endswith(b"\n") or len(line) <= MAX_BYTES:
            yield line.removeprefix(mark).strip(b" \t\r\n")
        else:
            while (rest := stream.readline(_CHUNK_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield line
        mark = b""


def _number(word: str) -> Decimal | str:
    """The number that a word reads as (`.5` and `+5` too, which JSON does not know), or the word."""
    try:
        number = Decimal(word)
    except InvalidOperation:
        return word
    # Decimal also reads digits of other scripts and 1_000, which are not how a number is written here.
    return number if number.is_finite() and word.isascii() and "_" not in word else word
