"""`plan_growth`: which sleeping heads wake, and for how long they are left alone then."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.heads import HeadGrid, HeadId
from neural_plasticity.selection.amounts import pruned_in_the_end, require_one, whole
from neural_plasticity.selection.plan import Action, Decision, Plan
from neural_plasticity.selection.roster import Heads, Numbers, Roster, grids_of, require_numbers, roster_of, scored
from neural_plasticity.selection.strategies import DEFAULT_GROWTH, Grids, GrowthStrategy, growth_strategy_of
from neural_plasticity.selection.wording import standing, unit_of


def plan_growth(
    scores: Numbers,
    count: int | None = None,
    level: float | None = None,
    strategy: str = DEFAULT_GROWTH,
    seed: int = 0,
    *,
    dormant: Heads,
    heads: Heads | None = None,
    newborn_cycles: int = 1,
    resting: Heads = (),
) -> Plan:
    """Which of the `dormant` heads to wake, the first in front: so many, or until only this share stays pruned.

    `heads` are all that the model had, where the scores do not show them: the `wake` of a head that is awake, for
    one, is no number. `resting` are those that sleep as well but are not to wake: pruned just now, or gone for good.
    The plan says for how many cycles the woken ones are to be protected from pruning.
    """
    require_one(level, count)
    chosen, cycles = growth_strategy_of(strategy), whole("newborn_cycles", newborn_cycles)
    given = grids_of(scores, chosen.signals, chosen.name)
    roster = roster_of(given, heads, dormant, resting=resting)
    if heads is None and not roster.awake:  # the numbers of sleeping heads alone do not show how many there are
        raise SettingNotUsable(
            f"The scores show {len(roster.asleep)} sleeping heads and none that is awake; pass heads= with all that the model had."
        )
    if level is not None:
        asked = max(0, len(roster.asleep) - pruned_in_the_end(level, len(roster.originals)))
    else:
        asked = whole("count", count)
    order, unjudged = _order(chosen, roster, given, seed)
    willing = [(head, score) for head, score in order if _within(chosen, score)]
    woken = willing[:asked]
    decisions = tuple(_decisions(woken, order, chosen, unit_of(chosen, given)))
    pruned = (len(roster.asleep) - len(woken)) / len(roster.originals)
    short = _why_fewer(chosen, asked, len(woken), len(order) - len(willing), unjudged) if len(woken) < asked else ""
    return Plan(decisions, chosen.name, pruned, newborn_cycles=cycles, score=chosen.score, shortfall=short)


_Order = list[tuple[HeadId, float]]


def _order(strategy: GrowthStrategy, roster: Roster, given: Mapping[str, HeadGrid], seed: int) -> tuple[_Order, int]:
    """The sleeping heads with their scores, the first to wake in front; and how many have no score."""
    grids = roster.grids(given, of_sleepers=True)
    _require_numbers(strategy, roster, grids)
    scores = strategy.rate(grids, np.random.default_rng(whole("seed", seed)))
    judged = [head for head in roster.wakeable if not strategy.compares or grids.awake[head.layer].any()]
    scores = scored(strategy.name, scores, grids.there.shape, judged)
    sign = 1 if strategy.wakes == "lowest" else -1
    worth = np.nan_to_num(grids[strategy.ties], nan=-np.inf) if strategy.ties in grids else np.zeros(scores.shape)
    judged.sort(key=lambda head: (sign * scores[head], -worth[head], head))
    return [(head, float(scores[head])) for head in judged], len(roster.wakeable) - len(judged)


def _require_numbers(strategy: GrowthStrategy, roster: Roster, grids: Grids) -> None:
    remedy = "measure it with its weights at hand (bank=), or leave it out of dormant"
    require_numbers(grids, strategy.signals, roster.wakeable, remedy)
    if strategy.compares:
        layers = {head.layer for head in roster.wakeable}
        company = [head for head in roster.awake if head.layer in layers]
        require_numbers(grids, strategy.signals, company, f"{strategy.name} compares with it, so measure it again")


def _within(strategy: GrowthStrategy, score: float) -> bool:
    if strategy.bound is None:
        return True
    return score < strategy.bound if strategy.wakes == "lowest" else score > strategy.bound


def _decisions(woken: _Order, order: _Order, strategy: GrowthStrategy, unit: str) -> Iterator[Decision]:
    limit, of = _limit(woken, order, strategy)
    for rank, (head, score) in enumerate(woken, start=1):
        text, where = standing(score, unit, limit, strategy.wakes, of)
        where = where if of else "and no head is left asleep"
        reason = f"{strategy.score} {text} is rank {rank} of {len(order)}, {where}"
        yield Decision(head, Action.REVIVE, score, rank, limit, reason)


def _limit(woken: _Order, order: Sequence[tuple[HeadId, float]], strategy: GrowthStrategy) -> tuple[float, str]:
    """What the woken heads are beyond, and whose number that is."""
    left = order[len(woken) :]
    if strategy.bound is not None and not (left and _within(strategy, left[0][1])):
        return strategy.bound, "beyond which none wakes"
    if left:
        return left[0][1], "of the first head left asleep"
    return (woken[-1][1] if woken else 0.0), ""


def _why_fewer(strategy: GrowthStrategy, asked: int, woken: int, beyond: int, unjudged: int) -> str:
    side = "or more" if strategy.wakes == "lowest" else "or less"
    why = [f"{beyond} {'has' if beyond == 1 else 'have'} a {strategy.score} of {strategy.bound or 0:g} {side}"] * bool(beyond)
    why += [f"{unjudged} {'sleeps' if unjudged == 1 else 'sleep'} in a layer with no head awake to compare with"] * bool(unjudged)
    return f"Of the {asked} heads asked for, {woken} can wake: {' and '.join(why) or 'no others may wake'}."
