"""Adding an hourly table takes a record and its statements: everything else follows."""

from __future__ import annotations

import json
import subprocess
import sys

from nexus_pipeline_tests.support.commands import PROJECT


def test_a_table_with_a_record_and_statements_is_followed_healed_checked_and_backfilled(
    nexus_env: dict[str, str], conninfo: str
) -> None:
    script = "import sys; from nexus_pipeline_tests.support.added_table import exercise; exercise(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", script, conninfo],
        env=nexus_env,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "stale": True,
        "healed": True,
        "rows": [["A", 2], ["B", 1]],
        "metadata": {"failures": 3, "preview": "| symbol | failures |\n| --- | --- |\n| A | 2 |\n| B | 1 |"},
        "checks": {"hourly_failures_reconcile": True, "hourly_failures_no_duplicates": True},
        "different": 1,
        "different_after_backfill": 0,
        "stale_after_truncate": True,
    }
