"""What tests of whole runs share: a model so small that a run takes a second, sinks that stop it, what two runs have in common."""

import dataclasses
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from neural_plasticity.experiment.experiment import Experiment
from neural_plasticity.inputs.documents import Document
from neural_plasticity.record import Run
from neural_plasticity.settings import Settings

TEXTS = [Document(f"text {number}", f"def f{number}(x):\n    return x + {number}\n" * (3 + number)) for number in range(6)]


def small(seed: int = 0, **changes) -> LlamaForCausalLM:
    """A language model for the tokenizer of the embedded one, with uneven groups; trained on nothing."""
    torch.manual_seed(seed)
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 2048} | changes
    return LlamaForCausalLM(LlamaConfig(hidden_size=32, intermediate_size=32, max_position_embeddings=64, **sizes)).eval()


def little(folder: Path, **changes) -> Settings:
    """Settings of which everything is little; checkpoints come after every second step."""
    chosen = {
        "out": str(folder),
        "max_length": 16,
        "batch_size": 4,
        "eval_tokens": 120,
        "measure_tokens": 64,
        "sample_tokens": 2,
        "speed_tokens": 0,
        "warmup_steps": 4,
        "steps": 4,
        "cycles": 2,
        "level": 0.4,
        "learning_rate": 1e-2,
        "checkpoint_every": 2,
    }
    return Settings(**{**chosen, **changes})


def experiment(settings: Settings, tokenizer, *sinks, model=None, train=TEXTS, eval=TEXTS, **more) -> Experiment:  # noqa: A002  # as Experiment calls it
    """An experiment on the small model, or another one."""
    return Experiment(
        settings, model=small() if model is None else model, tokenizer=tokenizer, train=train, eval=eval, sinks=sinks, **more
    )


class Recorder:
    """A sink that keeps events, and stops the run at the one that is asked for, once."""

    def __init__(self, stops=None, fault: BaseException | None = None) -> None:
        self.events, self._stops, self._fault = [], stops, fault or KeyboardInterrupt()

    def write(self, event, tensors=None) -> None:
        self.events.append(event)
        if self._stops is not None and self._stops(event):
            self._stops = None
            raise self._fault


def told(run: Run) -> list:
    """Every event, without what no two runs have in common: its name, and how fast the machine was."""
    return [_lasting(entry.event) for entry in run.entries()]


def _lasting(event):
    if event.kind == "run":
        return dataclasses.replace(event, name="")
    if event.kind == "finished":
        return dataclasses.replace(event, summary={name: value for name, value in event.summary.items() if "ratio" not in name})
    if event.kind == "comparison" and event.before == "all heads":
        return dataclasses.replace(event, values=dict.fromkeys(event.values))
    return event


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the model that a run has saved, its bank and the moments in it too."""
    files = [path for path in (folder / "model").glob("*.safetensors") if path.name != "model.safetensors"]
    return {f"{path.name.split('-')[0]}/{name}": tensor for path in files for name, tensor in load_file(path).items()}


def assert_same_end(folder: Path, other: Path) -> None:
    """Two runs have told the same, and left the same model, bit for bit."""
    ours, theirs = told(Run(folder)), told(Run(other))
    assert repr(ours) == repr(theirs)  # by their text, since nan is not equal to itself
    first, second = weights(folder), weights(other)
    assert first
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
