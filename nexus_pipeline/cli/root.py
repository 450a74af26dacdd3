"""The Typer application that every verb registers with."""

from typing import Annotated, Any

import typer
from typer import Option

from nexus_pipeline.errors import UserError

_ORDER = (
    "up", "down", "demo", "migrate", "doctor", "send", "status", "executions", "errors", "backfill", "report", "checks"
)  # fmt: skip


class _Verbs(typer.core.TyperGroup):
    """Lists the verbs in the order of use instead of groups first."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=_ORDER.index)


app = typer.Typer(
    name="nexus",
    cls=_Verbs,
    help="A trading-signal workflow on Dagster and PostgreSQL: send requests, watch them, inspect failures.",
    epilog="Example: nexus up --detach && nexus send --rsi 25 && nexus status",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"nexus {version('nexus-pipeline')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _nexus(
    context: typer.Context,
    version: Annotated[
        bool, Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise UserError("no command was given")
