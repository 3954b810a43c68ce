"""Which of what may go does go: in the order of the scores, within the budget, above the floor, evenly if that is asked."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from neural_plasticity.heads import HeadId


@dataclass(frozen=True, slots=True)
class Unit:
    """What goes or stays as one: a head, or all awake heads of a group that shares keys and values."""

    heads: tuple[HeadId, ...]
    score: float
    rank: int

    @property
    def layer(self) -> int:
        """The layer that it is of."""
        return self.heads[0].layer


@dataclass(frozen=True, slots=True)
class Field:
    """What there is to choose from: the units that may go, the first to go in front, and what each layer has awake.

    `awake` counts the heads of each layer, `sizes` holds the size of each of its units, those that may not go included.
    """

    units: tuple[Unit, ...]
    awake: Mapping[int, int]
    sizes: Mapping[int, tuple[int, ...]]
    floor: int
    grouped: bool

    @property
    def protected(self) -> int:
        """How many awake heads may not go."""
        return sum(self.awake.values()) - sum(len(unit.heads) for unit in self.units)

    @property
    def things(self) -> str:
        """What is chosen, in words."""
        return "groups" if self.grouped else "heads"


@dataclass(frozen=True, slots=True)
class Taken:
    """A unit that goes, and the score of the first one kept: of all, or `within` its layer.

    Where none is kept for its score (`last`), the threshold is the score of the last one that goes.
    """

    unit: Unit
    threshold: float
    last: bool
    within: bool
    note: str = ""


def in_turn(field: Field, asked: int) -> tuple[list[Taken], str]:
    """Units in their order until the budget is spent, past those that a floor holds; and why fewer go, if so."""
    left = dict(field.awake)
    taken: list[tuple[Unit, tuple[Unit, ...]]] = []
    held: list[Unit] = []
    kept, spent = None, 0
    for unit in field.units:
        if left[unit.layer] - len(unit.heads) < field.floor:
            held.append(unit)
        elif spent + len(unit.heads) > asked:
            kept = unit
            break
        else:
            taken.append((unit, tuple(held)))
            left[unit.layer] -= len(unit.heads)
            spent += len(unit.heads)
    short = "" if spent >= asked else _why_fewer(field, asked, spent, held, kept)
    threshold = (kept or taken[-1][0]).score if taken else 0.0
    return [Taken(unit, threshold, kept is None, False, _floors(before, field.floor)) for unit, before in taken], short


def _floors(held: tuple[Unit, ...], floor: int) -> str:
    """Which heads would have gone before this one, had their layers not been down to the last."""
    heads = [head for unit in held for head in unit.heads]
    if not heads:
        return ""
    who = ", ".join(map(str, heads)) if len(heads) <= 3 else f"{len(heads)} heads"
    comes, stays = ("comes", "stays") if len(heads) == 1 else ("come", "stay")
    layers = sorted({head.layer for head in heads})
    whose = f"layer {layers[0]} keeps its" if len(layers) == 1 else "their layers keep their"
    return f"{who} {comes} before it but {stays}, since {whose} last {'head' if floor == 1 else f'{floor} heads'}"


def _why_fewer(field: Field, asked: int, spent: int, held: list[Unit], kept: Unit | None) -> str:
    stopped = sum(len(unit.heads) for unit in held)
    why = [f"{field.protected} {'is' if field.protected == 1 else 'are'} protected"] * bool(field.protected)
    why += [f"min_heads={field.floor} keeps {stopped}"] * bool(stopped)
    if kept is not None:
        why = [f"groups go whole, and the next one has {len(kept.heads)} heads"]
    return (
        f"Of the {asked} heads asked for, {spent} {'goes' if spent == 1 else 'go'}: {' and '.join(why) or 'there are no others'}."
    )


def evenly(field: Field, asked: int) -> tuple[list[Taken], str]:
    """As many units as leave every layer with the same number, each layer's in their order; and why fewer go, if so."""
    found, by_layer = None, {layer: [unit for unit in field.units if unit.layer == layer] for layer in field.sizes}
    for keep in range(min(len(sizes) for sizes in field.sizes.values()) + 1):  # fewer kept is more pruned, so it is first
        going = _down_to(keep, field, by_layer)
        if going is not None:
            found = keep, going
            if _heads(going) <= asked:
                break
    if found is None:
        return [], _never_even(field)
    keep, going = found
    if _heads(going) > asked:
        return [], (
            f"Nothing goes: the layers have {_spread(field)} {field.things} awake, and to leave each with {keep} "
            f"takes {_heads(going)} heads, {_heads(going) - asked} more than asked for."
        )
    note = f"every layer keeps {keep} {field.things if keep != 1 else field.things[:-1]}"
    taken = [Taken(unit, (kept or units[-1]).score, kept is None, True, note) for units, kept in going.values() for unit in units]
    return sorted(taken, key=lambda each: each.unit.rank), _why_uneven(field, asked, going, keep)


_Going = dict[int, tuple[list[Unit], Unit | None]]


def _down_to(keep: int, field: Field, by_layer: Mapping[int, list[Unit]]) -> _Going | None:
    """What each layer loses when it comes down to so many units, and the first one that it keeps."""
    going: _Going = {}
    for layer, sizes in field.sizes.items():
        mine, number = by_layer[layer], len(sizes) - keep
        chosen, rest = mine[:number], mine[number:]
        if len(chosen) < number or (chosen and field.awake[layer] - sum(len(unit.heads) for unit in chosen) < field.floor):
            return None
        going[layer] = chosen, rest[0] if rest else None
    return going


def _heads(going: _Going) -> int:
    return sum(len(unit.heads) for units, _ in going.values() for unit in units)


def _spread(field: Field) -> str:
    numbers = sorted({len(sizes) for sizes in field.sizes.values()})
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _never_even(field: Field) -> str:
    return (
        f"Nothing goes: the layers have {_spread(field)} {field.things} awake, and what is protected or kept by "
        f"min_heads={field.floor} does not let them all come down to the same number."
    )


def _why_uneven(field: Field, asked: int, going: _Going, keep: int) -> str:
    told: list[str] = []
    spent = _heads(going)
    if spent < asked:
        told.append(f"Of the {asked} heads asked for, {spent} go: every layer keeps the same number of {field.things}, {keep}.")
    gone = {layer: Counter(len(unit.heads) for unit in units) for layer, (units, _) in going.items()}
    left = {size for layer, sizes in field.sizes.items() for size in Counter(sizes) - gone[layer]}
    if len(left) > 1:
        told.append(f"Groups had lost heads before and have {min(left)} to {max(left)}, so that no configuration describes them.")
    return " ".join(told)
