"""`nexus send`: send requests by hand, checked before anything is sent."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain, repeat
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Annotated

from typer import Argument, Option

from nexus_pipeline.cli.output import counted, database, note, progress, safe, say, say_json
from nexus_pipeline.cli.root import app
from nexus_pipeline.errors import InterruptError, UserError

if TYPE_CHECKING:
    from nexus_pipeline.database.connection import Connection
    from nexus_pipeline.queues.sending import Sent

_YEAR_SECONDS = 31_536_000
_MAX_REPEATS = 100_000_000
_SPOOL_IN_MEMORY_BYTES = 8 << 20


@app.command(
    epilog="Example: nexus send --rsi 25 --symbol EURUSD --trend bullish, or many: nexus send --file requests.jsonl"
)
def send(
    stdin: Annotated[
        str | None, Argument(metavar="-", help="Send JSON lines from standard input.", show_default=False)
    ] = None,
    rsi: Annotated[str | None, Option(metavar="NUMBER", help="Relative strength index, 0 to 100.")] = None,
    price: Annotated[str | None, Option(metavar="NUMBER", help="Price, 0 or more.")] = None,
    volume: Annotated[str | None, Option(metavar="NUMBER", help="Volume, 0 or more.")] = None,
    symbol: Annotated[str | None, Option(metavar="TEXT", help="Instrument, as in EURUSD.")] = None,
    trend: Annotated[str | None, Option(metavar="TEXT", help="Trend of the market: bullish, bearish or other.")] = None,
    occurred_at: Annotated[
        str | None, Option(metavar="TIME", help="Time of the event, as in 2026-01-31T09:00:00Z.")
    ] = None,
    strategy: Annotated[str | None, Option(metavar="NAME", help="Strategy that decides; unset: enhanced_rsi.")] = None,
    event_id: Annotated[
        str | None, Option(metavar="TEXT", help="Identify the event: it is queued once, however often sent.")
    ] = None,
    source: Annotated[str | None, Option(metavar="TEXT", help="Origin of the request.")] = None,
    json_request: Annotated[
        str | None, Option(metavar="JSON", help="Send one request as JSON instead of the options above.")
    ] = None,
    file: Annotated[str | None, Option("--file", "-f", metavar="FILE", help="Send a file of JSON lines.")] = None,
    count: Annotated[int, Option(metavar="N", min=1, max=_MAX_REPEATS, help="Send the request N times.")] = 1,
    queue: Annotated[str, Option(metavar="NAME", help="Queue to send to.")] = "workflow_main_queue",
    delay: Annotated[int, Option(min=0, max=_YEAR_SECONDS, metavar="SECONDS", help="Deliver after SECONDS.")] = 0,
    force: Annotated[bool, Option("--force", help="Send what the rules refuse, and to any queue.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Send one request, a file of JSON lines, or standard input (-).

    Every request is checked first: when one is refused, nothing is sent and the exit code is 2.
    """
    import psycopg

    from nexus_pipeline.database.connection import first_line
    from nexus_pipeline.ingress import manual
    from nexus_pipeline.queues.names import checked_queue

    checked_queue(queue)
    fields = {
        "rsi": rsi, "price": price, "volume": volume, "symbol": symbol, "source": source,
        "event_id": event_id, "strategy": strategy, "occurred_at": occurred_at,
    }  # fmt: skip
    by_options = trend is not None or any(value is not None for value in fields.values())
    path = _one_source(stdin, file, json_request, by_options)
    if path is not None and count > 1:
        raise UserError("--count repeats one request, not a file")
    try:
        if path is None:
            request = manual.request_of_words(fields, trend) if json_request is None else json_request
            sent = _send_one(request, count, queue, delay, force)
        else:
            sent = _send_file(path, queue, delay, force)
    except psycopg.DataError as error:  # what the sender gave, not a statement of ours
        raise UserError(f"PostgreSQL refused: {first_line(error)}; nothing was sent") from None
    if as_json:
        say_json({"queue": queue, **vars(sent)})
    else:
        say(_sentence(sent, queue))


def _one_source(stdin: str | None, file: str | None, json_request: str | None, by_options: bool) -> str | None:
    """The file to read, `-` for standard input, or None for one request; refuses more than one source."""
    if stdin is not None and stdin != "-":
        raise UserError(f"{safe(stdin, 100)}: the only argument is - for standard input; send a file with --file")
    sources = {"-": stdin, "--file": file, "--json-request": json_request, "--rsi and the like": by_options or None}
    given = [name for name, value in sources.items() if value is not None]
    if not given:
        raise UserError("nothing to send: use --rsi, --json-request, --file, or - for standard input")
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} exclude each other")
    return stdin or file


