"""`nexus migrate`: bring the schema up to date, or roll migrations back."""

from typing import Annotated

from typer import Option

from nexus_pipeline.cli.output import counted, safe, say, say_json
from nexus_pipeline.cli.root import app
from nexus_pipeline.errors import NotFoundError, UserError


@app.command(
    epilog="Example: nexus migrate, or to roll back later migrations: nexus migrate --to 0004.dead-letters --yes"
)
def migrate(
    to: Annotated[
        str | None, Option(metavar="NAME", help="Roll back every migration after NAME; `nothing` rolls back all.")
    ] = None,
    yes: Annotated[bool, Option("--yes", help="Confirm that the data of those migrations is deleted.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Bring the schema and pgmq up to date, or roll migrations back.

    Also creates NEXUS_HOME/dagster, the folder to use as DAGSTER_HOME.
    """
    from nexus_pipeline.dagster_instance.home import dagster_home
    from nexus_pipeline.database import migrations
    from nexus_pipeline.database.connection import server_conninfo
    from nexus_pipeline.settings import load_settings

    settings = load_settings()
    if to is None:
        if yes:
            raise UserError("--yes is for --to NAME")
        conninfo = server_conninfo(settings)
        applied = migrations.migrate(conninfo)
        pgmq = migrations.update_pgmq(conninfo)
        dagster_home(settings.home)
        if as_json:
            say_json({"applied": applied.migrations, "functions": applied.functions, "rolled_back": [], "pgmq": pgmq})
        else:
            for name in applied.migrations:
                say(f"applied {name}")
            if applied.functions:
                say(f"applied {counted(len(applied.functions), 'function file')}")
            say(f"the schema is up to date, pgmq is {pgmq}")
        return
    names = migrations.migration_names()
    if to != "nothing" and to not in names:
        raise NotFoundError(f"no migration is named {safe(to, 100)}; there are: {', '.join(names)}, and `nothing`")
    if not yes:
        raise UserError(f"rolling back to {to} deletes the data of the later migrations: confirm with --yes")
    back = migrations.rollback(server_conninfo(settings), to)
    if as_json:
        say_json({"applied": [], "rolled_back": back, "pgmq": None})
        return
    for name in back:
        say(f"rolled back {name}")
    say(f"{counted(len(back), 'migration')} rolled back; the next command that needs the schema applies them again")
