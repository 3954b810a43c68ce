"""What removing heads saves: latency against a model built that small, speed-up against what its FLOPs allow, and what it costs.

`python benchmarks/surgery.py [--rows built speed cost] [--threads 4] [--rounds 7] [--json]`
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from neural_plasticity.surgery.report import report
from neural_plasticity.surgery.surgeon import Surgeon

WIDTH, HEADS, LAYERS = 768, 12, 12


def built(heads: int, kv_heads: int, layers: int = LAYERS) -> LlamaForCausalLM:
    """A decoder of width 768 with heads of 64."""
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "intermediate_size": 2048, "num_hidden_layers": layers, "vocab_size": 2000, "head_dim": 64}
    config = LlamaConfig(**sizes, num_attention_heads=HEADS, num_key_value_heads=HEADS, pad_token_id=0)
    config.num_attention_heads, config.num_key_value_heads = heads, kv_heads  # 9 heads of 64 are refused at the door, but work
    return LlamaForCausalLM(config).eval()


def side_by_side(one: Callable[[], object], other: Callable[[], object], rounds: int) -> tuple[float, list[float]]:
    """The median of the ratios of their times, taken in turns, and all of them."""
    one(), other()
    ratios = []
    for number in range(rounds):
        times = {}
        for which, step in ((0, one), (1, other)) if number % 2 else ((1, other), (0, one)):
            began = time.perf_counter()
            step()
            times[which] = time.perf_counter() - began
        ratios.append(times[0] / times[1])
    return statistics.median(ratios), ratios


def prefill(model: nn.Module, tokens: int) -> Callable[[], object]:
    ids = torch.randint(1, 2000, (1, tokens), generator=torch.Generator().manual_seed(1))

    @torch.inference_mode()
    def step() -> object:
        return model(input_ids=ids, use_cache=False)

    return step


def decode(model: nn.Module, tokens: int = 24) -> Callable[[], object]:
    ids = torch.randint(1, 2000, (1, 64), generator=torch.Generator().manual_seed(1))

    @torch.inference_mode()
    def step() -> object:
        cache, token = model(input_ids=ids, use_cache=True).past_key_values, ids[:, -1:]
        for _ in range(tokens):
            token = model(input_ids=token, past_key_values=cache, use_cache=True).logits[:, -1:].argmax(-1)
        return token

    return step


def pruned(model: nn.Module, share: float, kv_heads: int, uneven: bool = False) -> nn.Module:
    """The model with this share of the heads of every layer removed, whole groups of them unless uneven."""
    group = HEADS // kv_heads
    generator = random.Random(0)
    heads: list[tuple[int, int]] = []
    for layer in range(LAYERS):
        if uneven:
            chosen = generator.sample(range(HEADS), round(share * HEADS))
        else:
            groups = generator.sample(range(kv_heads), round(share * kv_heads))
            chosen = [head for head in range(HEADS) if head // group in groups]
        heads += [(layer, head) for head in chosen]
    Surgeon(model).prune(heads)
    return model


def against_built(rounds: int) -> list[dict[str, object]]:
    rows = []
    for kv_heads in (12, 4):
        for share in (0.25, 0.5, 0.75):
            small = pruned(built(HEADS, kv_heads), share, kv_heads)
            twin = built(round(HEADS * (1 - share)), round(kv_heads * (1 - share)))
            for what, step in (("prefill, T = 512", lambda model: prefill(model, 512)), ("decode", decode)):
                ratio, _ = side_by_side(step(small), step(twin), rounds)
                rows.append(
                    {"what": f"{what}, {kv_heads} kv heads, {share:.0%} pruned ÷ built so", "ratio": ratio, "target": "≤ 1.03"}
                )
    for share in (0.25, 0.5):
        odd, even = pruned(built(HEADS, 4), share, 4, uneven=True), built(HEADS, 4)
        even = pruned(even, share, 4) if share * 4 == round(share * 4) else even
        ratio, _ = side_by_side(decode(odd), decode(even), rounds)
        rows.append(
            {"what": f"decode, uneven groups of 4 kv heads, {share:.0%} pruned ÷ whole groups", "ratio": ratio, "target": "≤ 1.25"}
        )
    return rows


def speed(rounds: int, threads: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for count in sorted({1, threads}):
        torch.set_num_threads(count)
        for share in (0.25, 0.5, 0.75):
            whole, small = built(HEADS, HEADS), pruned(built(HEADS, HEADS), share, HEADS)
            ratio, _ = side_by_side(prefill(whole, 1024), prefill(small, 1024), rounds)
            allowed = flops(HEADS, 1024) / flops(round(HEADS * (1 - share)), 1024)
            what = f"prefill, T = 1024, {count} threads, {share:.0%} pruned: {ratio:.2f}× faster of {allowed:.2f}× allowed"
            rows.append({"what": what, "ratio": ratio / allowed, "target": "≥ 0.95"})
    torch.set_num_threads(threads)
    return rows


def flops(heads: int, tokens: int) -> float:
    """Of one pass: projections and scores of these heads, the feed-forward layers, and the head of the model."""
    inner = heads * 64
    attention = 2 * tokens * WIDTH * inner * 4 + 2 * 2 * tokens * tokens * inner
    return LAYERS * (attention + 2 * tokens * WIDTH * 2048 * 3) + 2 * tokens * WIDTH * 2000


def cost(rounds: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    seconds = []
    for _ in range(max(3, rounds // 2)):
        model = built(HEADS, HEADS)
        surgeon = Surgeon(model)
        heads = [(layer, head) for layer in range(LAYERS) for head in random.Random(layer).sample(range(HEADS), 6)]
        began = time.perf_counter()
        surgeon.prune(heads)
        seconds.append(time.perf_counter() - began)
    rows.append(
        {
            "what": "seconds of one prune of 50 % of 12 × 12 heads × 768, proof included",
            "ratio": statistics.median(seconds),
            "target": "≤ 3",
        }
    )
    sizes = report(model, surgeon._past)
    for name in ("cache_bytes_per_token", "attention_flops"):
        rows.append(
            {
                "what": f"{name}, after ÷ before, 50 % pruned",
                "ratio": getattr(sizes.after, name) / getattr(sizes.before, name),
                "target": "0.5",
            }
        )
    return rows


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", nargs="+", default=["built", "speed", "cost"])
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--json", action="store_true")
    chosen = arguments.parse_args()
    torch.set_num_threads(chosen.threads)
    makers = {
        "built": lambda: against_built(chosen.rounds),
        "speed": lambda: speed(chosen.rounds, chosen.threads),
        "cost": lambda: cost(chosen.rounds),
    }
    rows = [row for name in chosen.rows for row in makers[name]()]
    if chosen.json:
        print(json.dumps(rows, indent=2))
        return
    table = Table("figure", "measured", "target", box=None)
    for row in rows:
        table.add_row(str(row["what"]), f"{row['ratio']:.3f}", str(row["target"]))
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
