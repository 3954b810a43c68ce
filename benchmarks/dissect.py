"""How long `dissect` takes on a grown model, and how much memory it needs beside the model itself.

`python benchmarks/dissect.py [--layers 24] [--width 1024] [--threads 2] [--json]`
"""

import argparse
import gc
import json
import threading
import time

import psutil
import torch
from rich.console import Console
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM

from neural_plasticity.anatomy.dissect import dissect


class Highest(threading.Thread):
    """The most memory this process holds while a block runs, looked at every millisecond."""

    def __enter__(self) -> "Highest":
        self._process, self._over = psutil.Process(), threading.Event()
        self.before = self.bytes = self._process.memory_info().rss
        self.start()
        return self

    def run(self) -> None:
        while not self._over.wait(0.001):
            self.bytes = max(self.bytes, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def measure(layers: int, width: int) -> dict[str, float]:
    """Seconds and memory of one dissection of a decoder with heads of 64 and groups of four."""
    heads = width // 64
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 4,
        vocab_size=32_000,
    )
    model = LlamaForCausalLM(config)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    gc.collect()
    with Highest() as highest:
        began = time.perf_counter()
        anatomy = dissect(model)
        seconds = time.perf_counter() - began
    assert anatomy.separable
    extra = highest.bytes - highest.before
    return {
        "heads": len(anatomy.heads),
        "seconds": seconds,
        "model_bytes": weights,
        "extra_bytes": extra,
        "memory_ratio": (weights + extra) / weights,
    }


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description="Time and memory of dissect.")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = measure(arguments.layers, arguments.width)
    if arguments.json:
        print(json.dumps(found))
        return
    table = Table(
        "figure",
        "found",
        "target",
        title=f"dissect, {arguments.layers} layers of width {arguments.width}, {arguments.threads} threads",
    )
    table.add_row("heads", f"{found['heads']:.0f}", "")
    table.add_row("seconds", f"{found['seconds']:.2f}", "< 10")
    table.add_row("memory ÷ model", f"{found['memory_ratio']:.3f}", "< 1.2")
    Console().print(table)


if __name__ == "__main__":
    main()
