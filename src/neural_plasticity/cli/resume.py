"""`plasticity resume`: go on with a run that was stopped, to the end that it would have had."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog="Example: plasticity resume runs/2026-11-20_143005_tiny")
def resume(
    run: Annotated[Path, typer.Argument(help="The folder of a run that was stopped: by Ctrl-C, a kill, a full disk.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON and nothing else.")] = False,
) -> None:
    """Go on from the last checkpoint of a run, with the settings that it was started with.

    On the CPU it ends with the same weights and the same events as if it had never been stopped.
    """
    from neural_plasticity.cli._summary import print_summary
    from neural_plasticity.launch import resume as resumed

    print_summary(resumed(run, quiet=as_json).run, as_json)
