"""Turn decisions into orders, one for each execution, however often a result is delivered.

The order and the archiving of the result commit together. If this program dies in between, the result comes back when
its lease of 30 s ends, and the primary key of `orders` keeps a second order out.
"""

import os

import psycopg

with psycopg.connect(os.environ["NEXUS_DATABASE_URL"], autocommit=True) as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS public.orders (execution_id uuid PRIMARY KEY, side text NOT NULL)")
    while results := connection.execute(
        "SELECT msg_id, message FROM pgmq.read('workflow_results', 30, 100)"
    ).fetchall():
        for msg_id, message in results:
            with connection.transaction():
                if message["result"]["signal"] != "HOLD":
                    connection.execute(
                        "INSERT INTO public.orders (execution_id, side) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                        (message["execution_id"], message["result"]["signal"]),
                    )
                connection.execute("SELECT pgmq.archive('workflow_results', %s::bigint)", (msg_id,))
