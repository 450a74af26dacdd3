"""`nexus doctor`: find what is wrong, and say how to fix it."""

from typing import Annotated

from typer import Option

from nexus_pipeline.cli.output import console, counted, safe, say_json, table
from nexus_pipeline.cli.root import app
from nexus_pipeline.errors import FailedError


@app.command(short_help="Check the installation and the database.", epilog="Example: nexus doctor --json")
def doctor(
    port: Annotated[int, Option(help="TCP port that the Dagster UI will use.", min=1, max=65535)] = 3000,
    as_json: Annotated[bool, Option("--json", help="Print a JSON array with an object for each check.")] = False,
) -> None:
    """Check folder, port, server, schema, pgmq, privileges and clock, and say how to fix each.

    Starts and changes nothing. The exit code is 1 when a check fails; a warning is not a failure.
    """
    from nexus_pipeline.local import running
    from nexus_pipeline.local.doctor import examine
    from nexus_pipeline.settings import load_settings

    settings = load_settings()
    findings = examine(settings, port=port, serving=bool(running.recorded(settings.home)))
    if as_json:
        say_json(findings)
    else:
        from rich.text import Text

        made = table(["check", "state", "detail"], [])
        styles = {"fail": "bold red", "warn": "yellow", "ok": "green"}
        for finding in findings:
            found = safe(finding.detail) + (f"\n-> {safe(finding.remedy)}" if finding.remedy else "")
            made.add_row(finding.check, Text(finding.state, style=styles[finding.state]), Text(found))
        made.columns[2].overflow = "fold"
        console().print(made)
    failed = [finding.check for finding in findings if finding.state == "fail"]
    if failed:
        raise FailedError(f"{counted(len(failed), 'check')} failed: {', '.join(failed)}")
