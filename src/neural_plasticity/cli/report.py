"""`plasticity report`: everything about runs in one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog="Example: plasticity report runs/2026-11-20_143005_tiny --out report.html")
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders that runs lie in; several are compared.")],
    out: Annotated[Path | None, typer.Option(help="The file to write; RUN/report.html for one run if not given.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in the browser, if there is one.")] = False,
) -> None:
    """Write everything about one run, or about several to compare, into one HTML file that needs no network.

    Works on a run that is going on or was stopped, too.
    """
    from neural_plasticity.cli._summary import found_runs
    from neural_plasticity.dashboard.report import report as written
    from neural_plasticity.dashboard.standing import NAME

    found = [run for folder in runs for run in found_runs(folder)]
    target = written(found, out or (found[0].folder / NAME if len(found) == 1 else Path(NAME)))
    typer.echo(f"The report on {len(found)} {'run' if len(found) == 1 else 'runs'} lies in {target}")
    if show:
        from neural_plasticity.dashboard.opening import open_link

        if not open_link(target.resolve().as_uri()):
            typer.echo("No browser was found here to open it in.")
