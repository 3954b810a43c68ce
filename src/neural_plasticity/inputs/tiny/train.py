"""Train `tiny`, the embedded model, on the standard library: `python -m neural_plasticity.inputs.tiny.train`.

Every step draws its windows from a generator seeded by the step's number, and the state is
written to disk as it goes, so a training that was stopped goes on where it was.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import GenerationConfig, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

from neural_plasticity.inputs.documents import Document, Split, of_split
from neural_plasticity.inputs.stdlib import stdlib_documents

END = "<|endoftext|>"
VOCABULARY = 2048
WINDOW = 512
BATCH = 6
WARM_UP_STEPS = 150
BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.1


def train_tokenizer(documents: Sequence[Document]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that never meets an unknown character."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((document.text for document in documents), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END, model_max_length=2 * WINDOW
    )


def build_model(end: int) -> MistralForCausalLM:
    """Six layers of eight heads. The head width stands in the config on its own, apart from the
    model's width, so a copy with fewer heads per layer is still an ordinary checkpoint."""
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=288,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=8,
        head_dim=16,
        max_position_embeddings=2 * WINDOW,
        sliding_window=None,
        tie_word_embeddings=True,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
    )
    return MistralForCausalLM(config)


def stream_of(tokenizer: PreTrainedTokenizerFast, documents: Sequence[Document]) -> Tensor:
    """All documents as one line of token ids, each followed by the end token."""
    ids: list[int] = []
    for document in documents:
        ids.extend(tokenizer(document.text + END, verbose=False)["input_ids"])
    return torch.tensor(ids)


def windows(stream: Tensor, step: int) -> Tensor:
    """The batch of this step: (batch, window) ids from random places."""
    generator = torch.Generator().manual_seed(step)
    starts = torch.randint(0, len(stream) - WINDOW, (BATCH,), generator=generator)
    return torch.stack([stream[start : start + WINDOW] for start in starts.tolist()])


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Linear warm-up, then a cosine down to a hundredth of the peak."""
    if step < WARM_UP_STEPS:
        return peak * (step + 1) / WARM_UP_STEPS
    progress = (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS)
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)


@torch.no_grad()
def held_out_loss(model: MistralForCausalLM, stream: Tensor, batches: int = 40) -> float:
    """Mean loss in nats per token over evenly spaced held-out windows."""
    model.eval()
    starts = torch.linspace(0, len(stream) - WINDOW, batches * BATCH).long().tolist()
    total = 0.0
    for first in range(0, len(starts), BATCH):
        ids = torch.stack([stream[start : start + WINDOW] for start in starts[first : first + BATCH]])
        total += model(input_ids=ids, labels=ids, use_cache=False).loss.item()
    model.train()
    return total / batches


class State:
    """Weights and optimizer moments on disk, so that a stopped training goes on."""

    def __init__(self, folder: Path, model: MistralForCausalLM, optimizer: torch.optim.AdamW) -> None:
        self.path = folder / "training-state.safetensors"
        self.model, self.optimizer = model, optimizer

    def save(self, step: int) -> None:
        """Everything the next step depends on, in one atomic write."""
        tensors = {f"weight.{name}": weight.detach() for name, weight in self.model.named_parameters()}
        for name, weight in self.model.named_parameters():
            for moment in ("exp_avg", "exp_avg_sq", "step"):
                tensors[f"{moment}.{name}"] = self.optimizer.state[weight][moment]
        fresh = self.path.with_suffix(".partial")
        save_file(tensors, fresh, metadata={"step": str(step)})
        fresh.replace(self.path)

    def restore(self) -> int:
        """The number of steps already done, with the model and optimizer as they were then."""
        if not self.path.exists():
            return 0
        tensors = load_file(self.path)
        for name, weight in self.model.named_parameters():
            weight.data.copy_(tensors[f"weight.{name}"])
            self.optimizer.state[weight] = {moment: tensors[f"{moment}.{name}"] for moment in ("exp_avg", "exp_avg_sq", "step")}
        with safe_open(self.path, framework="pt") as file:
            return int(file.metadata()["step"])


def train(folder: Path, steps: int, peak: float, every: int = 200) -> None:
    """Train from scratch, or go on, and leave an ordinary checkpoint in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    documents = stdlib_documents()
    sides: tuple[Split, Split] = ("train", "held_out")
    learned, kept = (of_split(documents, side) for side in sides)
    tokenizer = train_tokenizer(learned)
    stream, held_out = stream_of(tokenizer, learned), stream_of(tokenizer, kept)
    model = build_model(end=tokenizer.vocab[END])
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=BETAS, fused=True)
    state = State(folder, model, optimizer)
    done = state.restore()
    console = Console()
    console.print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(stream):,} tokens, {len(held_out):,} held out")
    began, curve = time.monotonic(), (folder / "curve.jsonl").open("a", encoding="utf-8")
    for step in track(range(done, steps), "training tiny", console=console):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak)
        ids = windows(stream, step)
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % every == 0 or step + 1 == steps:
            state.save(step + 1)
            point = {"step": step + 1, "train_loss": loss.item(), "held_out_loss": held_out_loss(model, held_out)}
            curve.write(json.dumps(point | {"seconds": round(time.monotonic() - began, 1)}) + "\n")
            curve.flush()
            export(folder / "model", model, tokenizer)
    curve.close()


def export(folder: Path, model: MistralForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """The checkpoint as it ships: fp16 safetensors, config and tokenizer."""
    shipped = MistralForCausalLM(model.config)
    shipped.load_state_dict(model.state_dict())
    shipped.half()
    shipped.generation_config = GenerationConfig.from_model_config(model.config)
    shipped.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """The command line of the training."""
    parser = argparse.ArgumentParser(description="Train the embedded model on Python's standard library.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the state, the curve and the checkpoint")
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.out, arguments.steps, arguments.learning_rate)


if __name__ == "__main__":
    main()
