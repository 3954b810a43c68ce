"""`plasticity figures`: pictures of runs in a folder, with a page that shows them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from contextlib import ExitStack

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog="Example: plasticity figures runs/2026-11-20_143005_tiny --only life,maps --theme dark --animate")
def figures(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders, their zips, or folders that runs lie in; several are compared.")
    ] = None,
    only: Annotated[str, typer.Option(help="Figures by name, with commas between; all that can be drawn if not given.")] = "",
    theme: Annotated[str, typer.Option(help="light, dark or paper.")] = "light",
    form: Annotated[str, typer.Option("--format", help="png, svg or pdf.")] = "png",
    moving: Annotated[bool, typer.Option("--animate", help="Let those that show cycles move over them, too.")] = False,
    movie: Annotated[str, typer.Option(help="gif, or mp4 where ffmpeg is.")] = "gif",
    cycle: Annotated[int | None, typer.Option(min=0, help="The cycle to show where a figure shows one; else the last.")] = None,
    head: Annotated[str | None, typer.Option(help="The head to show where a figure shows one, as LAYER.HEAD.")] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to write; RUN/figures for one run if not given.")] = None,
    no_show: Annotated[bool, typer.Option("--no-show", help="Do not open the page in the browser.")] = False,
    example: Annotated[bool, typer.Option("--example", help="Draw a recorded run that comes with the package.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="Say which figures there are and what each shows.")] = False,
) -> None:
    """Draw runs into a folder: each figure with a caption that says what to look at, and the command that made it.

    Works on a run that is going on or was stopped, too.
    """
    from contextlib import ExitStack

    from neural_plasticity.dashboard.example import EXAMPLE
    from neural_plasticity.dashboard.opening import open_link
    from neural_plasticity.errors import SettingNotUsable
    from neural_plasticity.figures.animation import SUFFIXES
    from neural_plasticity.figures.catalogue import CATALOGUE
    from neural_plasticity.figures.page import Wish, write_figures

    if listing:
        for picture in CATALOGUE.values():
            typer.echo(f"{picture.name:20} {picture.caption}")
        return
    named = [EXAMPLE] if example else list(runs or [])
    if not named:
        raise SettingNotUsable("No run is named; name a run folder, or several to compare, or take --example.")
    if movie not in SUFFIXES:
        raise SettingNotUsable(f"There is no movie of kind {movie!r:.40}; choose gif or mp4.")
    wish = Wish(
        only=tuple(name.strip() for name in only.split(",") if name.strip()),
        theme=theme,
        form=form,
        moving=movie if moving else "",
        cycle=cycle,
        head=_head(head),
        source=("--example",) if example else tuple(map(str, named)),
    )
    with ExitStack() as stack:
        found = [folder for run in named for folder in _folders(run, stack)]
        page = write_figures(found, out or (Path("figures") if example else _beside(named, len(found))), wish)
    typer.echo(f"The figures lie in {page.parent}; the page that shows them is {page}")
    if not no_show and not open_link(page.resolve().as_uri()):
        typer.echo("No browser was found here to open it in.")


def _head(text: str | None) -> tuple[int, int] | None:
    from neural_plasticity.errors import SettingNotUsable

    if text is None:
        return None
    layer, _, head = text.partition(".")
    if not (layer.isdecimal() and head.isdecimal()):
        raise SettingNotUsable(f"The head {text!r:.40} is not to be read; name it as LAYER.HEAD, such as 3.6.")
    return int(layer), int(head)


def _folders(path: Path, stack: "ExitStack") -> list[Path]:
    """The run folders that a path stands for; a zip is unpacked for as long as the stack lasts."""
    from neural_plasticity.cli._summary import found_runs
    from neural_plasticity.errors import NotARun
    from neural_plasticity.record.archive import unpacked

    suffix = path.suffix.lower()
    if suffix in (".pkl", ".pickle"):
        raise NotARun(f"{path} is a pickle, and pickles run code; run again or resume to get a run folder.")
    if suffix == ".zip" and path.is_file():
        return [stack.enter_context(unpacked(path))]
    return [run.folder for run in found_runs(path)]


def _beside(runs: list[Path], count: int) -> Path:
    """Where the figures go by themselves: into the one run, beside its zip, or into a folder here."""
    if count > 1:
        return Path("figures")
    from neural_plasticity.record.folder import runs_in

    (run,) = runs
    if run.suffix.lower() == ".zip":
        return run.with_name(f"{run.stem}-figures")
    return runs_in(run)[0] / "figures"
