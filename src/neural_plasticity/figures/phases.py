"""The picture of a whole experiment: warm-up, pruning and fine-tuning on one line of steps, each in detail, and what came of it."""

from collections import Counter
from typing import Any, Unpack

import numpy as np
from matplotlib.axes import Axes

from neural_plasticity.figures.bars import draw_bars
from neural_plasticity.figures.canvas import Figure, Look, Style, dressed, legend
from neural_plasticity.figures.lettering import number
from neural_plasticity.figures.lines import Curve, along, draw_curves, nothing, posts
from neural_plasticity.figures.panels import facts, panels
from neural_plasticity.figures.scale import numbered, upright
from neural_plasticity.figures.story import WORDS, Story, story_of
from neural_plasticity.figures.theme import MARKS
from neural_plasticity.figures.warmup import draw_warmup, stable

_SENTENCE = "What is not needed falls silent; what is missed comes back."


def visualize_complete_training_process(
    experiment: Any,
    title: str = "From warm-up to fine-tuning",
    show_plot: bool = True,
    show_quote: bool = False,
    **style: Unpack[Style],
) -> Figure:
    """A whole experiment: the loss of all phases at their steps, each phase in detail, perplexities, heads, and a summary.

    `experiment` has `.warmup_results` and `.pruning_results`, or is a dict with warmup, pruning and fine_tuning. With
    `show_plot` False the figure does not show itself in a notebook; with `show_quote` a sentence stands beneath the title.
    """
    look = Look.of(**style)
    story = story_of(experiment)
    figure, (course, warmup, heads, tuning, perplexity, statistics, words) = panels(look, 7, (12.0, 9.6), leading=True)
    _course(course, story, look)
    draw_warmup(warmup, story.warmup, look, "warm-up")
    _heads_by_layer(heads, story)
    _tuning(tuning, story, look)
    _perplexity(perplexity, story, look)
    facts(statistics, "pruning", _statistics(story))
    facts(words, "summary", _summary(story))
    figure.headline(title, _SENTENCE if show_quote else "")
    figure.shows_itself = show_plot
    return figure.finished(look)


def _course(axes: Axes, story: Story, look: Look) -> None:
    """The loss of every phase on one line of steps, with a post where each phase began."""
    dressed(axes, title="loss", x="step", y="nats per token")
    colours = dict(zip(WORDS, look.colours(len(WORDS)), strict=True))
    told = [phase for phase in story.phases if phase.steps.size]
    curves = [Curve(WORDS[phase.name], phase.steps, phase.losses, colours[phase.name]) for phase in told]
    lines = draw_curves(axes, curves)
    begins = [(phase.start, WORDS[phase.name]) for phase in story.phases]
    if begins:
        along(axes, [*(curve.steps for curve in curves), np.array([start for start, _ in begins])])
    first = story.phase("warmup")
    posts(axes, begins + (stable(axes, story.warmup, look, first.offset) if first is not None else []))
    if len(lines) > 1:
        legend(axes, list({str(line.get_label()): line for line in lines}.values()))


def _heads_by_layer(axes: Axes, story: Story) -> None:
    """How many heads each layer lost and won back."""
    dressed(axes, title="heads by layer", x="layer")
    counts = {word: Counter(layer for layer, _ in story.heads(f"{word}_heads")) for word in ("pruned", "revived")}
    layers = max((layer for count in counts.values() for layer in count), default=-1) + 1
    if not layers:
        nothing(axes, "no heads named")
        return
    for word, shift in (("pruned", -0.2), ("revived", 0.2)):
        mark = MARKS[word]
        places = [layer + shift for layer in range(layers)]
        axes.bar(places, [counts[word][layer] for layer in range(layers)], 0.38, color=mark.colour, label=word)
    upright(axes, [np.array(list(count.values()), dtype=float) for count in counts.values()], zero=True, whole=True)
    axes.set_xlim(-0.7, layers - 0.3)
    numbered(axes.xaxis, [str(layer) for layer in range(layers)], 150.0, 16.0)
    legend(axes, axes.containers)


def _tuning(axes: Axes, story: Story, look: Look) -> None:
    dressed(axes, title="fine-tuning", x="step", y="nats per token")
    tuned = [phase for phase in story.phases if phase.name == "fine_tuning"]
    draw_curves(axes, [Curve("loss", phase.steps, phase.losses, look.colours(3)[2]) for phase in tuned])


def _perplexity(axes: Axes, story: Story, look: Look) -> None:
    dressed(axes, title="perplexity")
    known = story.perplexities()
    draw_bars(axes, list(known), {"perplexity": [[value] for value in known.values()]}, look.colours(1))


def _statistics(story: Story) -> list[tuple[str, str]]:
    """What the pruning did, in words."""
    results = story.pruning
    lines: list[tuple[str, str]] = []
    if results.get("strategy") is not None:
        lines.append(("strategy", str(getattr(results["strategy"], "value", results["strategy"]))))
    for name, key in (("level", "pruning_level"), ("heads in all", "total_heads")):
        if results.get(key) is not None:
            lines.append((name, number(float(results[key]))))
    for word in ("pruned", "revived"):
        if results.get(f"{word}_heads") is not None:
            lines.append((word, str(len(story.heads(f"{word}_heads")))))
    if results.get("recovery_rate") is not None:
        lines.append(("recovery rate", number(float(results["recovery_rate"]))))
    if results.get("perplexity_improvement") is not None:
        lines.append(("improvement", number(float(results["perplexity_improvement"]))))
    return lines or [("nothing was pruned", "")]


def _summary(story: Story) -> list[tuple[str, str]]:
    """The whole in a few words: steps of each phase, and the perplexity from the first evaluation to the last."""
    steps = {name: sum(phase.steps.size for phase in story.phases if phase.name == name) for name in WORDS}
    lines = [(f"{WORDS[name]}, steps", str(count)) for name, count in steps.items() if count]
    if story.warmup.stable_at is not None:
        lines.append(("stable from step", number(story.warmup.stable_at)))
    known = list(story.perplexities().items())
    if len(known) > 1:
        lines.append((f"perplexity, {known[0][0]}", number(known[0][1])))
        lines.append((f"perplexity, {known[-1][0]}", number(known[-1][1])))
    return lines or [("nothing recorded yet", "")]
