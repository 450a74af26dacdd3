"""`nexus demo`: real candles through the workflow."""

from typing import Annotated

import typer
from typer import Option

from nexus_pipeline.cli.root import app


@app.command(short_help="Run real candles through the workflow.", epilog="Example: nexus demo --json | tail -n 1")
def demo(
    as_json: Annotated[bool, Option("--json", help="Print the figures as one JSON object on the last line.")] = False,
    ui: Annotated[bool, Option("--ui", help="Leave the Dagster UI running.")] = False,
) -> None:
    """Run real EURUSD candles through the queue and the job, and show the results."""
    from nexus_pipeline.demo.run import run
    from nexus_pipeline.settings import load_settings

    raise typer.Exit(run(load_settings(), as_json, ui))
