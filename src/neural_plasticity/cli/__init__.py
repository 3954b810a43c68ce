"""The command line.

In: arguments. Out: tables, files, exit code 0 (done), 1 (refused, with one sentence), 2 (misused) or 130 (stopped with Ctrl-C).
One file per command, imported only when it is called; the table below is the only list of them.
"""

import os
import sys
from importlib import import_module
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from neural_plasticity.errors import PlasticityError, said

SUMMARIES = {
    "demo": "Do the main job on the embedded model: no network, no settings.",
    "run": "Make a model smaller: warm up, prune, recover, and measure what it cost and won.",
    "resume": "Go on with a run that was stopped.",
    "runs": "List the runs in a folder, and compare them.",
    "figures": "Draw runs: pictures with captions, in a folder with a page.",
    "report": "Write everything about runs into one HTML file.",
    "dashboard": "Show runs on a page, live while they go on.",
    "dissect": "Take a model apart: its attention sites, and the weights of every head.",
    "analyze": "Measure what every head of a model does on a text.",
    "generate": "Let a model go on with a prompt.",
    "env": "Show what this machine offers: device, memory, versions, optional parts.",
}


class Commands(TyperGroup):
    """The commands by name; for listings a stand-in with the summary is enough, and only the one called is imported."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=summary) for name, summary in SUMMARIES.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        command = typer.main.get_command(import_module(f"neural_plasticity.cli.{name}").app)
        command.name = name
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            for note in getattr(stop, "__notes__", ()):  # how to go on, where that can be
                _say(note)
            raise


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
    if sys.stderr is None or not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # bars of other libraries are noise in a log
    try:
        app()
    except PlasticityError as refusal:
        _refuse(str(refusal))
    except OSError as fault:
        _refuse(f"the system did not allow it ({said(fault)}); check disk, permissions and where the output goes.")


def _refuse(sentence: str) -> NoReturn:
    _say(sentence)
    sys.exit(1)


def _say(sentence: str) -> None:
    from neural_plasticity.trackers.console import visible

    typer.echo(f"plasticity: {visible(sentence)}", err=True)  # names of files may hold anything
