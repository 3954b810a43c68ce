"""`plan_pruning`: scores in, a plan of what goes out."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import fsum

import numpy as np

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.heads import HeadGrid, HeadId
from neural_plasticity.selection.amounts import pruned_in_the_end, require_one, whole
from neural_plasticity.selection.choosing import Field, Taken, Unit, evenly, in_turn
from neural_plasticity.selection.plan import Action, Decision, Plan
from neural_plasticity.selection.roster import Heads, Numbers, Protect, Roster, grids_of, require_numbers, roster_of, scored
from neural_plasticity.selection.strategies import DEFAULT, Scores, Strategy, one_of, strategy_of
from neural_plasticity.selection.wording import standing, unit_of

UNITS = {"head": False, "kv_group": True}  # whether whole groups go

Groups = Sequence[Sequence[int]]


def plan_pruning(  # noqa: PLR0913  # the public signature: every argument is a wish of its own
    scores: Numbers,
    level: float | None = None,
    count: int | None = None,
    strategy: str = DEFAULT,
    seed: int = 0,
    min_heads: int = 1,
    protect: Protect = (),
    unit: str = "head",
    uniform: bool = False,
    *,
    dormant: Heads = (),
    heads: Heads | None = None,
    groups: Groups | None = None,
) -> Plan:
    """Which heads to prune next, the first to go in front, until this share of the original heads is pruned.

    `count` says instead how many more. Every layer keeps `min_heads` heads, and every head in `protect`; with
    `uniform` all layers keep the same number. `unit="kv_group"` lets whole groups of query heads go, of which
    `groups` gives the number for each head of each layer. `dormant` are the heads that are pruned already,
    `heads` all that the model had, where the scores do not show them.
    """
    require_one(level, count)
    chosen, grouped, floor = strategy_of(strategy), one_of(unit, UNITS, "unit"), whole("min_heads", min_heads)
    given = grids_of(scores, chosen.signals, chosen.name)
    needed = {name: given[name] for name in chosen.signals} or given
    roster = roster_of(needed, heads, dormant, protect=protect)
    members = _members(roster, groups) if grouped else {(head.layer, head.head): [head] for head in roster.awake}
    roster = _protected_together(roster, members)
    if level is not None:
        asked = max(0, pruned_in_the_end(level, len(roster.originals)) - len(roster.asleep))
    else:
        asked = whole("count", count)
    field = _field(roster, members, _rated(chosen, roster, needed, seed), chosen, floor, grouped)
    taken, shortfall = (evenly if uniform else in_turn)(field, asked)
    decisions = tuple(_decisions(taken, field, chosen, unit_of(chosen, given)))
    pruned = (len(roster.asleep) + len(decisions)) / len(roster.originals)
    return Plan(decisions, chosen.name, pruned, roster.protected, score=chosen.score, shortfall=shortfall)


_Members = dict[tuple[int, int], list[HeadId]]


def _members(roster: Roster, groups: Groups | None) -> _Members:
    """The awake heads of each group, by layer and group."""
    if groups is None:
        raise SettingNotUsable("unit='kv_group' needs groups=, for each layer the group of each of its heads; none were given.")
    found: _Members = defaultdict(list)
    for head in roster.awake:
        try:
            group = groups[head.layer][head.head]
        except IndexError:
            raise SettingNotUsable(
                f"groups says nothing of layer {head.layer} head {head.head}; give the group of every head of every layer."
            ) from None
        found[head.layer, whole("A group", group)].append(head)
    return found


def _protected_together(roster: Roster, members: _Members) -> Roster:
    """One protected head protects its whole group."""
    protected = dict(roster.protected)
    for heads in members.values():
        named = [head for head in heads if head in roster.protected]
        for head in heads if named else ():
            protected.setdefault(head, f"shares keys and values with {named[0]}: {roster.protected[named[0]]}")
    return replace(roster, protected=dict(sorted(protected.items())))


def _rated(strategy: Strategy, roster: Roster, needed: Mapping[str, HeadGrid], seed: int) -> Scores:
    """A score for each head that may go, all of them finite."""
    grids = roster.grids(needed, of_sleepers=False)
    free = [head for head in roster.awake if head not in roster.protected]
    require_numbers(grids, strategy.signals, free, "measure it again, protect it, or name it in dormant if it sleeps")
    return scored(strategy.name, strategy.rate(grids, np.random.default_rng(whole("seed", seed))), grids.there.shape, free)


def _field(roster: Roster, members: _Members, scores: Scores, strategy: Strategy, floor: int, grouped: bool) -> Field:
    """The units in their order: by score from the end that the strategy prunes, ties by layer and head."""
    awake: dict[int, int] = dict.fromkeys(roster.layers, 0)
    sizes: dict[int, list[int]] = {layer: [] for layer in roster.layers}
    free: list[tuple[float, tuple[HeadId, ...]]] = []
    for (layer, _), heads in members.items():
        awake[layer] += len(heads)
        sizes[layer].append(len(heads))
        if not any(head in roster.protected for head in heads):
            free.append((fsum(scores[head] for head in heads) / len(heads), tuple(heads)))
    sign = 1 if strategy.prunes == "lowest" else -1
    free.sort(key=lambda each: (sign * each[0], each[1]))
    units = tuple(Unit(heads, score, rank) for rank, (score, heads) in enumerate(free, start=1))
    return Field(units, awake, {layer: tuple(each) for layer, each in sizes.items()}, floor, grouped)


def _decisions(taken: Sequence[Taken], field: Field, strategy: Strategy, unit: str) -> Iterator[Decision]:
    for each in taken:
        reason = _reason(each, field, strategy, unit)
        for head in each.unit.heads:
            yield Decision(head, Action.PRUNE, each.unit.score, each.unit.rank, each.threshold, reason)


def _reason(taken: Taken, field: Field, strategy: Strategy, unit: str) -> str:
    thing, place = field.things[:-1], " in its layer" if taken.within else ""
    score, where = standing(taken.unit.score, unit, taken.threshold, strategy.prunes, f"of the first {thing} kept{place}")
    if taken.last:
        where = f"and no {thing} is kept for its score{place}"
    what = f"mean {strategy.score} of its group" if field.grouped else strategy.score
    told = f"{what} {score} is rank {taken.unit.rank} of {len(field.units)}, {where}"
    return f"{told}; {taken.note}" if taken.note else told
