"""What measuring heads costs beside what one would do without it: in time and in memory, each row a ratio.

`python benchmarks/signals.py [--rows training eager entropy length ablation] [--threads 2] [--rounds 5] [--json]`

The steps of a row take turns in one process, and the median of the ratios counts: other work on the machine slows
all of them. Memory is the highest resident set within a step of a fresh process, less what it held before, when model
and batch were there and a short step had loaded what loads late; "in all" nothing is taken off. In these processes
glibc gives back at once what is freed: else its heap grows by chance, and hides what is needed behind what is kept.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import median

import torch
from dissect import Highest
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.sites import Anatomy, Site
from neural_plasticity.anatomy.taps import Call, open_taps
from neural_plasticity.signals.attended import Attended
from neural_plasticity.signals.base import Needs, chosen, signals
from neural_plasticity.signals.measure import DEFAULT, measure
from neural_plasticity.signals.visible import Visible

HEADS, WIDTH, VOCABULARY = 12, 64, 5_000
FUSED = tuple(name for name in DEFAULT if name != "gradient")
ATTENTION = tuple(name for name in DEFAULT if signals()[name].needs & Needs.ATTENTION)
FIRST = 32  # tokens of the short step that loads what is loaded late

Batch = dict[str, Tensor]
Step = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Finding:
    """One ratio: what was compared, ours and theirs in this unit, and what the ratio should not exceed."""

    row: str
    compared: str
    unit: str
    ours: float
    theirs: float
    ratio: float
    target: float | None
    lowest: float | None = None
    highest: float | None = None
    remark: str = ""


def decoder(layers: int, positions: int, attention: str = "sdpa") -> GPT2LMHeadModel:
    """A random GPT-2 of 12 heads of 64 without dropout, ready to be trained."""
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=layers,
        n_head=HEADS,
        n_embd=HEADS * WIDTH,
        vocab_size=VOCABULARY,
        n_positions=positions,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        attn_implementation=attention,
        bos_token_id=None,
        eos_token_id=None,
    )
    return GPT2LMHeadModel(config).train()


def tokens(rows: int, length: int, seed: int = 0) -> Batch:
    """A batch of random tokens, none of them padding."""
    ids = torch.randint(VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))
    return {"input_ids": ids, "labels": ids}


def train(model: GPT2LMHeadModel, batch: Batch) -> None:
    """One training step, but for the optimizer."""
    model(**batch, use_cache=False).loss.backward()
    model.zero_grad()


def train_and_look(model: GPT2LMHeadModel, batch: Batch) -> list[Tensor]:
    """One training step that lets the model hand out its weights of attention, and takes their entropy."""
    outputs = model(**batch, use_cache=False, output_attentions=True)
    with torch.no_grad():
        found = [entropy_of(weights).mean((0, 2)) for weights in outputs.attentions]
    outputs.loss.backward()
    model.zero_grad()
    return found


def entropy_of(weights: Tensor) -> Tensor:
    """The entropy of each query's weights, as it is mostly written."""
    return -(weights * torch.log(weights + 1e-12)).sum(-1)


def of_softmax(query: Tensor, key: Tensor) -> Tensor:
    """The entropy of causal attention, by its weights."""
    scores = query @ key.transpose(-1, -2) / WIDTH**0.5
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return entropy_of(scores.masked_fill(hidden, -torch.inf).softmax(-1))


def attended(site: Site, query: Tensor, key: Tensor, distances: bool) -> Attended:
    """Causal attention of one layer as signals read it."""
    length = query.shape[2]
    visible = Visible(None, True, length, length, query.device, cross=False)
    return Attended(site, visible, query=query, key=key, scale=WIDTH**-0.5, distances=distances)


def read_layer(site: Site, query: Tensor, key: Tensor) -> list[Tensor]:
    """Every default signal of attention, from one layer."""
    seen = attended(site, query, key, distances=True)
    return [each.read(seen) for each in chosen(ATTENTION)]


def layer(length: int) -> tuple[Site, Tensor, Tensor]:
    """A site, and random queries and keys for it."""
    torch.manual_seed(0)
    site = dissect(decoder(1, FIRST)).sites[0]
    return site, torch.randn(1, HEADS, length, WIDTH), torch.randn(1, HEADS, length, WIDTH)


