"""The classes that reach across rooms; each method is a door to the room that does the work."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.environment.survey import get_environment_info
from neural_plasticity.experiment.experiment import Experiment
from neural_plasticity.heads import HeadId
from neural_plasticity.selection.strategies import PruningStrategy
from neural_plasticity.settings import Settings
from neural_plasticity.signals.doors import as_tensor
from neural_plasticity.signals.maps import attention
from neural_plasticity.signals.measure import measure


class NeuralPlasticity:
    """The whole system behind one name."""

    @staticmethod
    def get_environment_info() -> dict[str, Any]:
        """What this machine offers: device, GPU, platform, versions, memory, threads."""
        return get_environment_info()

    @staticmethod
    def detect_attention_heads(model: nn.Module) -> list[HeadId]:
        """Every attention head of the model, as (layer, head)."""
        return dissect(model).heads

    @staticmethod
    def analyze_attention_patterns(model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Any]:
        """How the heads attend on these texts: `attention_tensors`, a layer each (batch, heads, queries, keys), and
        `entropy_values`, layers × heads in nats.
        """
        batch = {"input_ids": input_ids} | ({} if attention_mask is None else {"attention_mask": attention_mask})
        anatomy = dissect(model)
        maps = attention(model, batch, anatomy=anatomy)
        layers = [torch.stack([maps[head] for head in anatomy.heads if head.layer == site.layer], 1) for site in anatomy]
        return {
            "attention_tensors": layers,
            "entropy_values": as_tensor(measure(model, batch, ["entropy"], anatomy=anatomy)["entropy"]),
        }

    @staticmethod
    def run_pruning_cycle(
        model: nn.Module,
        train_dataloader: Iterable[Mapping[str, Any]],
        eval_dataloader: Iterable[Mapping[str, Any]],
        pruning_level: float = 0.2,
        strategy: str = PruningStrategy.COMBINED,
        learning_rate: float = 5e-5,
        training_steps: int = 100,
        **settings: Any,
    ) -> dict[str, Any]:
        """Measure, prune and recover once; the results by the names of `Experiment.pruning_results`, and the run's `folder`.

        `settings` are any other fields of `Settings`, such as `mode` or `out`.
        """
        chosen = Settings.from_dict(
            {
                "warmup_steps": 0,
                **settings,
                "level": pruning_level,
                "strategy": str(strategy),
                "learning_rate": learning_rate,
                "steps": training_steps,
                "cycles": 1,
            }
        )
        experiment = Experiment(chosen, model=model, train=train_dataloader, eval=eval_dataloader)
        outcome = experiment.run()
        return {**(experiment.pruning_results or {}), "folder": outcome.folder}

    @staticmethod
    def calculate_head_importance(
        model: nn.Module, dataloader: Iterable[Mapping[str, Any]], num_batches: int | None = None, signal: str = "taylor"
    ) -> Tensor:
        """What each head is worth to the loss, layers × heads: by default to first order, sample by sample."""
        return as_tensor(measure(model, islice(dataloader, num_batches), [signal])[signal])
