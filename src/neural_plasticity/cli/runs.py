"""`plasticity runs`: the runs in a folder, side by side."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog="Example: plasticity runs runs --sort loss_nats")
def runs(
    folder: Annotated[Path, typer.Argument(help="The folder that run folders lie in, or one run.")] = Path("runs"),
    sort: Annotated[
        str | None, typer.Option(help="A number of the summary to sort by, the smallest first; by time if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers as JSON and nothing else.")] = False,
) -> None:
    """List the runs in a folder: how far each came, what it was asked, what came of it.

    A run that is going on, or was stopped, is listed too.
    """
    from neural_plasticity.cli._summary import print_comparison, run_folders

    print_comparison(run_folders(folder), as_json, sort)
