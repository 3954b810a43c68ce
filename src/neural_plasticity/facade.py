"""The classes that reach across rooms; each method is a door to the room that does the work."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.dashboard.report import report
from neural_plasticity.environment.survey import get_environment_info
from neural_plasticity.errors import ModelNotUsable, SettingNotUsable
from neural_plasticity.experiment.experiment import Experiment
from neural_plasticity.experiment.samples import write_text
from neural_plasticity.figures.canvas import Figure
from neural_plasticity.figures.dashboards import (
    generate_complete_process_dashboard,
    generate_dashboards,
    pruning_figures,
    record_of,
    results_of,
)
from neural_plasticity.figures.history import rows_of
from neural_plasticity.figures.phases import visualize_complete_training_process
from neural_plasticity.figures.warmup import visualize_warmup_dashboard
from neural_plasticity.heads import HeadId
from neural_plasticity.selection.strategies import PruningStrategy
from neural_plasticity.settings import Settings
from neural_plasticity.signals.doors import as_tensor
from neural_plasticity.signals.maps import attention
from neural_plasticity.signals.measure import measure

# Settings that a pruning cycle has other names for, or decides by itself.
RENAMED = {"level": "give pruning_level=", "steps": "give training_steps=", "cycles": "leave it out, since there is one"}


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
        for name in (name for name in RENAMED if name in settings):
            raise SettingNotUsable(f"run_pruning_cycle takes no {name}=, and was given {settings[name]!r:.40}; {RENAMED[name]}.")
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


class VisualizationReporter:
    """Figures, texts and tables about one model's experiment; they lie in `output_dir` unless `save_visualizations` is False."""

    def __init__(
        self,
        model: Any = None,
        tokenizer: Any = None,
        output_dir: str | PathLike[str] = "visualizations",
        save_visualizations: bool = True,
        **style: Any,
    ) -> None:
        self.model, self.tokenizer, self.output_dir = model, tokenizer, Path(output_dir)
        self.save_visualizations, self.style = save_visualizations, style

    def display_warmup_results(self, warmup_results: Any) -> Figure:
        """The warm-up: its losses, their trend, and where they settled."""
        return self._kept(visualize_warmup_dashboard(warmup_results, **self.style), "warmup")

    def display_pruning_results(self, pruning_results: Any) -> dict[str, Figure]:
        """The pruning, a figure for each thing that its results hold: decisions, gradient, entropy, entropy_vs_gradient."""
        found = pruning_figures(results_of({"pruning": pruning_results})["pruning"], **self.style)
        return {name: self._kept(figure, f"pruning_{name}") for name, figure in found.items()}

    def display_complete_training_process(self, experiment: Any, **options: Any) -> Figure:
        """The whole experiment in one picture."""
        return self._kept(visualize_complete_training_process(results_of(experiment), **(self.style | options)), "complete")

    def generate_comprehensive_dashboard(self, experiment: Any, output_dir: str | PathLike[str] | None = None) -> Path:
        """Every figure of the experiment, and its report where it has a record; returns the folder."""
        folder = Path(output_dir or self.output_dir)
        generate_dashboards(experiment, folder, **self.style)
        record = record_of(experiment)
        if record is not None:
            report(record, folder / "report.html")
        return folder

    def run_text_generation_suite(
        self, prompts: str | Sequence[str] = ("def ", "class ", "import "), *, tokens: int = 60, seed: int = 0
    ) -> dict[str, str]:
        """What the model writes after each prompt, always the same for the same seed."""
        if self.model is None:
            raise ModelNotUsable(
                "The reporter was made without a model, so nothing can be written; pass model= and tokenizer= to it."
            )
        asked = [prompts] if isinstance(prompts, str) else list(prompts)
        found = {prompt: write_text(self.model, self.tokenizer, prompt, tokens=tokens, seed=seed) for prompt in asked}
        if self.save_visualizations:
            self._write("generated.json", json.dumps(found, indent=2))
        return found

    def save_metrics_to_csv(self, metrics: Any, filename: str = "metrics.csv") -> Path:
        """A history of metrics as a table: a dict of columns, a list of dicts, or a run's history; returns the file."""
        rows = rows_of(metrics, "metrics")
        table = io.StringIO()
        writer = csv.DictWriter(table, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return self._write(filename, table.getvalue())

    def _kept(self, figure: Figure, name: str) -> Figure:
        if self.save_visualizations:
            figure.save(self.output_dir / f"{name}.png")
        return figure

    def _write(self, name: str, content: str) -> Path:
        target = self.output_dir / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
        return target


def display_neural_plasticity_dashboard(experiment: Any, output_dir: str | PathLike[str]) -> Path:
    """One page about an experiment, written into a folder: the report of its record, or its whole course as a picture where
    there are only results. Returns where it lies.
    """
    record = record_of(experiment)
    if record is None:
        return generate_complete_process_dashboard(experiment, output_dir)
    return report(record, Path(output_dir) / "report.html")
