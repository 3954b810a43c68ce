"""Learning rates of single heads: how far each moves in a step, whatever the optimizer.

Heads are slices of weights that they share, and most optimizers ignore the scale of gradients. So it is the step
itself that is scaled: the slices are copied before it, and after it what they moved is multiplied.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from neural_plasticity.anatomy.bank import parts_of
from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.past import Past, past_of
from neural_plasticity.anatomy.sites import Anatomy, Indices
from neural_plasticity.anatomy.taps import original
from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.heads import HeadId


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """Places along one axis of a parameter, each with the factor on what it moves."""

    parameter: nn.Parameter
    axis: int
    places: Tensor
    factors: Tensor

    def copy(self) -> Tensor:
        return self.parameter.detach().index_select(self.axis, self.places)

    @torch.no_grad()
    def scale(self, before: Tensor) -> None:
        """Let the places have moved from where they were by the factor times what they did."""
        after = self.copy()
        wide = torch.promote_types(before.dtype, torch.float32)
        moved = after.to(wide) - before.to(wide)
        factors = self.factors.to(wide).view(-1, *[1] * (before.dim() - 1 - self.axis))
        scaled = (before.to(wide) + factors * moved).to(before.dtype)
        scaled = torch.where(moved == 0, after, scaled)  # or a zero could lose its sign
        self.parameter.index_copy_(self.axis, self.places, torch.where(factors == 0, before, scaled))


class HeadRates:
    """Multipliers on how far single heads move in each step of an optimizer: 3 is three times as far, 0 not at all.

    Where heads of a group share key and value, or sites share weights, these move by what all who are awake have in
    common: the multiplier nearest to 1 where all lie on one side of it, else 1. Surgery in between is followed.
    """

    def __init__(self, model: nn.Module, rates: Mapping[tuple[int, int], float], anatomy: Anatomy | None = None) -> None:
        self._model = original(model)
        past = past_of(self._model)
        self._anatomy = past.anatomy if past is not None else anatomy or dissect(self._model)
        self.rates = {HeadId(*head): float(rate) for head, rate in rates.items()}
        self._require_usable()
        self._hooks: dict[Optimizer, list[RemovableHandle]] = {}
        self._seen: tuple[Any, ...] | None = None
        self._pieces: list[_Piece] = []

    def attach(self, optimizer: Any) -> None:
        """Scale the steps of this optimizer, wrapped or not, until `detach`."""
        bare: Optimizer = getattr(optimizer, "optimizer", optimizer)
        if bare in self._hooks:
            raise SettingNotUsable(f"These rates are attached to this {type(bare).__name__} already; detach them first.")
        held: list[tuple[_Piece, Tensor]] = []

        def before(optimizer: Optimizer, *arguments: Any) -> None:
            del arguments
            own = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
            held[:] = [(piece, piece.copy()) for piece in self._now() if id(piece.parameter) in own]

        def after(*arguments: Any) -> None:
            del arguments
            for piece, was in held:
                piece.scale(was)
            held.clear()

        self._hooks[bare] = [bare.register_step_pre_hook(before), bare.register_step_post_hook(after)]

    def detach(self, optimizer: Any = None) -> None:
        """Let go of this optimizer, or of every one."""
        bare = getattr(optimizer, "optimizer", optimizer)
        for each in list(self._hooks) if bare is None else [bare]:
            for hook in self._hooks.pop(each, ()):
                hook.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.detach()

    def _now(self) -> list[_Piece]:
        """The pieces to scale, looked up anew where surgery or a move has changed what they lie in."""
        past = past_of(self._model)
        weights = tuple((id(parameter), parameter.shape, parameter.device) for parameter in self._model.parameters())
        seen = (weights, None if past is None else frozenset(past.modes.items()))
        if seen != self._seen:
            self._pieces = list(_pieces(self._model, self._anatomy, past, self.rates))
            self._seen = seen
        return self._pieces

    def _require_usable(self) -> None:
        known = set(self._anatomy.heads)
        for head, rate in self.rates.items():
            if head not in known:
                raise SettingNotUsable(
                    f"There is no head {head} to give a rate to: {self._anatomy.model} has {len(self._anatomy.sites)} layers, "
                    "numbered from 0; `plasticity dissect` shows how many heads each has."
                )
            if not 0 <= rate < math.inf:
                raise SettingNotUsable(f"The rate of head {head} is {rate}; it must be a multiplier of 0 or more.")
            site = self._anatomy[head.layer]
            if rate != 1 and not (site.slices and site.sliceable):
                raise SettingNotUsable(
                    f"Head {head} cannot move by itself, since layer {head.layer} ({site.name}) shows no weights of single heads: "
                    f"{site.reason}; leave it out of the rates."
                )


def _pieces(model: nn.Module, anatomy: Anatomy, past: Past | None, rates: Mapping[HeadId, float]) -> Iterator[_Piece]:
    """Every piece that some factor other than 1 falls to, of each parameter and axis in one."""
    found: dict[tuple[str, int], dict[Indices, float]] = {}
    for (name, axis, indices), users in _users(model, past.now() if past is not None else anatomy).items():
        awake = [head for head in users if past is None or head not in past.modes]
        factor = common(rates.get(head, 1.0) for head in awake or users)
        if factor != 1:
            found.setdefault((name, axis), {})[indices] = factor
    for (name, axis), factors in found.items():
        places = [place for indices in factors for place in indices]
        if len(set(places)) < len(places) or sum(other == name for other, _ in found) > 1:
            raise SettingNotUsable(
                f"{name} is divided among heads in more than one way, so no head's rate fits it; leave that layer out."
            )
        parameter = model.get_parameter(name)
        spread = [factor for indices, factor in factors.items() for _ in indices]
        yield _Piece(
            parameter,
            axis,
            torch.tensor(places, device=parameter.device),
            torch.tensor(spread, device=parameter.device, dtype=torch.promote_types(parameter.dtype, torch.float32)),
        )


def _users(model: nn.Module, anatomy: Anatomy) -> dict[tuple[str, int, Indices], list[HeadId]]:
    """Of every piece of weight, the heads that it serves; a parameter that has several names goes by its first."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    users: dict[tuple[str, int, Indices], list[HeadId]] = {}
    for site in (site for site in anatomy if site.sliceable):
        for place, number in enumerate(site.numbers):
            for part in parts_of(model, site, place):
                name = names[id(model.get_parameter(part.parameter))]
                users.setdefault((name, part.axis, part.indices), []).append(HeadId(site.layer, number))
    return users


def common(rates: Iterable[float]) -> float:
    """What multipliers have in common: the nearest to 1 if all lie on one side of it, else 1."""
    found = list(rates)
    nearest: Callable[[list[float]], float] = min if min(found) >= 1 else max
    return nearest(found) if min(found) >= 1 or max(found) <= 1 else 1.0
