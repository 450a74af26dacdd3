"""`nexus send`: requests by hand into a queue, checked before anything is sent."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from nexus_pipeline.cli.output import (
    console,
    counted,
    database,
    note,
    safe,
    say,
    say_json,
)
from nexus_pipeline.cli.root import app
from nexus_pipeline.errors import ConflictError, FailedError, InterruptError, NotFoundError, UserError

if TYPE_CHECKING:
    from nexus_pipeline.database.connection import Connection

_YEAR_SECONDS = 31_536_000
_MAX_REPEATS = 100_000_000
_PROGRESS_AFTER_SECONDS = 0.7
# Checking a line takes some 20 microseconds: no bar needs to move more often than this many of them.
_LINES_A_STEP = 500


@dataclass
class _Total:
    """What a send came to so far."""

    queue: str
    sent: int = 0
    duplicates: int = 0
    first_msg_id: int | None = None
    last_msg_id: int | None = None

    @property
    def handled(self) -> int:
        return self.sent + self.duplicates


@app.command(
    epilog="Example: nexus send --rsi 25 --symbol EURUSD --trend bullish, or many: nexus send --file requests.jsonl"
)
def send(
    stdin: Annotated[
        str | None, typer.Argument(metavar="-", help="Read JSON lines from standard input.", show_default=False)
    ] = None,
    rsi: Annotated[str | None, typer.Option(metavar="NUMBER", help="Relative strength index, 0 to 100.")] = None,
    price: Annotated[str | None, typer.Option(metavar="NUMBER", help="Price, 0 or more.")] = None,
    volume: Annotated[str | None, typer.Option(metavar="NUMBER", help="Volume, 0 or more.")] = None,
    symbol: Annotated[str | None, typer.Option(metavar="TEXT", help="What is traded, as in EURUSD.")] = None,
    trend: Annotated[str | None, typer.Option(metavar="TEXT", help="Market trend: bullish, bearish, other.")] = None,
    occurred_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it happened, as in 2026-01-31T09:00:00Z.")
    ] = None,
    strategy: Annotated[str | None, typer.Option(metavar="NAME", help="Who decides; unset: enhanced_rsi.")] = None,
    event_id: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Names the event: it is queued once, however often sent.")
    ] = None,
    source: Annotated[str | None, typer.Option(metavar="TEXT", help="Where the request comes from.")] = None,
    json_request: Annotated[
        str | None, typer.Option(metavar="JSON", help="One request as JSON, in place of the options above.")
    ] = None,
    file: Annotated[str | None, typer.Option("--file", "-f", metavar="FILE", help="File of JSON lines.")] = None,
    count: Annotated[int, typer.Option(metavar="N", min=1, max=_MAX_REPEATS, help="Send the request N times.")] = 1,
    queue: Annotated[str, typer.Option(metavar="NAME", help="Queue to send to.")] = "workflow_main_queue",
    delay: Annotated[int, typer.Option(min=0, max=_YEAR_SECONDS, metavar="SECONDS", help="Hold back so long.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Skip the checks, to try the dead letters.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Send one request, a file of JSON lines, or standard input (-).

    Every request is checked first: when one is refused, nothing is sent and the command ends with 2.
    """
    from nexus_pipeline.ingress import manual
    from nexus_pipeline.queues.names import checked_queue

    checked_queue(queue)
    fields = {
        "rsi": rsi, "price": price, "volume": volume, "symbol": symbol, "source": source,
        "event_id": event_id, "strategy": strategy, "occurred_at": occurred_at,
    }  # fmt: skip
    by_options = trend is not None or any(value is not None for value in fields.values())
    path = _one_way(stdin, file, json_request, by_options)
    if path is None:
        text = _accepted(json_request if json_request is not None else manual.request_text(fields, trend), force)
        if count > 1 and _names_event(text):
            raise UserError("--count: a request with an event_id is queued once, however often it is sent")
        total = _send(queue, manual.batches(text for _ in range(count)), count, delay, force)
    else:
        if count > 1:
            raise UserError("--count repeats one request, not a file")
        spooled = _spooled(path, force)
        try:
            total = _send(queue, manual.batches(spooled), len(spooled), delay, force)
        finally:
            spooled.close()
    if as_json:
        say_json(total)
    else:
        say(_sentence(total))


def _one_way(stdin: str | None, file: str | None, json_request: str | None, by_options: bool) -> str | None:
    """The file to read, `-` for standard input, or None for one request; refuses two ways at once."""
    if stdin is not None and stdin != "-":
        raise UserError(f"{safe(stdin, 100)}: the only argument is - for standard input; a file goes by --file")
    given = [
        name
        for name, there in (
            ("-", stdin is not None),
            ("--file", file is not None),
            ("--json-request", json_request is not None),
            ("--rsi and the like", by_options),
        )
        if there
    ]
    if not given:
        raise UserError("nothing to send: give --rsi, --json-request, --file, or - for standard input")
    if len(given) > 1:
        raise UserError(f"a request comes one way, not by {' and '.join(given)}")
    return stdin or file


