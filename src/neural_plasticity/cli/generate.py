"""`plasticity generate`: a model goes on with a prompt, streamed as it writes."""

import sys
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog='Example: plasticity generate tiny --prompt "def fibonacci(n):" --tokens 80 --seed 1')
def generate(
    model: Annotated[str, typer.Argument(help="A model of the hub, a local checkpoint folder, or tiny.")],
    prompt: Annotated[str, typer.Option(help="The text to go on with; - reads it from standard input.")],
    tokens: Annotated[int, typer.Option(min=1, help="How many tokens to write at most.")] = 120,
    temperature: Annotated[float, typer.Option(min=0, help="0 always takes the likeliest token.")] = 0.8,
    top_p: Annotated[float, typer.Option(min=0.01, max=1, help="Sample among the likeliest tokens that hold this share.")] = 0.95,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed writes the same text.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps; chosen by itself if not given.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; chosen by itself if not given.")] = None,
) -> None:
    """Let a model go on with a prompt."""
    from neural_plasticity.experiment.samples import write_text
    from neural_plasticity.launch import open_model
    from neural_plasticity.trackers.console import visible

    begin = _from_standard_input() if prompt == "-" else prompt
    as_shown = visible if sys.stdout is not None and sys.stdout.isatty() else str
    loaded = open_model(model, device, dtype)
    unshown = [begin]  # shown with the first piece, so that a refusal stands alone

    def show(text: str) -> None:
        typer.echo(as_shown("".join([*unshown, text])), nl=False)
        unshown.clear()

    write_text(loaded.model, loaded.tokenizer, begin, tokens=tokens, seed=seed, temperature=temperature, top_p=top_p, on_text=show)
    show("\n")


def _from_standard_input() -> str:
    from neural_plasticity.errors import SettingNotUsable

    try:
        return sys.stdin.buffer.read().decode("utf-8") if sys.stdin is not None else ""
    except UnicodeDecodeError as fault:
        raise SettingNotUsable(f"The prompt on standard input is not UTF-8 (at byte {fault.start}); convert it first.") from fault
