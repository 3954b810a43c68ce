"""`plasticity dissect`: what a model is made of, as a table or as JSON."""

from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog="Example: plasticity dissect tiny --json")
def dissect(
    model: Annotated[str, typer.Argument(help="A model of the hub, a local checkpoint folder, or tiny.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole anatomy as JSON and nothing else.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps; chosen by itself if not given.")] = None,
) -> None:
    """Take a model apart: its attention sites, and the weights of every head.

    The model runs once on a tiny input, and autograd tells which rows and columns of which weights are each head's own.
    """
    import json

    from neural_plasticity.anatomy.dissect import dissect as take_apart
    from neural_plasticity.anatomy.past import past_of
    from neural_plasticity.launch import open_model

    opened = open_model(model, device).model
    anatomy, past = take_apart(opened), past_of(opened)
    if as_json:
        typer.echo(json.dumps(anatomy.as_dict(), indent=2))
        return
    typer.echo(anatomy.table())
    separable = sum(site.separable for site in anatomy.sites)
    heads = len(anatomy.heads)
    typer.echo(f"\n{anatomy.model}: {heads} heads at {len(anatomy.sites)} attention sites, {separable} of them separable.")
    modes = past.modes if past is not None else {}
    for mode in sorted(set(modes.values())):
        gone = [head for head, how in modes.items() if how == mode]
        typer.echo(f"{len(gone)} heads sleep by {mode}: {', '.join(map(str, sorted(gone)))}")
