"""Names of queues: those of the workflow, and the rule for all."""

import re

from nexus_pipeline.errors import UserError

MAIN_QUEUE = "workflow_main_queue"
RESULTS_QUEUE = "workflow_results"
ERRORS_QUEUE = "workflow_errors"

_NAME = re.compile(r"[a-z0-9_]{1,47}")


def checked_queue(name: str) -> str:
    """Return the name if it is 1 to 47 of a-z, 0-9 and _ (in pgmq, `MyQ` and `myq` would share a table).

    Raises:
        UserError: it is any other name.
    """
    if not _NAME.fullmatch(name):
        raise UserError(f"queue name {name[:60]!r}: must be 1 to 47 of a-z, 0-9 and _")
    return name
