"""The only way in: every request, from whatever source, is checked and sent here.

Python checks that PostgreSQL can hold a request (`signals.request`); PostgreSQL checks the rules while it sends.
"""

from collections.abc import Sequence
from dataclasses import replace

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
    """Send a batch of requests, all or none.

    Without `validate`, only what PostgreSQL cannot hold is refused, and a request that breaks a rule becomes a dead
    letter.

    Raises:
        RejectedRequests: at least one request is refused; names all of them.
    """
    try:
        texts = [json_text(request) for request in requests]
    except InvalidRequest:
        texts = check(connection, requests, validate=validate)  # raises: names all that are refused
    return enqueue(connection, queue, texts, delay_seconds, validate=validate)


def check(connection: Connection, requests: Sequence[Request], *, validate: bool = True) -> list[str]:
    """The JSON texts of requests that may be sent, for senders that check everything before they send anything.

    Raises:
        RejectedRequests: at least one request is refused; names all of them.
    """
    texts: dict[int, str] = {}
    faults: list[Fault] = []
    for position, request in enumerate(requests, 1):
        try:
            texts[position] = json_text(request)
        except InvalidRequest as error:
            faults.append(Fault(position, error.field, error.reason))
    if validate:
        positions = list(texts)
        broken = request_faults(connection, list(texts.values()))
        faults += (replace(fault, position=positions[fault.position - 1]) for fault in broken)
    if faults:
        raise RejectedRequests(sorted(faults, key=lambda fault: fault.position))
    return list(texts.values())
