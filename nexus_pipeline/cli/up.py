"""`nexus up` and `nexus down`: start everything, stop everything."""

from typing import Annotated

from typer import Option

from nexus_pipeline.cli.output import note, say, say_json
from nexus_pipeline.cli.root import app


@app.command(
    short_help="Start the database, the Dagster UI and the daemon.", epilog="Example: nexus up --detach --port 3001"
)
def up(
    port: Annotated[int, Option(help="TCP port of the Dagster UI, on loopback.", min=1, max=65535)] = 3000,
    detach: Annotated[bool, Option("--detach", help="Run in the background.")] = False,
) -> None:
    """Start the database, the Dagster UI and the daemon; Ctrl-C stops them after the runs in progress."""
    from nexus_pipeline.local.up import run, run_detached
    from nexus_pipeline.settings import load_settings

    settings = load_settings()
    if detach:
        say(f"Dagster UI   {run_detached(settings, port)}")
        say(f"running in the background (log: {settings.home / 'logs' / 'up.log'}); `nexus down` stops it")
    else:
        run(settings, port)


@app.command(short_help="Stop everything, including the embedded database.", epilog="Example: nexus down")
def down(as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False) -> None:
    """Stop the processes of `nexus up` and the embedded database server.

    Data is kept. The command does not stop a server that NEXUS_DATABASE_URL names.
    """
    from nexus_pipeline.embedded import server as embedded
    from nexus_pipeline.local import running
    from nexus_pipeline.settings import load_settings

    settings = load_settings()
    names = list(running.recorded(settings.home))
    server = embedded.find(settings.home) is not None
    if names:
        note(f"stopping {', '.join(names)}; runs in progress get time to end")
    # `nexus up` waits for its runs and stops the server it started: wait longer than it does.
    stopped = running.stop(settings.home, settings.seconds_per_run + settings.lease_seconds + 30)
    server = embedded.stop(settings.home) or server
    if as_json:
        say_json({"stopped": stopped, "server": server})
        return
    for name in stopped:
        say(f"stopped {name}")
    say("stopped the embedded PostgreSQL" if server else "the embedded PostgreSQL was not running")
