"""`plasticity dashboard`: runs on a page that follows them while they go on."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog="Example: plasticity dashboard runs")
def dashboard(
    folder: Annotated[Path, typer.Argument(help="A run, or the folder that runs lie in; new ones appear by themselves.")] = Path(
        "runs"
    ),
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="The port to listen at; the first free one from 8765 if not given.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen at; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the browser.")] = False,
    example: Annotated[bool, typer.Option("--example", help="Show a recorded run that comes with the package.")] = False,
    token: Annotated[str | None, typer.Option(help="The token that opens the page; made up if not given.")] = None,
) -> None:
    """Show runs on a page in the browser: live while they go on, and from then on as they ended.

    Only who has the printed link gets in. Ctrl-C ends the server; the runs go on.
    """
    from neural_plasticity.dashboard.example import EXAMPLE
    from neural_plasticity.dashboard.opening import open_link
    from neural_plasticity.dashboard.server import claim, serve
    from neural_plasticity.dashboard.shelf import Shelf

    shelf = Shelf(EXAMPLE if example else folder)
    place = claim(host, port, token)

    def tell() -> None:
        typer.echo(f"The dashboard of {'the example' if example else shelf.folder} is open at {place.link}\nCtrl-C ends it.")
        if not no_open:
            open_link(place.link, beside=True)

    serve(shelf, place, started=tell)
