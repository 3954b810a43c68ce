"""The figures of a run by name: what each shows, what it needs, and what to look at."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures import cycles, gaze, of_run
from neural_plasticity.figures.canvas import Figure
from neural_plasticity.figures.chronicle import Chronicle, chronicles_of
from neural_plasticity.figures.life import life
from neural_plasticity.figures.tradeoff import point_of, quality_speed
from neural_plasticity.record.events import Evaluation, Operation


@dataclass(frozen=True, slots=True)
class Need:
    """What a run must hold for a figure, in words, and where it comes from."""

    words: str
    there: Callable[[Chronicle], bool]
    source: str = "take a run of `plasticity run`"


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure by name; `several` ones take all runs at once, and `frames` are what it shows one after the other."""

    name: str
    draw: Callable[..., Figure]
    caption: str
    needs: tuple[Need, ...]
    several: bool = False
    frames: Callable[..., list[Figure]] | None = None

    def missing(self, told: Chronicle) -> Need | None:
        """The first thing that the run lacks."""
        return next((need for need in self.needs if not need.there(told)), None)

    def takes(self, option: str) -> bool:
        """Whether the figure knows such an option beside its style."""
        return option in inspect.signature(self.draw).parameters


def _signal(name: str, source: str = "take a run of `plasticity run` or `plasticity analyze`") -> Need:
    return Need(f"the signal {name}", lambda told: name in told.signals, source)


_ENTROPY, _GRADIENT = _signal("entropy"), _signal("gradient")
_ANY = Need("a signal of any kind", lambda told: bool(told.signals), "take a run of `plasticity run` or `plasticity analyze`")
_PRUNED = Need("an operation that pruned heads", lambda told: any(event.action == "prune" for event in told.events(Operation)))
_REVIVED = Need(
    "an operation that revived heads",
    lambda told: any(event.action in ("revive", "grow") for event in told.events(Operation)),
    "take a run of `plasticity run` with --schedule drop_and_grow",
)
_GAZE = Need("attention maps", lambda told: bool(told.gazes), "take a run of `plasticity run` whose attention_heads is not 0")
_LEARNED = Need("steps of learning", lambda told: bool(told.courses))
_WARM = Need("a warm-up", lambda told: any(c.phase == "warm-up" for c in told.courses), "take a run whose warmup_steps is not 0")
_CUT = Need(
    "an evaluation of a pruned model with its perplexity",
    lambda told: any(event.stage == "pruned" and "perplexity" in event.values for event in told.events(Evaluation)),
)
_SPEED = Need(
    "a comparison of quality and a measured speed",
    lambda told: point_of(told) is not None,
    "take a run that removed heads and whose speed_tokens is not 0",
)

_END = Need("the end of the run", lambda told: told.ended, "wait until it has finished, or resume it")

