"""Prune, watch and regrow the attention heads of any Hugging Face transformer.

This module names the public API and loads each name on first use: importing it is free.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neural_plasticity.anatomy.dissect import dissect as dissect
    from neural_plasticity.anatomy.sites import Anatomy as Anatomy
    from neural_plasticity.dashboard.report import report as report
    from neural_plasticity.environment.arithmetic import safe_matmul as safe_matmul
    from neural_plasticity.environment.survey import get_environment_info as get_environment_info
    from neural_plasticity.errors import PlasticityError as PlasticityError
    from neural_plasticity.experiment.experiment import Experiment as Experiment
    from neural_plasticity.experiment.outcome import Outcome as Outcome
    from neural_plasticity.facade import NeuralPlasticity as NeuralPlasticity
    from neural_plasticity.facade import VisualizationReporter as VisualizationReporter
    from neural_plasticity.facade import display_neural_plasticity_dashboard as display_neural_plasticity_dashboard
    from neural_plasticity.figures.animation import animate as animate
    from neural_plasticity.figures.attention import visualize_attention_matrix as visualize_attention_matrix
    from neural_plasticity.figures.attention import visualize_attention_patterns as visualize_attention_patterns
    from neural_plasticity.figures.catalogue import figure as figure
    from neural_plasticity.figures.dashboards import generate_complete_process_dashboard as generate_complete_process_dashboard
    from neural_plasticity.figures.dashboards import generate_dashboards as generate_dashboards
    from neural_plasticity.figures.decisions import visualize_pruning_decisions as visualize_pruning_decisions
    from neural_plasticity.figures.entropy import visualize_entropy_heatmap as visualize_entropy_heatmap
    from neural_plasticity.figures.entropy import visualize_entropy_vs_gradient as visualize_entropy_vs_gradient
    from neural_plasticity.figures.entropy import visualize_head_entropy as visualize_head_entropy
    from neural_plasticity.figures.entropy import visualize_normalized_entropy as visualize_normalized_entropy
    from neural_plasticity.figures.experiments import plot_experiment_summary as plot_experiment_summary
    from neural_plasticity.figures.experiments import plot_recovery_comparison as plot_recovery_comparison
    from neural_plasticity.figures.experiments import plot_strategy_comparison as plot_strategy_comparison
    from neural_plasticity.figures.gradients import plot_head_gradients_with_overlays as plot_head_gradients_with_overlays
    from neural_plasticity.figures.gradients import visualize_gradient_norms as visualize_gradient_norms
    from neural_plasticity.figures.gradients import visualize_head_gradients as visualize_head_gradients
    from neural_plasticity.figures.importance import visualize_head_importance as visualize_head_importance
    from neural_plasticity.figures.phases import visualize_complete_training_process as visualize_complete_training_process
    from neural_plasticity.figures.results import load_results_from_file as load_results_from_file
    from neural_plasticity.figures.training import visualize_training_progress as visualize_training_progress
    from neural_plasticity.figures.warmup import visualize_warmup_dashboard as visualize_warmup_dashboard
    from neural_plasticity.heads import HeadGrid as HeadGrid
    from neural_plasticity.heads import HeadId as HeadId
    from neural_plasticity.heads import HeadState as HeadState
    from neural_plasticity.inputs.models import load_model as load_model
    from neural_plasticity.inputs.texts import load_text as load_text
    from neural_plasticity.launch import resume as resume
    from neural_plasticity.launch import run as run
    from neural_plasticity.record.run import Run as Run
    from neural_plasticity.record.run import open_run as open_run
    from neural_plasticity.selection.growth import plan_growth as plan_growth
    from neural_plasticity.selection.plan import Decision as Decision
    from neural_plasticity.selection.plan import Plan as Plan
    from neural_plasticity.selection.pruning import plan_pruning as plan_pruning
    from neural_plasticity.selection.strategies import PruningStrategy as PruningStrategy
    from neural_plasticity.settings import Settings as Settings
    from neural_plasticity.signals.base import signal as signal
    from neural_plasticity.signals.doors import calculate_entropy as calculate_entropy
    from neural_plasticity.signals.doors import calculate_head_entropy as calculate_head_entropy
    from neural_plasticity.signals.doors import calculate_head_gradients as calculate_head_gradients
    from neural_plasticity.signals.doors import get_gradient_norms as get_gradient_norms
    from neural_plasticity.signals.maps import attention as attention
    from neural_plasticity.signals.measure import Measurement as Measurement
    from neural_plasticity.signals.measure import measure as measure
    from neural_plasticity.surgery.doors import apply_pruning_mask as apply_pruning_mask
    from neural_plasticity.surgery.doors import generate_pruning_mask as generate_pruning_mask
    from neural_plasticity.surgery.modes import PruningMode as PruningMode
    from neural_plasticity.surgery.saving import load as load
    from neural_plasticity.surgery.surgeon import Surgeon as Surgeon

    IS_APPLE_SILICON: bool
    IS_COLAB: bool
    HAS_GPU: bool

__version__ = "0.1.0"

# Each public name and the module that it is loaded from on first use; docs/api.md says what each is for.
_HOME = {
    "Anatomy": "anatomy.sites",
    "animate": "figures.animation",
    "apply_pruning_mask": "surgery.doors",
    "attention": "signals.maps",
    "calculate_entropy": "signals.doors",
    "calculate_head_entropy": "signals.doors",
    "calculate_head_gradients": "signals.doors",
    "Decision": "selection.plan",
    "display_neural_plasticity_dashboard": "facade",
    "dissect": "anatomy.dissect",
    "Experiment": "experiment.experiment",
    "figure": "figures.catalogue",
    "generate_complete_process_dashboard": "figures.dashboards",
    "generate_dashboards": "figures.dashboards",
    "generate_pruning_mask": "surgery.doors",
    "get_environment_info": "environment.survey",
    "get_gradient_norms": "signals.doors",
    "HAS_GPU": "environment.devices",
    "HeadGrid": "heads",
    "HeadId": "heads",
    "HeadState": "heads",
    "IS_APPLE_SILICON": "environment.host",
    "IS_COLAB": "environment.host",
    "load": "surgery.saving",
    "load_model": "inputs.models",
    "load_results_from_file": "figures.results",
    "load_text": "inputs.texts",
    "measure": "signals.measure",
    "Measurement": "signals.measure",
    "NeuralPlasticity": "facade",
    "open_run": "record.run",
    "Outcome": "experiment.outcome",
    "Plan": "selection.plan",
    "plan_growth": "selection.growth",
    "plan_pruning": "selection.pruning",
    "PlasticityError": "errors",
    "plot_experiment_summary": "figures.experiments",
    "plot_head_gradients_with_overlays": "figures.gradients",
    "plot_recovery_comparison": "figures.experiments",
    "plot_strategy_comparison": "figures.experiments",
    "PruningMode": "surgery.modes",
    "PruningStrategy": "selection.strategies",
    "report": "dashboard.report",
    "resume": "launch",
    "Run": "record.run",
    "run": "launch",
    "safe_matmul": "environment.arithmetic",
    "Settings": "settings",
    "signal": "signals.base",
    "Surgeon": "surgery.surgeon",
    "VisualizationReporter": "facade",
    "visualize_attention_matrix": "figures.attention",
    "visualize_attention_patterns": "figures.attention",
    "visualize_complete_training_process": "figures.phases",
    "visualize_entropy_heatmap": "figures.entropy",
    "visualize_entropy_vs_gradient": "figures.entropy",
    "visualize_gradient_norms": "figures.gradients",
    "visualize_head_entropy": "figures.entropy",
    "visualize_head_gradients": "figures.gradients",
    "visualize_head_importance": "figures.importance",
    "visualize_normalized_entropy": "figures.entropy",
    "visualize_pruning_decisions": "figures.decisions",
    "visualize_training_progress": "figures.training",
    "visualize_warmup_dashboard": "figures.warmup",
}

__all__ = list(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'neural_plasticity' has no attribute '{name}'; its public names are in docs/api.md")
    return getattr(import_module(f"neural_plasticity.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