def _accepted(text: str, force: bool) -> str:
    from nexus_pipeline.ingress.manual import MAX_LINE_BYTES, accept
    from nexus_pipeline.signals.request import InvalidRequest

    try:
        if len(text) > MAX_LINE_BYTES:
            raise UserError(f"message: is longer than {MAX_LINE_BYTES} bytes; nothing was sent")
        return accept(text, force=force)
    except InvalidRequest as error:
        raise UserError(f"{safe(error)}; nothing was sent") from None


def _names_event(text: str) -> bool:
    from nexus_pipeline.signals.request import parse

    request = parse(text)
    return isinstance(request, dict) and request.get("event_id") is not None


def _spooled(path: str, force: bool) -> Any:
    """All requests of a file, checked; says which lines are refused."""
    from nexus_pipeline.ingress.manual import RefusedLines, spool

    try:
        with _opened(path) as stream, _progress("checking", None) as advance:
            return spool(stream, force=force, on_line=lambda number: _step(number, advance))
    except RefusedLines as error:
        for refusal in error.refusals:
            note(safe(refusal))
        lines = counted(len(error.refusals), "line")
        ending = "" if error.read_to_the_end else " and the rest was not read"
        raise UserError(f"{lines} refused{ending}; nothing was sent") from None


def _step(number: int, advance: Callable[[int], None]) -> None:
    if number % _LINES_A_STEP == 0:
        advance(_LINES_A_STEP)


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    if path == "-":
        if sys.stdin is None:
            raise UserError("standard input is closed")
        yield sys.stdin.buffer
        return
    try:
        with Path(path).open("rb") as stream:
            stream.peek(1)  # a folder can be opened, but not read
            yield stream
    except OSError as error:
        raise UserError(f"{safe(path, 200)}: {error.strerror}") from None


def _send(queue: str, batches: Iterable[list[str]], requests: int, delay: int, force: bool) -> _Total:
    """Sends batch by batch. Ctrl-C lets the batch that is under way end, so that the count is exact."""
    import psycopg

    from nexus_pipeline.queues.sending import enqueue

    total = _Total(queue)
    with database() as connection:
        _refuse_strange_queue(connection, queue, force)
        with _asked_to_stop() as asked, _progress("sending", requests) as advance:
            for batch in batches:
                if asked():
                    raise InterruptError(f"interrupted: {_handled(total, requests)}")
                try:
                    result = enqueue(connection, queue, batch, delay)
                except psycopg.DataError as error:
                    said = safe(str(error).splitlines()[0], 500)
                    raise UserError(f"PostgreSQL cannot store this: {said}; {_handled(total, requests)}") from None
                except psycopg.OperationalError:
                    raise FailedError(
                        f"the connection to PostgreSQL was lost: {_handled(total, requests)},"
                        f" and of the {len(batch):,} after them none or all"
                    ) from None
                except KeyboardInterrupt:
                    raise InterruptError(
                        f"interrupted: {_handled(total, requests)}, and of the {len(batch):,} after them none or all"
                    ) from None
                total.sent += result.sent
                total.duplicates += result.duplicates
                total.first_msg_id = result.first_msg_id if total.first_msg_id is None else total.first_msg_id
                total.last_msg_id = result.last_msg_id or total.last_msg_id
                advance(len(batch))
    return total


def _refuse_strange_queue(connection: Connection, queue: str, force: bool) -> None:
    row = connection.execute(
        "SELECT to_regclass(%s) IS NOT NULL, EXISTS (SELECT FROM nexus.queues WHERE queue_name = %s)",
        (f"pgmq.q_{queue}", queue),
    ).fetchone()
    there, served = row if row is not None else (False, False)
    if not there:
        raise NotFoundError(f"there is no queue {queue}")
    if not served and not force:
        raise ConflictError(f"the queue {queue} takes no signal requests (--force sends all the same)")


def _handled(total: _Total, requests: int) -> str:
    known = f" ({total.duplicates:,} of them were known already)" if total.duplicates else ""
    return f"{total.handled:,} of {requests:,} requests were sent{known}"


def _sentence(total: _Total) -> str:
    known = f"; {counted(total.duplicates, 'duplicate')} left out" if total.duplicates else ""
    messages = ""
    if total.sent == 1:
        messages = f" as message {total.first_msg_id}"
    elif total.sent > 1:
        messages = f" as messages {total.first_msg_id} to {total.last_msg_id}"
    return f"sent {counted(total.sent, 'request')} to {total.queue}{messages}{known}"


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C into a question that can be asked between batches; the second interrupts at once."""
    asked = threading.Event()

    def handler(_number: int, _frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, on a terminal and once it takes a while; yields what moves it on."""
    began = monotonic()
    bar: Any = None
    done = 0

    def advance(number: int) -> None:
        nonlocal bar, done
        done += number
        if bar is None and sys.stderr.isatty() and monotonic() - began > _PROGRESS_AFTER_SECONDS:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            bar = Progress(*columns, console=console(stderr=True), transient=True)
            bar.add_task(what, total=total)
            bar.start()
        if bar is not None:
            bar.update(bar.task_ids[0], completed=done)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()
