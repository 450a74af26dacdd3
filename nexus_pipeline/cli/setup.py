"""`nexus migrate` and `nexus doctor`: make the database ready, and find out what is wrong with it."""

from __future__ import annotations

from typing import Annotated

import typer

from nexus_pipeline.cli.output import Failure, Mistake, counted, safe, say, say_json


def register(app: typer.Typer) -> None:
    """Adds the verbs of this file."""
    app.command(
        epilog="Example: nexus migrate, or to take the newest one back: nexus migrate --to 0005.dead-letters --yes"
    )(migrate)
    app.command(short_help="Check everything, and say how to mend it.", epilog="Example: nexus doctor --json")(doctor)


def migrate(
    to: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Take back every migration after NAME, or all of them after `nothing`."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Agree that what the migrations hold is deleted.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Bring the schema and pgmq up to date, or take migrations back.

    Lays out <NEXUS_HOME>/dagster as well, which serves as DAGSTER_HOME.
    """
    from nexus_pipeline.dagster_instance.home import dagster_home
    from nexus_pipeline.database import migrations
    from nexus_pipeline.database.connection import server_conninfo
    from nexus_pipeline.settings import load_settings

    settings = load_settings()
    if to is None:
        if yes:
            raise Mistake("--yes belongs to --to NAME")
        conninfo = server_conninfo(settings)
        applied = migrations.migrate(conninfo)
        pgmq = migrations.update_pgmq(conninfo)
        dagster_home(settings.home)
        if as_json:
            say_json({"applied": applied, "rolled_back": [], "pgmq": pgmq})
        else:
            for name in applied:
                say(f"applied {name}")
            say(f"the schema is up to date, pgmq is {pgmq}")
        return
    names = migrations.migration_names()
    if to != "nothing" and to not in names:
        raise Mistake(f"no migration is named {safe(to, 100)}; there are: {', '.join(names)}, and `nothing`")
    if not yes:
        raise Mistake(f"going back to {to} deletes what the later migrations hold: add --yes if that is meant")
    back = migrations.rollback(server_conninfo(settings), to)
    if as_json:
        say_json({"applied": [], "rolled_back": back, "pgmq": None})
        return
    for name in back:
        say(f"took back {name}")
    say(f"{counted(len(back), 'migration')} taken back; the next command that needs them applies them again")


def doctor(
    port: Annotated[int, typer.Option(help="TCP port that the Dagster UI is to have.", min=1, max=65535)] = 3000,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array, one object for each check.")] = False,
) -> None:
    """Check versions, connection, schema, pgmq, privileges and clock, and say how to mend each.

    Starts, makes and changes nothing. Ends with 1 when a check fails; warnings are no failure.
    """
    from nexus_pipeline.cli.output import console, table
    from nexus_pipeline.local import running
    from nexus_pipeline.local.doctor import FAIL, WARN, examine
    from nexus_pipeline.settings import load_settings

    settings = load_settings()
    findings = examine(settings, port=port, serving=bool(running.recorded(settings.home)))
    if as_json:
        say_json(findings)
    else:
        from rich.text import Text

        made = table(["check", "state", "what was found"], [])
        styles = {FAIL: "bold red", WARN: "yellow"}
        for finding in findings:
            found = safe(finding.detail) + (f"\n-> {safe(finding.remedy)}" if finding.remedy else "")
            made.add_row(finding.check, Text(finding.state, style=styles.get(finding.state, "green")), Text(found))
        made.columns[2].overflow = "fold"
        console().print(made)
    failed = [finding.check for finding in findings if finding.state == FAIL]
    if failed:
        raise Failure(f"{counted(len(failed), 'check')} failed: {', '.join(failed)}")
