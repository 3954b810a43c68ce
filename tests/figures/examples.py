"""Every figure function with an input that it draws, by name: what holds for all of them is tested on each."""

import numpy as np

from neural_plasticity.figures.attention import visualize_attention_matrix, visualize_attention_patterns
from neural_plasticity.figures.decisions import visualize_pruning_decisions
from neural_plasticity.figures.entropy import (
    visualize_entropy_heatmap,
    visualize_entropy_vs_gradient,
    visualize_head_entropy,
    visualize_normalized_entropy,
)
from neural_plasticity.figures.experiments import plot_experiment_summary, plot_recovery_comparison, plot_strategy_comparison
from neural_plasticity.figures.gradients import (
    plot_head_gradients_with_overlays,
    visualize_gradient_norms,
    visualize_head_gradients,
)
from neural_plasticity.figures.importance import visualize_head_importance
from neural_plasticity.figures.phases import visualize_complete_training_process
from neural_plasticity.figures.training import visualize_training_progress
from neural_plasticity.figures.warmup import visualize_warmup_dashboard

GRID = np.array([[0.1, 0.2, 0.3], [0.02, 0.5, 0.004]])
PRUNED, REVIVED = [(1, 2), (0, 0)], [(0, 0)]
MAPS = np.tril(np.ones((2, 4, 4))) / np.arange(1, 5)[:, None]
HISTORY = {
    "step": [10, 20, 30, 40],
    "epoch": [0, 0, 1, 1],
    "train_loss": [4.0, 3.0, 2.5, 2.4],
    "eval_loss": [None, 3.1, None, 2.6],
    "pruned_heads": [0, 1, 2, 2],
    "revived_heads": [0, 0, 0, 1],
    "sparsity": [0.0, 0.1, 0.2, 0.1],
    "perplexity": [900.0, 700.0, 550.0, 500.0],
}
WARMUP = {"losses": [5.0, 4.0, 3.4, 3.1, 3.0, 3.0], "is_stable": True, "stabilization_step": 4, "duration": 1.5}
PRUNING = {
    "strategy": "combined",
    "pruning_level": 0.2,
    "total_heads": 6,
    "pruned_heads": [(0, 0), (1, 2), (1, 1)],
    "revived_heads": [(1, 1)],
    "baseline_metrics": {"loss": 3.0, "perplexity": 20.0},
    "pruned_metrics": {"loss": 3.4, "perplexity": 30.0},
    "final_metrics": {"loss": 3.1, "perplexity": 22.0},
}
TUNING = {"losses": [3.4, 3.2, 3.1]}
RESULTS = [
    {"model": "m", "strategy": strategy, "pruning_level": level, "stage": stage, "perplexity": perplexity}
    for strategy, rise in (("entropy", 100.0), ("random", 300.0))
    for level in (0.1, 0.3)
    for stage, perplexity in (("baseline", 600.0), ("pruned", 600 + rise * level), ("fine_tuned", 600 + rise * level / 4))
]
COMPARISON = {
    "Strategy": ["entropy", "random", "lucky"],
    "Baseline Perplexity": [600.0, 600.0, 600.0],
    "Pruned Perplexity": [700.0, 900.0, 590.0],
    "Fine-tuned Perplexity": [625.0, 750.0, 570.0],
}

# name → (function, its arguments, a figsize that the width of a column wants)
COLUMN = (3.4, 2.6)
FIGURES = {
    "visualize_entropy_heatmap": (visualize_entropy_heatmap, (GRID,), COLUMN),
    "visualize_head_entropy": (visualize_head_entropy, (GRID,), COLUMN),
    "visualize_normalized_entropy": (visualize_normalized_entropy, (GRID, 0.5), COLUMN),
    "visualize_entropy_vs_gradient": (visualize_entropy_vs_gradient, (GRID, GRID[::-1]), COLUMN),
    "visualize_gradient_norms": (visualize_gradient_norms, (GRID, PRUNED, REVIVED), COLUMN),
    "visualize_head_gradients": (visualize_head_gradients, (GRID,), COLUMN),
    "plot_head_gradients_with_overlays": (plot_head_gradients_with_overlays, (GRID, PRUNED, REVIVED), COLUMN),
    "visualize_attention_matrix": (visualize_attention_matrix, (MAPS, 0, 1), COLUMN),
    "visualize_attention_patterns": (visualize_attention_patterns, (MAPS, 0), COLUMN),
    "visualize_pruning_decisions": (visualize_pruning_decisions, (GRID, GRID < 0.05), (3.4, 6.0)),
    "visualize_head_importance": (visualize_head_importance, ("m", {"a": [(0, 1, 0.5)], "b": [(1, 0, -1.0)]}), (3.4, 4.0)),
    "visualize_training_progress": (visualize_training_progress, (HISTORY,), (3.4, 6.6)),
    "visualize_warmup_dashboard": (visualize_warmup_dashboard, (WARMUP,), (3.4, 7.0)),
    "visualize_complete_training_process": (
        visualize_complete_training_process,
        ({"warmup": WARMUP, "pruning": PRUNING, "fine_tuning": TUNING},),
        (3.4, 12.0),
    ),
    "plot_experiment_summary": (plot_experiment_summary, (RESULTS,), (3.4, 7.4)),
    "plot_strategy_comparison": (plot_strategy_comparison, (COMPARISON, None, "m", 0.1), (3.4, 4.4)),
    "plot_recovery_comparison": (plot_recovery_comparison, (COMPARISON, None, "m", 0.1), COLUMN),
}
HEAT_MAPS = {
    "visualize_entropy_heatmap",
    "visualize_head_entropy",
    "visualize_normalized_entropy",
    "visualize_gradient_norms",
    "visualize_head_gradients",
    "visualize_pruning_decisions",
    "visualize_head_importance",
}


def drawn(name, *arguments, **style):
    """The figure of this name with its example, or with other arguments."""
    function, example, _ = FIGURES[name]
    return function(*(arguments or example), **style)
