"""`plasticity analyze`: what every head of a model does, as a table, a map, JSON or CSV."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from neural_plasticity.heads import HeadGrid, HeadId
    from neural_plasticity.signals.measure import Measurement

app = typer.Typer(add_completion=False, rich_markup_mode=None)

LONGEST = len("0.0001234")  # a number in the table


@app.command(epilog="Example: plasticity analyze tiny --text stdlib --signals entropy,taylor --sort taylor --top 10")
def analyze(
    model: Annotated[str, typer.Argument(help="A model of the hub, a local checkpoint folder, or tiny.")],
    text: Annotated[str, typer.Option(help="A dataset of the hub, a file, a folder, or stdlib.")] = "stdlib",
    signals: Annotated[str, typer.Option(help="Signals by name, with commas between; all says which there are.")] = "",
    loss: Annotated[str | None, typer.Option(help="own, next_token or self_distillation; chosen by itself if not given.")] = None,
    tokens: Annotated[int, typer.Option(min=2, help="How many tokens of the text to measure on, spread over all of it.")] = 16_384,
    max_length: Annotated[int, typer.Option(min=2, help="Tokens in a sample.")] = 256,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples in a batch.")] = 16,
    sort: Annotated[
        str | None, typer.Option(help="The signal to sort the table by; taylor, or else the last, if not given.")
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="How many heads from each end of the table to show; 0 shows all.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print all grids as JSON and nothing else.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print one line a head as CSV and nothing else.")] = False,
    out: Annotated[Path, typer.Option(help="Folder that the run folder is made in.")] = Path("runs"),
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps; chosen by itself if not given.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; chosen by itself if not given.")] = None,
    config: Annotated[str | None, typer.Option("--text-config", help="Which configuration of a dataset.")] = None,
    split: Annotated[str | None, typer.Option("--text-split", help="Which split of a dataset.")] = None,
    column: Annotated[str | None, typer.Option("--text-column", help="Which column of a dataset or table.")] = None,
) -> None:
    """Measure what every head of a model does on a text: entropy, importance, gradients and more, in one pass.

    Everything that is measured lies in a run folder too.
    """
    from neural_plasticity.errors import SettingNotUsable
    from neural_plasticity.launch import analyze as measured
    from neural_plasticity.settings import Settings
    from neural_plasticity.signals.base import signals as known

    if as_json and as_csv:
        raise SettingNotUsable("Both --json and --csv are given, and only one can be printed; choose one.")
    wanted = tuple(name.strip() for name in signals.split(",") if name.strip())
    if wanted == ("all",):
        for each in known().values():
            typer.echo(f"{each.name:20} {each.says}")
        return
    settings = Settings(
        model=model,
        text=text,
        text_config=config,
        text_split=split,
        text_column=column,
        device=device,
        dtype=dtype,
        max_length=max_length,
        batch_size=batch_size,
        measure_tokens=tokens,
        signals=wanted,
        loss=loss,
        out=str(out),
    )
    if sort is not None and wanted and sort not in wanted:
        raise SettingNotUsable(f"The table cannot be sorted by {sort}, which is not measured; name one of {', '.join(wanted)}.")
    found, run = measured(settings, quiet=as_json or as_csv)
    _print(found, sort, top, "json" if as_json else "csv" if as_csv else "")
    if not (as_json or as_csv):
        typer.echo(f"\nThe run is recorded in {run.folder}")


def _print(found: "Measurement", sort: str | None, top: int, form: str) -> None:
    import json
    import math

    if form == "json":
        plain = {
            name: [[None if math.isnan(value) else value for value in row] for row in grid.values.tolist()]
            for name, grid in found.items()
        }
        typer.echo(
            json.dumps({"signals": plain, "paths": found.paths, "refused": found.refused, "samples": found.samples}, indent=2)
        )
        return
    if form == "csv":
        typer.echo(",".join(["layer", "head", *found]))
        for head in _heads(found):
            typer.echo(",".join([str(head.layer), str(head.head), *(f"{grid[head]:.9g}" for grid in found.values())]))
        return
    from rich.console import Console

    terminal = Console()
    if not terminal.is_terminal:
        terminal = Console(width=1000)  # a pipe takes lines of any length
    by = sort or ("taylor" if "taylor" in found else next(reversed(found)))
    fitting = _fitting(found, by, terminal.width)
    typer.echo(f"heads by {by}")
    terminal.print(_table(found, by, top, fitting))
    if len(fitting) < len(found):
        typer.echo(f"{len(found) - len(fitting)} more signals do not fit here; a wider terminal or --csv shows all.")
    scale = "dark is low" if terminal.color_system else "0 is low, 9 is high"
    typer.echo(f"\n{found[by].label}, {scale}; a row for each layer, a column for each head")
    _print_map(terminal, found[by])
    for name, reasons in found.refused.items():
        for layer, reason in reasons.items():
            typer.echo(f"no {name} at layer {layer}: {reason}")


def _fitting(found: "Measurement", by: str, width: int) -> list[str]:
    """The signals that a table of this width has room for, the one it is sorted by among them."""
    room = width - len("head") - 2
    chosen: set[str] = set()
    for name in (by, *found):
        room -= (max(len(name), LONGEST) + 2) * (name not in chosen)
        if room < 0:
            break
        chosen.add(name)
    return [name for name in found if name in chosen or name == by]


def _heads(found: "Measurement") -> "list[HeadId]":
    """Every head that any signal has a number for."""
    return sorted({head for grid in found.values() for head, _ in grid.items()})


def _table(found: "Measurement", by: str, top: int, names: list[str]) -> "Table":
    """The heads, the lowest by one signal first; with `top`, those of both ends."""
    import math

    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for name in ("head", *names):
        table.add_column(name, justify="right", no_wrap=True)
    heads = sorted(_heads(found), key=lambda head: (math.isnan(found[by][head]), found[by][head]))
    left_out = len(heads) - 2 * top if top else 0
    for place, head in enumerate(heads):
        if left_out > 0 and place == top:
            table.add_row("…", *(["…"] * len(names)))
        if left_out <= 0 or not top <= place < len(heads) - top:
            table.add_row(str(head), *(f"{found[name][head]:.4g}" for name in names))
    return table


def _print_map(terminal: "Console", grid: "HeadGrid") -> None:
    """One signal as a map of shades; of numbers from 0 to 9 where there is no colour."""
    import numpy as np
    from rich.text import Text

    values = grid.values
    low, high = np.nanmin(values), np.nanmax(values)
    shades = (values - low) / (high - low if high > low else 1)
    for layer, row in enumerate(shades):
        line = Text(f"{layer:3d} ")
        for shade in row:
            if np.isnan(shade):
                line.append("  ")
            elif terminal.color_system:
                line.append("  ", style=f"on color({232 + round(float(shade) * 23)})")
            else:
                line.append(f" {min(9, int(shade * 10))}")
        terminal.print(line)
