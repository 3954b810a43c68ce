"""The command line.

In: arguments. Out: tables, files, exit code 0 (done), 1 (refused, with one sentence) or 2 (misused).
One file per command, imported only when it is called; the table below is the only list of them.
"""

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from neural_plasticity.errors import PlasticityError

SUMMARIES = {
    "env": "Show what this machine offers: device, memory, versions, optional parts.",
}


class Commands(TyperGroup):
    """The commands by name; only the one that is called is imported."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(SUMMARIES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A stand-in that carries the summary: all that listings and suggestions need."""
        summary = SUMMARIES.get(cmd_name)
        return TyperCommand(cmd_name, help=summary) if summary else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        command = typer.main.get_command(import_module(f"neural_plasticity.cli.{name}").app)
        command.name = name
        return name, command, rest


app = typer.Typer(
    cls=Commands,
    name="plasticity",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Let a transformer lose the attention heads it does not need, win back those it does, and see why.",
    epilog="Start with: plasticity demo",
)


def _version(wanted: bool) -> None:
    if wanted:
        from neural_plasticity import __version__

        typer.echo(f"neural-plasticity {__version__}")
        raise typer.Exit


@app.callback()
def plasticity(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version and exit."),
) -> None:
    """The options that stand before a command."""


def main() -> None:
    """Run the command line; a refusal is one sentence on stderr and exit code 1."""
    try:
        app()
    except PlasticityError as refusal:
        typer.echo(f"plasticity: {refusal}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("plasticity: stopped", err=True)
        sys.exit(130)
