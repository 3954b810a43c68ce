"""Who is there: the original heads of a model, which of them sleep, which may not be touched, and their numbers."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from operator import index
from typing import Any, cast

import numpy as np

from neural_plasticity.errors import SettingNotUsable, said
from neural_plasticity.heads import HeadGrid, HeadId
from neural_plasticity.selection.strategies import Grids, Mask, Scores

Heads = Iterable[tuple[int, int]]
Protect = Heads | Mapping[HeadId, str]
Numbers = Mapping[str, Any] | HeadGrid  # a grid or an array for each signal

BY_HAND = "protected by hand"


@dataclass(frozen=True)
class Roster:
    """The heads of one model: all of them, those that sleep, those of them that rest, and why some may not be pruned."""

    originals: frozenset[HeadId]
    asleep: frozenset[HeadId]
    resting: frozenset[HeadId]
    protected: Mapping[HeadId, str]

    @property
    def awake(self) -> list[HeadId]:
        """The heads that work now, layer by layer."""
        return sorted(self.originals - self.asleep)

    @property
    def wakeable(self) -> list[HeadId]:
        """The sleeping heads that may wake, layer by layer."""
        return sorted(self.asleep - self.resting)

    @property
    def layers(self) -> list[int]:
        """The layers that have heads."""
        return sorted({head.layer for head in self.originals})

    def grids(self, given: Mapping[str, HeadGrid], *, of_sleepers: bool) -> Grids:
        """The numbers of these heads and of no others; their shape depends on the original heads alone."""
        shape = (max(head.layer for head in self.originals) + 1, max(head.head for head in self.originals) + 1)
        there, awake, wakeable = (_marked(heads, shape) for heads in (self.originals, self.awake, self.wakeable))
        seen = awake | wakeable if of_sleepers else awake
        return Grids({name: _fitted(grid, seen) for name, grid in given.items()}, there, awake, wakeable)


def roster_of(
    given: Mapping[str, HeadGrid], heads: Heads | None, dormant: Heads, *, resting: Heads = (), protect: Protect = ()
) -> Roster:
    """The original heads as they were named, or else as the grids and the sleeping heads show them."""
    rest, protected = frozenset(_named(resting, "resting")), _protected(protect)
    asleep = frozenset(_named(dormant, "dormant")) | rest
    originals = _shown(given, asleep, protected) if heads is None else frozenset(_named(heads, "heads"))
    for where, some in (("resting", rest), ("dormant", asleep), ("protect", protected)):
        strangers = sorted(set(some) - originals)
        if strangers:
            raise SettingNotUsable(
                f"Head {strangers[0]} stands in {where}, but is none of the {len(originals)} original heads; "
                "leave it out, or name it in heads too."
            )
    if not originals:
        raise SettingNotUsable("Nothing says which heads there are: the scores hold none; measure them, or pass heads=.")
    return Roster(originals, asleep, rest, protected)


def grids_of(scores: Any, signals: tuple[str, ...], strategy: str) -> dict[str, HeadGrid]:
    """Every grid that was given, by the name of its signal; one grid alone is the strategy's first signal."""
    alone = signals[0] if signals else "scores"
    given = cast("Mapping[str, Any]", scores) if isinstance(scores, Mapping) else {alone: scores}
    grids = {str(name): _grid(str(name), grid) for name, grid in given.items()}
    missing = [name for name in signals if name not in grids]
    if missing:
        raise SettingNotUsable(
            f"The strategy {strategy} needs {' and '.join(signals)}, and the scores hold {', '.join(grids) or 'nothing'}; "
            f"measure {' and '.join(missing)} too."
        )
    return grids


def require_numbers(grids: Mapping[str, Scores], signals: Iterable[str], heads: Collection[HeadId], remedy: str) -> None:
    """Refuse, by name, a head without a finite number: it could not be compared with the others."""
    for signal in signals:
        lacking = [head for head in heads if not np.isfinite(grids[signal][head])]
        if lacking:
            first, others = lacking[0], len(lacking) - 1
            more = f", nor do {others} others" if others > 1 else ", nor does another one" if others else ""
            raise SettingNotUsable(
                f"Layer {first.layer} head {first.head} has no {signal} value ({grids[signal][first]}){more}; {remedy}."
            )


def scored(name: str, scores: Scores, shape: tuple[int, ...], free: Collection[HeadId]) -> Scores:
    """What a strategy answered, once it is seen to be a finite number for each of these heads."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != shape:
        raise SettingNotUsable(f"The strategy {name} answered with shape {scores.shape} where the heads are {shape}; mend it.")
    require_numbers({f"{name} score": scores}, [f"{name} score"], free, "mend the strategy, or choose another")
    return scores


def _grid(name: str, values: Any) -> HeadGrid:
    if isinstance(values, HeadGrid):
        return values
    try:
        return HeadGrid(np.asarray(values, dtype=np.float64), name)
    except (TypeError, ValueError, RuntimeError) as fault:
        raise SettingNotUsable(f"The scores of {name} are not layers × heads of numbers ({said(fault)}).") from fault


def _shown(given: Mapping[str, HeadGrid], asleep: frozenset[HeadId], protected: Mapping[HeadId, str]) -> frozenset[HeadId]:
    """Every head with a number or asleep; a layer may be shorter than others, but no head in its midst may be missing."""
    shapes = [grid.values.shape for grid in given.values()]
    inside = {head for head in protected if any(head.layer < layers and head.head < width for layers, width in shapes)}
    found = {head for grid in given.values() for head, _ in grid.items()} | asleep | inside
    rows: dict[int, set[int]] = defaultdict(set)
    for head in found:
        rows[head.layer].add(head.head)
    names = " or ".join(given) or "other"
    for layer in range(max([*(layers for layers, _ in shapes), *(layer + 1 for layer in rows)], default=0)):
        gaps = sorted(set(range(max(rows[layer], default=0) + 1)) - rows[layer])
        if gaps:
            where = f"Layer {layer} head {gaps[0]}" if rows[layer] else f"Layer {layer}"
            raise SettingNotUsable(
                f"{where} has no {names} value (nan); measure it again, protect it, name it in dormant if it sleeps, "
                "or pass heads= with all that there are."
            )
    return frozenset(found)


def _protected(protect: Protect) -> dict[HeadId, str]:
    if isinstance(protect, Mapping):
        reasons = cast("Mapping[HeadId, str]", protect)
        return dict(sorted(zip(_named(reasons, "protect"), map(str, reasons.values()), strict=True)))
    return dict.fromkeys(sorted(set(_named(protect, "protect"))), BY_HAND)


def _named(heads: Heads, where: str) -> list[HeadId]:
    try:
        found = [HeadId(index(layer), index(head)) for layer, head in heads]
    except (TypeError, ValueError) as fault:
        raise SettingNotUsable(f"{where} names heads as pairs of layer and head, such as (3, 6) ({said(fault)}).") from fault
    below = [head for head in found if min(head) < 0]
    if below:
        raise SettingNotUsable(f"Head {below[0]} in {where} counts from the end; layers and heads are counted from 0.")
    return found


def _marked(heads: Collection[HeadId], shape: tuple[int, int]) -> Mask:
    marks = np.zeros(shape, dtype=np.bool_)
    for head in heads:
        marks[head] = True
    return marks


def _fitted(grid: HeadGrid, seen: Mask) -> Scores:
    values = np.full(seen.shape, np.nan)
    layers, width = (min(sizes) for sizes in zip(grid.values.shape, seen.shape, strict=True))
    values[:layers, :width] = grid.values[:layers, :width]
    values[~seen] = np.nan
    values.flags.writeable = False
    return values
