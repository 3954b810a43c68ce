"""The truth that other signals guess at: the loss with each head left out, less the loss with it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from neural_plasticity.anatomy.replay import Replay, replaying
from neural_plasticity.anatomy.sites import Anatomy, Site
from neural_plasticity.errors import NotMeasurable
from neural_plasticity.signals.base import Needs, Signal, signal
from neural_plasticity.signals.objectives import Objective, checked
from neural_plasticity.signals.tally import Tally

Step = Callable[[], None]


@signal("ablation", needs=Needs.LESIONS, unit="nats")
def ablation(damage: Tensor) -> Tensor:
    """How much the loss rises when this head alone is left out: the truth, by trying."""
    return damage


class Lesions:
    """Leaves one head out at a time, each pass run anew only from that head's layer on."""

    def __init__(self, replay: Replay, model: nn.Module, sites: Sequence[Site], objective: Objective, tally: Tally) -> None:
        self._replay, self._model, self._sites, self._objective, self._tally = replay, model, sites, objective, tally

    @torch.no_grad()
    def add(self, batch: Mapping[str, Any], number: int, signals: Sequence[Signal], step: Step) -> None:
        """Try every head on one batch, the `number`th; `step` is told of each pass."""
        outputs = self._replay.intact(dict(batch))
        goal = self._objective(self._model, outputs, batch)
        weight = goal.weights.sum()
        step()
        if not float(weight):
            return  # nothing is predicted in this batch, so it has no loss
        intact = checked(goal.loss(outputs), number).double()
        for site in self._sites:
            damage = torch.zeros(site.heads, dtype=torch.float64)
            for head in range(site.heads):
                damage[head] = float(goal.loss(self._replay.altered(site, _without(head))).double() - intact)
                step()
            if not bool(torch.isfinite(damage).all()):
                raise NotMeasurable(f"Layer {site.layer} ({site.name}), batch {number}: the loss without a head is not finite.")
            for each in signals:
                self._tally.add(each, site, each.read(damage) * float(weight), weight.cpu())


def _without(head: int) -> Callable[[Tensor], Tensor]:
    def alter(output: Tensor) -> Tensor:
        output = output.clone()
        output[..., head, :] = 0
        return output

    return alter


@contextmanager
def lesions(model: nn.Module, anatomy: Anatomy, objective: Objective, tally: Tally) -> Iterator[Lesions]:
    """A model that heads can be left out of, until the block ends."""
    sites = [site for site in anatomy if site.seen == "interface" or site.of_role("o")]
    for site in set(anatomy) - set(sites):
        tally.refuse(site, f"no head of it can be left out: {site.reason}", Needs.LESIONS)
    with replaying(model, sites) as replay:
        yield Lesions(replay, model, sites, objective, tally)
