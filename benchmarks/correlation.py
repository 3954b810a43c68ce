"""How well each one-pass signal ranks heads by what leaving them out does to the loss, on the model `tiny`.

`python benchmarks/correlation.py [--windows 24 48 96] [--length 256] [--held-out 128] [--threads 2] [--json]`

The windows of the held-out text are shuffled once and dealt out: one large draw for the ablation that is the truth,
and a disjoint draw for each seed, on the first windows of which signals are measured, fewer and more. Documents may
lie in several draws, windows in one. A rank correlation is Spearman's, given as it is: that of a signal which is high
where heads matter little is negative.
"""

import argparse
import json
import os
import random
from collections.abc import Mapping, Sequence
from statistics import mean, stdev

import numpy as np
import pandas as pd
import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.heads import HeadGrid
from neural_plasticity.inputs.batches import batches, windows
from neural_plasticity.inputs.models import load_model
from neural_plasticity.inputs.texts import load_text
from neural_plasticity.signals.base import Needs, signals
from neural_plasticity.signals.measure import measure
from neural_plasticity.student import student_t

TARGETS = {"taylor": 0.9}


def rank_correlation(one: HeadGrid, other: HeadGrid) -> float:
    """Spearman's, over all heads."""
    ranks = [pd.Series(grid.values.ravel()).rank().to_numpy() for grid in (one, other)]
    return float(np.corrcoef(np.stack(ranks))[0, 1])


def interval(found: Sequence[float]) -> tuple[float, float]:
    """The mean, and half the width of its 95 % interval."""
    return mean(found), student_t(len(found) - 1) * stdev(found) / len(found) ** 0.5


def correlations(options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Of every signal and seed: with the held-out ablation, by number of windows, and with that of the same windows.

    Each draw is ablated too, in its fewest windows.
    """
    model, tokenizer = load_model("tiny", "cpu", "float32")
    assert tokenizer is not None
    cut = windows(tokenizer, load_text("stdlib", "held_out"), options.length)
    whole = [window for window in cut if len(window.ids) == options.length]
    random.Random(0).shuffle(whole)
    fewest, most = min(options.windows), max(options.windows)
    needed = options.held_out + options.seeds * most
    assert needed <= len(whole), f"{needed} windows are needed, and there are {len(whole)}"
    anatomy, pad = dissect(model), tokenizer.pad_token_id
    assert isinstance(pad, int)
    names = [name for name, each in signals().items() if not each.needs & (Needs.LESIONS | Needs.DORMANT)]

    def measured(first: int, count: int, asked: Sequence[str]) -> dict[str, HeadGrid]:
        given = [batch for _, batch in batches(whole[first : first + count], 8, pad)]
        return measure(model, given, asked, anatomy=anatomy)

    truth = measured(0, options.held_out, ["ablation"])["ablation"]
    found: dict[str, dict[str, list[float]]] = {name: {} for name in ("ablation", *names)}
    for seed in range(options.seeds):
        first = options.held_out + seed * most
        own = measured(first, fewest, ["ablation"])["ablation"]
        found["ablation"].setdefault(f"{fewest} windows", []).append(rank_correlation(own, truth))
        for count in options.windows:
            for name, grid in measured(first, count, names).items():
                found[name].setdefault(f"{count} windows", []).append(rank_correlation(grid, truth))
                if count == fewest:
                    found[name].setdefault(f"same {count}", []).append(rank_correlation(grid, own))
    return found


def shown(found: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> Table:
    """The correlations as a table, the strongest with the most windows first."""
    columns = sorted(
        {column for each in found.values() for column in each}, key=lambda name: (name.startswith("same"), len(name), name)
    )
    last = [column for column in columns if not column.startswith("same")][-1]
    intervals = {name: {column: interval(each) for column, each in columns.items()} for name, columns in found.items()}
    caption = []
    for name, target in TARGETS.items():
        reached = intervals[name][last][0]
        caption.append(f"{name}, {last}: {reached:.3f}, target ≥ {target}{'' if reached >= target else ' missed'}")
    table = Table(title=title, caption="; ".join(caption), box=SIMPLE_HEAD)
    for heading in ("signal", *columns):
        table.add_column(heading, justify="left" if heading == "signal" else "right")
    for name in sorted(found, key=lambda name: -abs(intervals[name].get(last, (2.0, 0.0))[0])):
        cells = [f"{each[0]:.3f}±{each[1]:.3f}" if (each := intervals[name].get(column)) else "" for column in columns]
        table.add_row(name, *cells)
    return table


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="how many, two at least")
    parser.add_argument("--windows", type=int, nargs="+", default=[24, 48, 96], help="of each seed's draw, fewer and more")
    parser.add_argument("--length", type=int, default=256, help="tokens of a window")
    parser.add_argument("--held-out", type=int, default=128, help="windows of the draw that tells the truth")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error(f"--seeds is {arguments.seeds}, and an interval needs two draws or more.")
    torch.set_num_threads(arguments.threads)
    found = correlations(arguments)
    if arguments.json:
        print(json.dumps(found))
        return
    title = f"Rank correlation with ablation of {arguments.held_out} other windows, of {arguments.length} tokens, on tiny"
    Console().print(shown(found, title))


if __name__ == "__main__":
    main()