def step_of(kind: str, layers: int, rows: int, length: int) -> Callable[[int], object]:
    """What a kind of step does with the first so many tokens of a batch; model and batch are made here."""
    if kind == "layer":
        site, query, key = layer(length)
        return lambda first: read_layer(site, query[:, :, :first], key[:, :, :first])
    model = decoder(layers, length, "eager" if kind == "eager" else "sdpa")
    batch = tokens(rows, length)
    short = {first: {name: ids[:, :first].contiguous() for name, ids in batch.items()} for first in (FIRST, length)}
    if kind in ("training", "eager"):
        act = train if kind == "training" else train_and_look
        return lambda first: act(model, short[first])
    anatomy, names = dissect(model), DEFAULT if kind == "all" else FUSED
    return lambda first: measure(model, short[first], names, anatomy=anatomy)


def turns(steps: Sequence[Step], rounds: int) -> list[list[float]]:
    """Seconds of each step in each round; the round that warms up is left out, and every other goes backwards."""
    spent: list[list[float]] = [[] for _ in steps]
    for number in range(rounds + 1):
        for which in range(len(steps))[:: 1 if number % 2 else -1]:
            began = time.perf_counter()
            steps[which]()
            if number:
                spent[which].append(time.perf_counter() - began)
    return spent


def in_time(row: str, compared: str, ours: Sequence[float], theirs: Sequence[float], target: float) -> Finding:
    """The finding of rounds that were timed."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    return Finding(row, compared, "s", median(ours), median(theirs), median(ratios), target, min(ratios), max(ratios))


def held(kind: str, layers: int, rows: int, length: int) -> dict[str, int]:
    """Bytes that this process held before its step and at most within; it should be fresh."""
    step = step_of(kind, layers, rows, length)
    step(FIRST)
    gc.collect()
    with Highest() as highest:
        step(length)
    return {"before": highest.before, "highest": highest.bytes}


def held_afresh(kind: str, layers: int, rows: int, length: int) -> dict[str, int]:
    """The same, in a process of its own."""
    sizes = [str(size) for size in (layers, rows, length)]
    command = [sys.executable, __file__, "--held", kind, *sizes, "--threads", str(torch.get_num_threads())]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def in_memory(row: str, compared: str, ours: Mapping[str, int], theirs: Mapping[str, int], target: float) -> list[Finding]:
    """The findings of two processes: by what they held more within the step, and by all they held."""
    more = [(each["highest"] - each["before"]) / 2**20 for each in (ours, theirs)]
    most = [each["highest"] / 2**20 for each in (ours, theirs)]
    return [
        Finding(row, compared, "MiB", *more, more[0] / more[1], target),
        Finding(row, compared, "MiB in all", *most, most[0] / most[1], None),
    ]


def beside_training(options: argparse.Namespace) -> Iterator[Finding]:
    """All fused signals beside one plain training step, and with gradients too."""
    for rows, length in ((8, 512), (2, 2_048)):
        kinds = {"training": ("", 0.0), "fused": ("fused", 1.0), "all": ("+ gradient", 1.2)}
        theirs, *ours = turns([partial(step_of(kind, 6, rows, length), length) for kind in kinds], options.rounds)
        plain, *mine = [held_afresh(kind, 6, rows, length) for kind in kinds]
        for (name, limit), spent, bytes_ in zip(list(kinds.values())[1:], ours, mine, strict=True):
            compared = f"{name} ÷ training, T = {length}"
            yield in_time("training", compared, spent, theirs, limit)
            yield from in_memory("training", compared, bytes_, plain, 1.0)


def beside_eager(options: argparse.Namespace) -> Iterator[Finding]:
    """All fused signals beside a training step that hands out its attention."""
    rows, length = 2, 2_048
    kinds = ("fused", "eager")
    compared = f"fused ÷ eager, T = {length}"
    yield in_time(
        "eager", compared, *turns([partial(step_of(kind, 6, rows, length), length) for kind in kinds], options.rounds), 0.6
    )
    yield from in_memory("eager", compared, *(held_afresh(kind, 6, rows, length) for kind in kinds), 0.55)


def of_one_layer(options: argparse.Namespace) -> Iterator[Finding]:
    """The entropy of one layer, beside that of its weights."""
    site, query, key = layer(4_096)

    def fused(distances: bool) -> Tensor:
        return attended(site, query, key, distances).entropy

    error = float((fused(False) - of_softmax(query, key)).abs().max())
    steps = [partial(fused, False), partial(fused, True), partial(of_softmax, query, key)]
    alone, both, theirs = turns(steps, options.rounds)
    for name, ours in (("entropy", alone), ("entropy, distance", both)):
        found = in_time("entropy", f"{name} ÷ softmax, T = 4096", ours, theirs, 0.1)
        yield replace(found, remark=f"The entropies differ by {error:.0e} nats at most.")


def by_length(_: argparse.Namespace) -> Iterator[Finding]:
    """Memory as the text grows to the eightfold."""
    long, short = (held_afresh("layer", 1, 1, length) for length in (16_384, 2_048))
    yield from in_memory("length", "layer, T = 16384 ÷ 2048", long, short, 9.0)


def without(model: GPT2LMHeadModel, site: Site, head: int, batch: Batch) -> float:
    """The loss of a whole pass that leaves out one head."""

    def tap(call: Call) -> Tensor:
        output = call.output.clone()
        output[..., head, :] = 0
        return output

    with torch.no_grad(), open_taps(model, {site: tap}):
        return float(model(**batch, use_cache=False).loss)


class Beside:
    """Watches an ablation: after the pass for a head it makes a naive one for the same head, while the clock of ours stands."""

    def __init__(self, model: GPT2LMHeadModel, anatomy: Anatomy, given: Sequence[Batch], timed: int) -> None:
        self._model, self._given, self._done = model, given, 0
        self._every = [(site, head) for site in anatomy for head in range(site.heads)]
        self._timed = {(2 * number + 1) * len(self._every) // (2 * timed) for number in range(timed)}
        self.ours, self.theirs = [0.0] * len(given), [0.0] * len(given)
        self._since = time.perf_counter()

    def __call__(self, done: int, _: int | None) -> None:
        now = time.perf_counter()
        number, place = divmod(done - 1, 1 + len(self._every))  # the intact pass comes first
        self.ours[number] += now - self._since
        if place - 1 in self._timed:
            without(self._model, *self._every[place - 1], self._given[number])
            self.theirs[number] += (time.perf_counter() - now) * len(self._every) / len(self._timed)
        self._since = time.perf_counter()


def ablation(options: argparse.Namespace) -> Iterator[Finding]:
    """Leaving out every head of twelve layers, beside as many whole passes."""
    model = decoder(12, 256).eval()
    anatomy, given = dissect(model), [tokens(4, 256, seed=number) for number in range(options.batches)]
    for site in (anatomy.sites[0], anatomy.sites[-1]):
        without(model, site, 0, given[0])  # to warm up
    timed = min(options.heads or len(anatomy.heads), len(anatomy.heads))
    beside = Beside(model, anatomy, given, timed)
    measure(model, given, ["ablation"], anatomy=anatomy, watch=beside)
    whole = in_time("ablation", f"ablation ÷ naive, {options.batches} batches", [sum(beside.ours)], [sum(beside.theirs)], 0.6)
    parts = {"first batch, with checks": slice(0, 1), "each later batch": slice(1, None)}
    found = [
        in_time("ablation", f"ablation ÷ naive, {name}", beside.ours[part], beside.theirs[part], 0.6)
        for name, part in parts.items()
        if beside.ours[part]
    ]
    remark = "" if timed == len(anatomy.heads) else f"Naive ablation: {timed} heads timed, scaled to {len(anatomy.heads)}."
    yield from (replace(each, remark=remark) for each in (*found, whole))


ROWS: dict[str, Callable[[argparse.Namespace], Iterator[Finding]]] = {
    "training": beside_training,
    "eager": beside_eager,
    "entropy": of_one_layer,
    "length": by_length,
    "ablation": ablation,
}


def shown(found: Sequence[Finding], threads: int) -> Table:
    """The findings as a table."""
    caption = " ".join(dict.fromkeys(each.remark for each in found if each.remark))
    table = Table(title=f"What measuring costs, {threads} threads", caption=caption)
    for name in ("compared", "in", "ours", "theirs", "ratio", "target"):
        table.add_column(name, justify="left" if name in ("compared", "in") else "right")
    for each in found:
        amounts = [f"{amount:.2f}" if each.unit == "s" else f"{amount:,.0f}" for amount in (each.ours, each.theirs)]
        span = "" if each.lowest == each.highest else f" ({each.lowest:.2f}–{each.highest:.2f})"
        target = "" if each.target is None else f"{'≤' if each.ratio <= each.target else 'missed:'} {each.target:g}"
        table.add_row(each.compared, each.unit, *amounts, f"{each.ratio:.3f}{span}", target)
    return table


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description="What measuring heads costs.")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--rounds", type=int, default=5, help="of both steps of a row, by turns")
    parser.add_argument("--heads", type=int, help="of these many the naive ablation is timed, and scaled to all")
    parser.add_argument("--batches", type=int, default=3, help="of ablation; the first carries its checks")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--held", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.held:
        print(json.dumps(held(arguments.held[0], *map(int, arguments.held[1:]))))
        return
    found = [finding for row in arguments.rows for finding in ROWS[row](arguments)]
    if arguments.json:
        print(json.dumps([asdict(each) for each in found]))
        return
    Console().print(shown(found, arguments.threads))


if __name__ == "__main__":
    main()
