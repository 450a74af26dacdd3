"""`nexus checks`: the newest results of the asset checks."""

from typing import Annotated

from typer import Option

from nexus_pipeline.cli.output import console, counted, say_json, table
from nexus_pipeline.cli.root import app
from nexus_pipeline.errors import FailedError


@app.command(short_help="Show the newest results of the asset checks.", epilog="Example: nexus checks --strict")
def checks(
    strict: Annotated[bool, Option("--strict", help="Treat warnings as failures.")] = False,
    as_json: Annotated[bool, Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """Show the newest result of each asset check.

    The exit code is 1 when a check failed, or when none has run yet.
    """
    from nexus_pipeline.analytics.check_results import latest_results
    from nexus_pipeline.dagster_instance.home import dagster_home
    from nexus_pipeline.database.ready import ready_database
    from nexus_pipeline.settings import load_settings

    settings = load_settings()
    ready_database(settings)
    import dagster as dg

    with dg.DagsterInstance.from_config(str(dagster_home(settings.home))) as instance:
        found = latest_results(instance)
    if as_json:
        say_json(found)
    else:
        rows = [(each.status, each.asset, each.check, each.description, each.at) for each in found]
        console().print(table(("", "asset", "check", "result", "at"), rows))
    bad = {"failed", "warned"} if strict else {"failed"}
    names = [f"{each.check} ({each.status})" for each in found if each.status in bad]
    if names:
        raise FailedError(f"{counted(len(names), 'check')}: {', '.join(names)}")
    if all(each.at is None for each in found):
        raise FailedError("no check has run yet")
