"""`plasticity demo`: the main job on the embedded model, from nothing to a smaller model."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog="Example: plasticity demo --out /tmp/runs")
def demo(
    out: Annotated[Path, typer.Option(help="Folder that the run folder is made in.")] = Path("runs"),
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps; chosen by itself if not given.")] = None,
) -> None:
    """Let tiny, the embedded model, lose half of its heads in two cycles, recover on Python's standard library, and write.

    Needs no network. Everything that happens is recorded in a run folder.
    """
    from neural_plasticity.cli._summary import print_summary
    from neural_plasticity.launch import run
    from neural_plasticity.settings import Settings

    settings = Settings(
        model="tiny",
        text="stdlib",
        level=0.5,
        cycles=2,
        warmup_steps=0,
        steps=40,
        batch_size=8,
        max_length=128,
        eval_tokens=40_000,
        device=device,
        out=str(out),
    )
    print_summary(run(settings).run, as_json=False)
    typer.echo('Let tiny write more: plasticity generate tiny --prompt "class Stack:"')
