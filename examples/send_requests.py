"""Send signal requests from Python, each event once: run it twice, and the second run sends nothing."""

import json
import os

import psycopg

requests = [
    {"rsi": 24.5, "symbol": "EURUSD", "source": "example", "event_id": "EURUSD-2026-01-05T09:00Z"},
    {"rsi": 71.0, "symbol": "GBPUSD", "source": "example", "event_id": "GBPUSD-2026-01-05T09:00Z"},
]

with psycopg.connect(os.environ["NEXUS_DATABASE_URL"]) as connection:
    sent, duplicates, faults = connection.execute(
        "SELECT sent, duplicates, faults FROM nexus.enqueue('workflow_main_queue', %s::jsonb[], validate => true)",
        ([json.dumps(request) for request in requests],),
    ).fetchone()

if faults:
    raise SystemExit(f"nothing was sent: {faults}")
print(f"{sent} sent, {duplicates} duplicates")
