"""The same heads removed by us and by Torch-Pruning: in how many families, how exactly, how fast, and who can go back.

`pip install torch-pruning==1.6.1 && PYTHONPATH=. python benchmarks/peers.py [--families gpt2 llama …] [--json]`

Torch-Pruning is told by our anatomy which rows of which projections make the head, which it could not find by itself;
from there its dependency graph finds what else has to go. Where a module says how many heads it has, it is told how
many are left, and a model that can do without a cache makes none for it. What comes out is held against the model with
that head masked, as our own proof does. A refusal is an error of ours, raised on purpose with the model left as it was; any
other error is a failure.
"""

import argparse
import copy
import inspect
import json
import signal
import statistics
import sys
import time
import warnings
from collections import Counter
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from tests.conformance.families import FAMILIES
from torch import nn

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.sites import Site
from neural_plasticity.anatomy.taps import open_taps
from neural_plasticity.errors import PlasticityError
from neural_plasticity.surgery.surgeon import Surgeon

NEAR = 1e-4  # of the largest output
LIMIT = 10  # seconds; some graphs are followed without end


def floats(outputs: Any) -> list[torch.Tensor]:
    values = outputs.values() if hasattr(outputs, "values") else outputs
    return [value for value in values if isinstance(value, torch.Tensor) and value.is_floating_point()]


def difference(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    if [each.shape for each in ours] != [each.shape for each in theirs]:
        return float("inf")
    return max(
        float((one - other).abs().max() / other.abs().max().clamp_min(1e-9)) for one, other in zip(ours, theirs, strict=True)
    )


def masked(model: nn.Module, site: Site, heads: list[int], example: dict[str, Any]) -> list[torch.Tensor]:
    factors = torch.ones(site.heads)
    factors[heads] = 0
    with torch.no_grad(), open_taps(model, {site: lambda call: call.output * factors.to(call.output)[:, None]}):
        return floats(model(**example))


def by_us(model: nn.Module, site: Site, heads: list[int], example: dict[str, Any]) -> None:
    Surgeon(model, example=example).prune([(site.layer, head) for head in heads])


def rows_of(site: Site, heads: list[int]) -> dict[str, set[int]]:
    gone: dict[str, set[int]] = {}
    groups = sorted({site.groups[head] for head in heads})
    for each in site.slices:
        if each.role != "o":
            members = heads if each.per == "head" else groups
            gone.setdefault(each.module, set()).update(row for member in members for row in each.indices[member])
    return gone


def by_torch_pruning(model: nn.Module, site: Site, heads: list[int], example: dict[str, Any]) -> None:
    import torch_pruning as tp

    if "use_cache" in inspect.signature(model.forward).parameters:
        example = example | {"use_cache": False}  # it follows some graphs only without a cache
    graph = tp.DependencyGraph().build_dependency(
        model, example_inputs=example, forward_fn=lambda root, batch: floats(root(**batch))
    )
    gone = rows_of(site, heads)
    sizes = {name: model.get_submodule(name).weight.shape for name in gone}
    for name, rows in gone.items():
        module = model.get_submodule(name)
        if module.weight.shape == sizes[name]:  # or it went with one before it
            group = graph.get_pruning_group(module, graph.get_pruner_of_module(module).prune_out_channels, sorted(rows))
            if graph.check_pruning_group(group):
                group.prune()
    attention = model.get_submodule(site.name)
    for attribute in ("num_heads", "num_attention_heads", "n_heads", "n_head"):
        if getattr(attention, attribute, None) == site.heads:
            setattr(attention, attribute, site.heads - len(heads))


def _too_long(*_: object) -> None:
    raise TimeoutError


def trial(name: str) -> dict[str, Any] | None:
    """One family: the first site whose heads come apart loses the first of its key-value groups."""
    family = FAMILIES[name]
    model = family.build(seed=3)
    example = family.example(model, seed=3)
    anatomy = dissect(model, dict(example))
    site = next((site for site in anatomy if site.sliceable and not site.shared_with and site.kv_heads > 1), None)
    if site is None:
        return None
    heads = [head for head in range(site.heads) if site.groups[head] == 0]
    expected = masked(model, site, heads, example)
    row: dict[str, Any] = {"family": name}
    for who, operate in (
        ("ours", lambda copied: by_us(copied, site, heads, example)),
        ("torch-pruning", lambda copied: by_torch_pruning(copied, site, heads, example)),
    ):
        copied = copy.deepcopy(model)
        began = time.perf_counter()
        signal.alarm(LIMIT)
        try:
            operate(copied)
            seconds = time.perf_counter() - began
            with torch.no_grad():
                worst = difference(floats(copied(**example)), expected)
            smaller = sum(each.numel() for each in copied.parameters()) < sum(each.numel() for each in model.parameters())
            outcome = "right" if worst <= NEAR and smaller else "nothing removed" if not smaller else "wrong"
        except PlasticityError as fault:
            outcome, seconds, worst = f"refused: {type(fault).__name__}", time.perf_counter() - began, float("nan")
        except Exception as fault:  # noqa: BLE001  # a peer may fail in any way, which is what is counted
            outcome, seconds, worst = f"failed: {type(fault).__name__}", time.perf_counter() - began, float("nan")
        finally:
            signal.alarm(0)
        row |= {who: outcome, f"{who} seconds": seconds, f"{who} difference": worst}
    return row


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--families", nargs="+", default=list(FAMILIES))
    arguments.add_argument("--json", action="store_true")
    chosen = arguments.parse_args()
    signal.signal(signal.SIGALRM, _too_long)
    warnings.simplefilter("ignore")
    rows = []
    for name in chosen.families:
        row = trial(name)
        if row is not None:
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    if chosen.json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(title=f"one key-value group of heads removed, {len(rows)} families whose heads come apart")
    outcomes, seconds = ("right", "wrong", "nothing removed", "refused", "failed"), "median seconds where"
    for column in ("", *outcomes, f"{seconds} right", f"{seconds} both are", "brings heads back"):
        table.add_column(column)
    both = [row for row in rows if row["ours"] == row["torch-pruning"] == "right"]
    for who, back in (("ours", "yes, bit for bit"), ("torch-pruning", "no")):
        counts = Counter(row[who].partition(":")[0] for row in rows)
        times = [[row[f"{who} seconds"] for row in those] for those in ([row for row in rows if row[who] == "right"], both)]
        medians = [f"{statistics.median(each):.3f}" if each else "" for each in times]
        table.add_row(who, *(str(counts[outcome]) for outcome in outcomes), *medians, back)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