_PICTURES = (
    Picture(
        "complete",
        of_run.complete,
        "The whole run. Follow the loss from the left: each pruning makes a step upwards, and fine-tuning brings it down again; "
        "what is left at the end is the price.",
        (Need("steps of learning or an operation", lambda told: bool(told.courses or told.events(Operation))),),
    ),
    Picture(
        "warmup",
        of_run.warmup,
        "The warm-up. Pruning is judged against a model that has settled on its text: look for the star, and for a trend that is "
        "level behind it.",
        (_WARM,),
    ),
    Picture(
        "training_progress",
        of_run.training_progress,
        "Everything over the steps. Look whether perplexity comes back down after each step in the number of pruned heads.",
        (_LEARNED,),
    ),
    Picture(
        "entropy",
        of_run.entropy,
        "How widely each head looks. Dark heads look at few tokens, bright ones at nearly all; hatched ones sleep.",
        (_ENTROPY,),
        frames=partial(cycles.frames, signal="entropy"),
    ),
    Picture(
        "normalized_entropy",
        of_run.normalized_entropy,
        "Entropy in percent of what it could be at most. Heads near 100 average over the text; heads near 0 have one target.",
        (_signal("normalized_entropy"),),
    ),
    Picture(
        "gradient",
        of_run.gradient,
        "How strongly the loss pulls at each head. Pruned heads should stand in dark cells: the loss hardly asked for them.",
        (_GRADIENT,),
        frames=partial(cycles.frames, signal="gradient"),
    ),
    Picture(
        "importance",
        of_run.importance,
        "What each head is worth by one measure after another, each in its own colours. Heads that all of them call cheap are safe "
        "to lose; where they disagree, the choice of strategy matters.",
        (Need("a signal of importance", lambda told: any(name in told.signals for name in of_run.WORTH), _ANY.source),),
    ),
    Picture(
        "entropy_vs_gradient",
        of_run.entropy_vs_gradient,
        "Whether heads that look widely matter less. A cloud without direction says that entropy alone is a poor guide.",
        (_ENTROPY, _GRADIENT),
    ),
    Picture(
        "ablation",
        of_run.ablation,
        "What the loss becomes when one head alone falls silent: what all cheaper signals guess at. Heads below 0 do harm.",
        (_signal("ablation", "run `plasticity analyze MODEL --signals ablation` first"),),
    ),
    Picture(
        "pruning_decisions",
        of_run.pruning_decisions,
        "Which heads went and why. On the right they stand in order: all crosses should lie at one end, up to those that were "
        "protected.",
        (_PRUNED, _ANY),
    ),
    Picture(
        "life",
        life,
        "A line for each head. It grows thin where the head was pruned and coloured where it came back, with the reason beside it.",
        (_PRUNED,),
    ),
    Picture(
        "maps",
        cycles.maps,
        "What decided, cycle by cycle in the same colours. Look whether the heads that stay take over: brighter cells beside the "
        "pruned ones.",
        (_ANY,),
        frames=cycles.frames,
    ),
    Picture(
        "growth",
        cycles.growth,
        "What came back. Each mark on the right is a sleeping head and what waking it would do to the loss: those woken should lie "
        "lowest.",
        (_REVIVED,),
    ),
    Picture(
        "attention",
        gaze.attention,
        "What one head attends to, token by token. A bright diagonal looks at its neighbours, a bright column at one token.",
        (_GAZE,),
        frames=gaze.attention_frames,
    ),
    Picture(
        "attention_change",
        gaze.attention_change,
        "One head before, after and across the cycles. The last panel shows where its weight moved: violet gained, orange lost.",
        (_GAZE,),
    ),
    Picture(
        "summary",
        of_run.summary,
        "Of one run what each cycle did, of several perplexity by stage and recovery by level at their ends. 100 % means that "
        "fine-tuning undid all the harm that pruning had done.",
        (_CUT,),
        several=True,
    ),
    Picture(
        "strategies",
        of_run.strategies,
        "The strategies of several runs beside each other, with intervals where there are several seeds. Where intervals overlap, "
        "the runs do not tell which is better.",
        (_CUT,),
        several=True,
    ),
    Picture(
        "quality_speed",
        quality_speed,
        "What was lost against what was won, both measured against the model as it was given. The best runs stand at the lower "
        "right; an interval that crosses a dotted line is no proof of a difference.",
        (_SPEED,),
        several=True,
    ),
)
CATALOGUE: Mapping[str, Picture] = {picture.name: picture for picture in _PICTURES}
_AT_LEAST = {"strategies": 2}  # runs that a comparison needs


def figure(run: Any, name: str, **options: Any) -> Figure:
    """One figure of a run, or of several runs where it compares them, by its name in the catalogue.

    A run is its folder, a `Run`, or an outcome or experiment that has one; `options` are the figure's own, such as `cycle` or
    `head`, and the style: `theme`, `figsize`, `cmap`, `save_path`.
    """
    picture, told, left = require(run, name)
    if not picture.several:
        return picture.draw(told[0], **given(options))
    return picture.draw(told, left_out=left, **given(options))


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that say something: None leaves a figure's own choice as it is."""
    return {name: value for name, value in options.items() if value is not None}


def require(run: Any, name: str) -> tuple[Picture, list[Chronicle], list[str]]:
    """The figure of this name, the chronicles of the runs that hold what it needs, and the others' names, each with why."""
    if name not in CATALOGUE:
        near = get_close_matches(str(name), CATALOGUE, 1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(CATALOGUE)}."
        raise SettingNotUsable(f"There is no figure {name!r:.60}: {hint}")
    picture, told = CATALOGUE[name], chronicles_of(run)
    least = _AT_LEAST.get(name, 1)
    if len(told) < least or (len(told) > 1 and not picture.several):
        wanted = "one run" if not picture.several else f"{least} runs or more"
        raise SettingNotUsable(f"The figure {name} is of {wanted}, and {len(told)} were named; name as many.")
    lacking = [(each, need) for each in told if (need := _lacks(picture, each, len(told))) is not None]
    if len(told) - len(lacking) < least:
        first, need = lacking[0]
        raise SettingNotUsable(
            f"The figure {name} needs {need.words}, and {first.run.name} holds {first.seen:.300}; {need.source}."
        )
    fit = [each for each in told if all(each is not other for other, _ in lacking)]
    return picture, fit, [f"{each.run.name} (without {need.words})" for each, need in lacking]


def _lacks(picture: Picture, told: Chronicle, count: int) -> Need | None:
    """The first thing that a run lacks; beside others it lacks its end too, as it has not come to what was asked of it."""
    need = picture.missing(told)
    return _END if need is None and count > 1 and not told.ended else need
