"""How a model is trained: the learning rate over the steps, decay, clipping, accumulation, precision."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from torch import nn
from torch.optim import AdamW

from neural_plasticity.anatomy.taps import original
from neural_plasticity.errors import SettingNotUsable, TrainingError

Decay = Literal["linear", "cosine", "constant"]
PRECISIONS = (None, "bf16", "fp16")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained; as it stands, it lets the embedded model recover in a hundred steps."""

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warm_steps: int = 0
    decay: Decay = "linear"
    clip: float | None = 1.0
    accumulation: int = 1
    precision: str | None = None

    def __post_init__(self) -> None:
        decays = get_args(Decay)
        self._require("above 0", learning_rate=0 < self.learning_rate < math.inf)
        self._require("0 or more", weight_decay=0 <= self.weight_decay < math.inf)
        self._require("a whole number of 0 or more", warm_steps=self.warm_steps >= 0 and self.warm_steps == int(self.warm_steps))
        self._require(f"one of {', '.join(decays)}", decay=self.decay in decays)
        self._require("above 0, or None", clip=self.clip is None or 0 < self.clip < math.inf)
        whole = self.accumulation == int(self.accumulation)
        self._require("a whole number of at least 1", accumulation=whole and self.accumulation >= 1)
        self._require("bf16, fp16 or None", precision=self.precision in PRECISIONS)

    def _require(self, needed: str, **usable: bool) -> None:
        for name in (name for name, fits in usable.items() if not fits):
            raise SettingNotUsable(f"The {name} of a recipe is {getattr(self, name)!r:.40}; it must be {needed}.")

    def factor(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, as a share of its peak."""
        if step < self.warm_steps:
            return (step + 1) / self.warm_steps
        done = (step - self.warm_steps) / max(1, steps - self.warm_steps)
        if self.decay == "constant":
            return 1.0
        return 1 - done if self.decay == "linear" else (1 + math.cos(math.pi * done)) / 2

    def as_dict(self) -> dict[str, Any]:
        """The recipe as plain values."""
        return asdict(self)


def optimizer_for(model: nn.Module, recipe: Recipe) -> AdamW:
    """AdamW over every weight that learns; biases, norms and other vectors do not decay."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in original(model).named_parameters():
        if parameter.requires_grad:
            groups[parameter.dim() > 1 and name.rpartition(".")[2] != "bias"].append(parameter)
    found = [
        {"params": parameters, "weight_decay": recipe.weight_decay if decays else 0.0}
        for decays, parameters in groups.items()
        if parameters
    ]
    if not found:
        raise TrainingError(f"No weight of {type(original(model)).__name__} learns; set requires_grad on those that should.")
    return AdamW(found, lr=recipe.learning_rate)
