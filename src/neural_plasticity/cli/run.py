"""`plasticity run`: a model and a text in, a smaller model and the story of every decision out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from neural_plasticity.settings import Settings

app = typer.Typer(add_completion=False, rich_markup_mode=None)

QUICK = {"warmup_steps": 20, "steps": 20, "eval_tokens": 8_000, "measure_tokens": 4_096, "max_length": 128, "speed_tokens": 128}

Strategy = Annotated[str, typer.Option(help="What decides which heads go: taylor, fisher, combined, entropy, random, …")]
Schedule = Annotated[str, typer.Option(help="How the level is reached: one_shot, linear, iterative, cubic, drop_and_grow.")]
Mode = Annotated[str, typer.Option(help="remove (smaller and faster), mask_forward, zero_weights, gate or compressed.")]
Growth = Annotated[str, typer.Option(help="Which sleeping heads wake: gradient_sensitivity, entropy_gap, balanced or random.")]


@app.command(epilog="Example: plasticity run tiny --level 0.5 --cycles 2 --strategy taylor --out /tmp/runs")
def run(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A model of the hub, a local checkpoint folder, or tiny.")] = "tiny",
    text: Annotated[str, typer.Option(help="A dataset of the hub, a file, a folder, or stdlib.")] = "stdlib",
    text_config: Annotated[str | None, typer.Option(help="Which configuration of a dataset.")] = None,
    text_split: Annotated[str | None, typer.Option(help="Which split of a dataset.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Which column of a dataset or table.")] = None,
    strategy: Strategy = "taylor",
    level: Annotated[float, typer.Option(help="The share of all heads that is pruned in the end, from 0 to 1.")] = 0.3,
    cycles: Annotated[int, typer.Option(help="How many times to measure, prune and recover.")] = 1,
    schedule: Schedule = "linear",
    mode: Mode = "remove",
    unit: Annotated[str, typer.Option(help="What goes as one: head, or kv_group.")] = "head",
    uniform: Annotated[bool, typer.Option("--uniform", help="Leave every layer with the same number of heads.")] = False,
    min_heads: Annotated[int, typer.Option(help="How many heads every layer keeps.")] = 1,
    growth: Growth = "gradient_sensitivity",
    exchange: Annotated[
        float, typer.Option(help="The share of heads that is pruned more and woken again in each later cycle.")
    ] = 0.0,
    warmup_steps: Annotated[int, typer.Option(help="Steps before the first cut at most; fewer where the loss settles.")] = 150,
    steps: Annotated[int, typer.Option(help="Steps of recovery after each cut.")] = 100,
    learning_rate: Annotated[float | None, typer.Option(help="3e-4 for tiny and 5e-5 for others if not given.")] = None,
    batch_size: Annotated[int, typer.Option(help="Samples in a batch.")] = 16,
    accumulation: Annotated[int, typer.Option(help="Batches in a step.")] = 1,
    precision: Annotated[str | None, typer.Option(help="bf16 or fp16, for mixed precision.")] = None,
    max_length: Annotated[int, typer.Option(help="Tokens in a sample.")] = 256,
    eval_tokens: Annotated[int, typer.Option(help="Held-out tokens to judge by.")] = 100_000,
    measure_tokens: Annotated[int, typer.Option(help="Tokens to measure the heads on.")] = 16_384,
    prompt: Annotated[str, typer.Option(help="What the model goes on with, to be read before and after.")] = "def ",
    seed: Annotated[int, typer.Option(help="The same seed gives the same run.")] = 0,
    save_model: Annotated[bool, typer.Option("--save-model/--no-save-model", help="Keep the final model in RUN/model.")] = True,
    compare_strategies: Annotated[
        str | None, typer.Option(help="Run once for each of these strategies, with commas between, and compare; or all.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Little of everything, to see it work; what is given still counts.")
    ] = False,
    settings: Annotated[Path | None, typer.Option(help="A YAML file of settings; what is given on the line counts more.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or mps; chosen by itself if not given.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16; chosen by itself if not given.")] = None,
    out: Annotated[str, typer.Option(help="Folder that the run folder is made in.")] = "runs",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON and nothing else.")] = False,
) -> None:
    """Warm a model up, find the heads it does not need, remove them, let it recover, and measure what that cost and won.

    Everything that happens is recorded in a run folder; a run that is stopped goes on with `plasticity resume`.
    """
    from neural_plasticity.cli._summary import print_comparison, print_summary
    from neural_plasticity.launch import compare
    from neural_plasticity.launch import run as launched

    chosen = _chosen(context, settings, quick)
    if compare_strategies is None:
        print_summary(launched(chosen, quiet=as_json).run, as_json)
    else:
        wanted = [name.strip() for name in compare_strategies.split(",") if name.strip()]
        print_comparison([outcome.folder for outcome in compare(chosen, wanted, quiet=as_json)], as_json)


def _chosen(context: typer.Context, path: Path | None, quick: bool) -> "Settings":
    """What the line says counts most, then what the file says, then what is quick, then what is usual."""
    from neural_plasticity.settings import Settings, read_settings

    given = {name: value for name, value in context.params.items() if name in Settings.__dataclass_fields__}
    asked = {name: given[name] for name in given if str(context.get_parameter_source(name)).endswith("COMMANDLINE")}
    written = read_settings(path) if path is not None else {}
    return Settings.from_dict({**given, **(QUICK if quick else {}), **written, **asked})
