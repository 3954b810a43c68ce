"""`plasticity demo`: the main job on the embedded model, from nothing to a run folder."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog="Example: plasticity demo --out /tmp/runs")
def demo(
    out: Annotated[Path, typer.Option(help="Folder that the run folder is made in.")] = Path("runs"),
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps; chosen by itself if not given.")] = None,
) -> None:
    """Take tiny, the embedded model, apart, evaluate it on held-out pages of Python's standard library, and let it write.

    Needs no network. Everything that happens is recorded in a run folder.
    """
    from neural_plasticity.anatomy.sites import Anatomy
    from neural_plasticity.launch import run
    from neural_plasticity.settings import Settings

    outcome = run(Settings(model="tiny", text="stdlib", device=device, out=str(out)))
    typer.echo("\nWhat tiny is made of:\n\n" + Anatomy.from_dict(outcome.run.description["anatomy"]).table())
    typer.echo(f"\nThe run is recorded in {outcome.folder}")
    typer.echo('Let tiny write more: plasticity generate tiny --prompt "class Stack:"')
