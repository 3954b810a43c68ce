"""What the settings ask for: everything in them that was left open filled in, and what cannot be refused before it begins."""

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from neural_plasticity.errors import SettingNotUsable, SurgeryError
from neural_plasticity.inputs.tiny import FOLDER as TINY
from neural_plasticity.selection.schedules import EXCHANGING, Stage, stages
from neural_plasticity.selection.strategies import growth_strategy_of, strategy_of
from neural_plasticity.settings import Settings
from neural_plasticity.signals.base import chosen
from neural_plasticity.signals.objectives import objective_of
from neural_plasticity.surgery.modes import PruningMode, mode_of
from neural_plasticity.surgery.surgeon import Surgeon
from neural_plasticity.training.losses import Batch, Loss
from neural_plasticity.training.recipe import Recipe

TINY_RATE, USUAL_RATE = 3e-4, 5e-5  # of learning: for the embedded model, and for one that somebody else has trained
CAREFUL = 0.05  # the share of heads that drop_and_grow exchanges in a cycle, where none is given
WARM = 8  # the part of a chapter's steps in which the learning rate rises: the moments of a new optimizer know nothing yet


def resolved(settings: Settings, model: Any) -> Settings:
    """The settings with everything in them that was left open."""
    embedded = str(getattr(model, "name_or_path", "")) == str(TINY)
    if settings.model == "tiny" and not embedded:  # somebody's own model, which its settings say nothing of
        settings = replace(settings, model=type(model).__name__)
    rate = settings.learning_rate if settings.learning_rate is not None else TINY_RATE if embedded else USUAL_RATE
    exchange = settings.exchange or (CAREFUL if settings.schedule in EXCHANGING else 0.0)
    return replace(settings, learning_rate=rate, exchange=exchange)


def checked(settings: Settings) -> tuple[Stage, ...]:
    """What each cycle aims at; what is misspelt, or does not go together, is refused before anything is loaded."""
    strategy_of(settings.strategy)
    growth_strategy_of(settings.growth)
    mode = mode_of(settings.mode)
    chosen(settings.signals)
    _require_teaching(settings)
    recipe_of(settings, settings.steps)
    if settings.unit not in ("head", "kv_group"):
        raise SettingNotUsable(f"The setting unit is {settings.unit!r:.60}; choose head or kv_group.")
    if settings.patience and not settings.eval_every:
        raise SettingNotUsable(
            f"The setting patience is {settings.patience} and eval_every is 0, so there is nothing to lose patience with; "
            "set eval_every to the steps between two looks at the held-out material."
        )
    exchange = settings.exchange or (CAREFUL if settings.schedule in EXCHANGING else 0.0)
    if exchange and mode is PruningMode.COMPRESSED:
        raise SettingNotUsable(
            f"mode='compressed' forgets the heads that an exchange of {exchange:g} is to wake again; use mode='remove', "
            "or exchange=0."
        )
    found = stages(settings.schedule, settings.level, settings.cycles, exchange) if settings.cycles else ()
    if settings.schedule in EXCHANGING:
        return found
    return tuple(replace(stage, exchange=exchange if cycle else 0.0) for cycle, stage in enumerate(found))


def _require_teaching(settings: Settings) -> None:
    objective_of(settings.loss)
    if settings.loss == "self_distillation" and (settings.warmup_steps or (settings.cycles and settings.steps)):
        raise SettingNotUsable(
            "The setting loss is 'self_distillation', by which heads are measured and which teaches a model nothing that it does "
            "not know; use next_token, or own, or set warmup_steps=0 and steps=0 to prune without learning."
        )


def learned_by(model: nn.Module, loss: str | Loss | None) -> Loss | None:
    """What a model learns by, where that is named or given: None is its own loss."""
    if not isinstance(loss, str):
        return loss
    if loss == "own":
        return None
    objective = objective_of(loss)

    def found(outputs: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        goal = objective(model, outputs, batch)
        return goal.loss(outputs), goal.weights.sum()

    return found


def recipe_of(settings: Settings, steps: int) -> Recipe:
    """How the settings want each of so many steps to be made."""
    return Recipe(
        learning_rate=USUAL_RATE if settings.learning_rate is None else settings.learning_rate,
        weight_decay=settings.weight_decay,
        warm_steps=steps // WARM,
        clip=settings.clip_norm or None,
        accumulation=settings.accumulation,
        precision=settings.precision,
    )


def require_possible(surgeon: Surgeon, settings: Settings) -> None:
    """A refusal where no head at all can go in this mode, or one is to be protected that is not there."""
    heads = set(surgeon.anatomy.heads)
    for head in settings.protect:
        if head not in heads:
            raise SettingNotUsable(
                f"The setting protect names head {head[0]}.{head[1]}, which {surgeon.anatomy.model} does not have; "
                "`plasticity dissect` shows those that it has."
            )
    refusals = surgeon.refusals(settings.mode)
    if settings.cycles and settings.level and len(refusals) == len(heads):
        raise SurgeryError(
            f"No head of {surgeon.anatomy.model} can be pruned by {settings.mode}: {next(iter(refusals.values()))}; "
            "`plasticity dissect` shows what was seen, and another mode may work."
        )
