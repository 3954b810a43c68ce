"""One cycle's rewiring: every head is measured, a plan is made with a reason for each decision, and the plan is carried out."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from neural_plasticity.anatomy.bank import Bank
from neural_plasticity.errors import NotMeasurable
from neural_plasticity.experiment.gates import shut, shut_for_good
from neural_plasticity.experiment.story import listed
from neural_plasticity.experiment.telling import every
from neural_plasticity.experiment.workplace import Workplace
from neural_plasticity.heads import HeadGrid, HeadId
from neural_plasticity.record import DecisionMade, HeadsMeasured, Metrics, Operation
from neural_plasticity.selection.growth import plan_growth
from neural_plasticity.selection.plan import Plan
from neural_plasticity.selection.pruning import plan_pruning
from neural_plasticity.selection.schedules import Stage
from neural_plasticity.selection.strategies import growth_strategy_of, strategy_of
from neural_plasticity.signals.measure import DEFAULT, Measurement, measure

Scores = dict[str, HeadGrid]


@dataclass(frozen=True)
class Rewiring:
    """Takes a model from one size to the next, and back up a little where heads are exchanged."""

    place: Workplace

    def analyse(self) -> Scores:
        """Measure every head, by what the strategy needs and what a reader will want to see."""
        settings, telling = self.place.settings, self.place.telling
        if not self.place.awake:
            telling.begin("analysis")
            telling.notice("No head is awake any more, so there was nothing to measure and nothing to prune.")
            return {}
        needed = tuple(dict.fromkeys(strategy_of(settings.strategy).signals))
        wanted = tuple(dict.fromkeys((*(settings.signals or DEFAULT), *needed)))
        try:
            found = self._measure("analysis", wanted)
        except NotMeasurable as refusal:
            if settings.signals or not needed:
                raise
            telling.notice(f"Only what the strategy needs is measured, since not every signal can be: {refusal}")
            found = self._measure("analysis", needed)
        self.place.story.remember(found)
        if not self.place.story.watched:
            self._watch(found)
        return dict(found)

    def prune(self, scores: Scores, stage: Stage) -> list[HeadId]:
        """Put to sleep what the plan for this stage names."""
        place, settings = self.place, self.place.settings
        place.telling.begin("pruning")
        anatomy = place.surgeon.anatomy
        if not scores:
            return []
        # No more is exchanged than can wake in return, or the run would end beyond its level.
        exchange = min(stage.exchange, len(place.surgeon.dormant) / len(anatomy.heads))
        plan = plan_pruning(
            scores,
            level=min(1.0, stage.level + exchange),
            strategy=settings.strategy,
            seed=settings.seed,
            min_heads=settings.min_heads,
            protect=self._protected(),
            unit=settings.unit,
            uniform=settings.uniform,
            dormant=place.asleep,
            heads=anatomy.heads,
            groups=[site.groups for site in anatomy],
        )
        self._tell(plan)
        if plan:
            self._operate("prune", plan.heads)
        newborn = place.story.newborn
        place.story.newborn = {head: cycles - 1 for head, cycles in newborn.items() if cycles > 1 and head not in plan.heads}
        return plan.heads

    def regrow(self, stage: Stage, fresh: Sequence[HeadId]) -> list[HeadId]:
        """Wake the most promising sleepers until as many sleep as the stage says; not those that went to sleep just now."""
        place, settings = self.place, self.place.settings
        candidates = [head for head in place.surgeon.dormant if head not in fresh]
        if not candidates:
            place.telling.notice("Nothing was regrown, since no head had been asleep before this cycle.")
            return []
        signals = growth_strategy_of(settings.growth).signals
        scores = dict(place.story.measured)
        if "wake" in signals:
            scores["wake"] = self._slopes_of_waking()
        place.telling.begin("regrowth")
        plan = plan_growth(
            scores,
            level=stage.level,
            strategy=settings.growth,
            seed=settings.seed,
            dormant=candidates,
            resting=[head for head in place.asleep if head not in candidates],
            heads=place.surgeon.anatomy.heads,
            newborn_cycles=settings.newborn_cycles,
        )
        self._tell(plan)
        if plan:
            shut_for_good(place.surgeon, plan.heads)
            self._operate("revive", plan.heads)
            place.story.newborn.update(dict.fromkeys(plan.heads, settings.newborn_cycles))
        return plan.heads

    def _protected(self) -> dict[HeadId, str]:
        """Heads that stay, and why: newborn ones, those that the user named, those that cannot go in this mode."""
        place = self.place
        newborn = {
            head: f"it came back and is protected for {cycles} more cycle{'s' if cycles > 1 else ''}"
            for head, cycles in place.story.newborn.items()
        }
        named = {HeadId(*head): "the settings protect it" for head in place.settings.protect}
        return {**newborn, **named, **place.surgeon.refusals(place.settings.mode)}

    def _measure(self, phase: str, signals: Sequence[str], bank: Bank | None = None) -> Measurement:
        place, settings = self.place, self.place.settings
        telling = place.telling
        telling.phase = phase
        begun = False

        def progress(done: int, passes: int | None) -> None:
            nonlocal begun
            if not begun:  # only now is it known how many passes there will be
                telling.begin(phase, passes)
            begun = True
            if passes and every(done, passes):
                telling.emit(Metrics(step=done, values={}))

        read = place.train.first(settings.measure_tokens)
        found = measure(place.model, read, signals, place.loss or settings.loss, bank=bank, watch=progress)
        if not begun:
            telling.begin(phase)
        path = ", ".join(dict.fromkeys(found.paths.values())) or None
        event = HeadsMeasured(signals=tuple(found), path=path, cycle=telling.cycle, step=place.story.steps)
        telling.emit(event, {name: grid.values for name, grid in found.items()})
        return found

    def _slopes_of_waking(self) -> HeadGrid:
        """For every sleeping head, how the loss would change as it wakes."""
        place = self.place
        bank = Bank()
        asleep = place.surgeon.dormant
        with shut(place.surgeon), place.surgeon.awakened():
            for head in asleep:
                bank.keep(place.model, place.surgeon.anatomy[head.layer], head.head)
            return self._measure("regrowth analysis", ["wake"], bank)["wake"]

    def _tell(self, plan: Plan) -> None:
        telling = self.place.telling
        for each in plan:
            telling.emit(
                DecisionMade(
                    head=each.head,
                    action=str(each.action),
                    score=each.score,
                    rank=each.rank,
                    threshold=each.threshold,
                    reason=each.reason,
                    strategy=plan.strategy,
                    cycle=telling.cycle,
                )
            )
        if plan.shortfall:
            telling.notice(plan.shortfall)

    def _operate(self, action: str, heads: Sequence[HeadId]) -> None:
        surgeon, telling, mode = self.place.surgeon, self.place.telling, self.place.settings.mode
        before = asdict(surgeon.report().after)
        difference = surgeon.prune(heads, mode) if action == "prune" else surgeon.revive(heads)
        telling.emit(
            Operation(
                action=action,
                mode=mode,
                heads=tuple(heads),
                before=before,
                after=asdict(surgeon.report().after),
                largest_difference=difference,
                cycle=telling.cycle,
            )
        )

    def _watch(self, scores: Scores) -> None:
        """Choose the heads whose attention is shown from now on: some that the strategy would keep, some that it would not."""
        place, wanted = self.place, self.place.settings.attention_heads
        if not wanted:
            return
        order = plan_pruning(
            scores,
            level=1.0,
            strategy=place.settings.strategy,
            seed=place.settings.seed,
            min_heads=0,
            protect=self._protected(),
            dormant=place.asleep,
            heads=place.surgeon.anatomy.heads,
        ).heads
        place.story.watched = sorted({*order[: wanted // 2], *order[max(0, len(order) - (wanted - wanted // 2)) :]})


def told_cycle(cycle: int, stage: Stage, pruned: Sequence[HeadId], revived: Sequence[HeadId]) -> dict[str, Any]:
    """A cycle as the story remembers it."""
    return {"cycle": cycle, "level": stage.level, "pruned": listed(pruned), "revived": listed(revived)}