def _send_one(request: str | dict[str, object], count: int, queue: str, delay: int, force: bool) -> Sent:
    from nexus_pipeline.ingress.manual import batches
    from nexus_pipeline.ingress.sender import check
    from nexus_pipeline.queues.sending import RejectedRequests, require_queue

    if count > 1 and _names_event(request):
        raise UserError("--count: a request with an event_id is queued once, however often it is sent")
    with database() as connection:
        require_queue(connection, queue, served=not force)
        try:
            texts = check(connection, [request], validate=not force)
        except RejectedRequests as error:
            raise UserError(f"{error.faults[0]}; nothing was sent") from None
        return _send(connection, batches(chain.from_iterable(repeat(texts, count))), count, queue, delay)


def _names_event(request: str | dict[str, object]) -> bool:
    if isinstance(request, str):
        try:
            request = json.loads(request)
        except (ValueError, RecursionError):  # the check says what is wrong with it
            return False
    return isinstance(request, dict) and request.get("event_id") is not None


def _send_file(path: str, queue: str, delay: int, force: bool) -> Sent:
    """Check all requests of a file, and only then send the first."""
    from nexus_pipeline.ingress.manual import RefusedLines, batches, spool
    from nexus_pipeline.queues.sending import require_queue

    with _opened(path) as stream, database() as connection, SpooledTemporaryFile(_SPOOL_IN_MEMORY_BYTES) as spooled:
        require_queue(connection, queue, served=not force)
        try:
            with progress("checking") as advance:
                count = spool(connection, stream, spooled, validate=not force, advance=advance)
        except RefusedLines as error:
            for fault in error.faults:
                note(safe(f"line {fault.position}: {fault}"))
            raise
        spooled.seek(0)
        return _send(connection, batches(line.decode() for line in spooled), count, queue, delay)


def _opened(path: str) -> AbstractContextManager[IO[bytes]]:
    """The file, or standard input, which stays open."""
    if path == "-":
        if sys.stdin is None:
            raise UserError("standard input is closed")
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise UserError(f"{safe(path, 200)}: {error.strerror}") from None


def _send(connection: Connection, batches: Iterable[list[str]], requests: int, queue: str, delay: int) -> Sent:
    """Send batches of checked requests. On Ctrl-C the current batch is completed, so that the count is exact."""
    import psycopg

    from nexus_pipeline.database.connection import as_nexus_error, first_line, is_connection_lost
    from nexus_pipeline.queues.sending import Sent, enqueue

    total = Sent(0, 0, None, None)
    with _stop_on_ctrl_c() as stop_requested, progress("sending", requests) as advance:
        for batch in batches:
            if stop_requested():
                raise InterruptError(f"interrupted: {_handled(total, requests)}")
            try:
                total += enqueue(connection, queue, batch, delay)
            except psycopg.DataError as error:  # none of the batch was sent
                raise UserError(f"PostgreSQL refused: {first_line(error)}: {_handled(total, requests)}") from None
            except (psycopg.Error, KeyboardInterrupt) as error:
                known = InterruptError("interrupted") if isinstance(error, KeyboardInterrupt) else as_nexus_error(error)
                if known is None:
                    raise
                # Where the server answered, it rolled the batch back.
                uncertain = isinstance(error, KeyboardInterrupt) or is_connection_lost(error)
                rest = f", and of the {len(batch):,} after them none or all" if uncertain else ""
                raise type(known)(f"{known}: {_handled(total, requests)}{rest}") from None
            advance(len(batch))
    return total


def _handled(total: Sent, requests: int) -> str:
    known = f" ({total.duplicates:,} of them were sent before)" if total.duplicates else ""
    return f"{total.sent + total.duplicates:,} of {requests:,} requests were sent{known}"


def _sentence(total: Sent, queue: str) -> str:
    known = f"; {counted(total.duplicates, 'duplicate')} left out" if total.duplicates else ""
    ids = f"s {total.first_msg_id} to {total.last_msg_id}" if total.sent > 1 else f" {total.first_msg_id}"
    messages = f" as message{ids}" if total.sent else ""
    return f"sent {counted(total.sent, 'request')} to {queue}{messages}{known}"


@contextmanager
def _stop_on_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Make the first Ctrl-C a request to stop, to be read between batches; the second interrupts at once."""
    asked = threading.Event()

    def ask(_number: int, _frame: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
