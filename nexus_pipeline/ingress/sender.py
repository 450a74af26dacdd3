"""The only way in: every request, from whatever source, is checked and sent here.

Python checks that PostgreSQL can hold a request (`signals.request`); PostgreSQL checks the rules, in the transaction
that sends. A batch is sent whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nexus_pipeline.database.connection import Connection
from nexus_pipeline.queues.names import MAIN_QUEUE
from nexus_pipeline.queues.sending import Fault, RejectedRequests, Sent, enqueue, request_faults
from nexus_pipeline.signals.request import InvalidRequest, Request, json_text


def send(
    connection: Connection,
    requests: Sequence[Request],
    *,
    queue: str = MAIN_QUEUE,
    delay_seconds: int = 0,
    validate: bool = True,
) -> Sent:
    """Send a batch of requests.

    Without `validate`, only what PostgreSQL cannot hold is refused, and a request that breaks a rule becomes a dead
    letter.

    Raises:
        RejectedRequests: at least one request is refused; names all of them.
    """
    texts, faults = _texts(requests)
    if faults:
        raise RejectedRequests(_with_broken_rules(connection, texts, faults) if validate else faults)
    return enqueue(connection, queue, list(texts.values()), delay_seconds, validate=validate)


def check(connection: Connection, requests: Sequence[Request], *, validate: bool = True) -> list[str]:
    """The JSON texts of requests that may be sent, for senders that check everything before they send anything.

    Raises:
        RejectedRequests: at least one request is refused; names all of them.
    """
    texts, faults = _texts(requests)
    if validate:
        faults = _with_broken_rules(connection, texts, faults)
    if faults:
        raise RejectedRequests(faults)
    return list(texts.values())


def _texts(requests: Iterable[Request]) -> tuple[dict[int, str], list[Fault]]:
    """The texts that PostgreSQL can hold, by position, and the faults of all other requests."""
    texts: dict[int, str] = {}
    faults: list[Fault] = []
    for position, request in enumerate(requests, 1):
        try:
            texts[position] = json_text(request)
        except InvalidRequest as error:
            faults.append(Fault(position, error.field, error.reason))
    return texts, faults


def _with_broken_rules(connection: Connection, texts: dict[int, str], faults: list[Fault]) -> list[Fault]:
    positions = list(texts)
    broken = request_faults(connection, list(texts.values()))
    return sorted(
        [*faults, *(Fault(positions[fault.position - 1], fault.field, fault.reason) for fault in broken)],
        key=lambda fault: fault.position,
    )
