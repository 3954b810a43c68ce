"""The body of a model under operation: its weights, its counts and its masks, kept true to what its past says."""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import Any

from torch import nn
from torch.optim import Optimizer

from neural_plasticity.anatomy.bank import Part
from neural_plasticity.anatomy.past import Axis, Past, past_of, remember
from neural_plasticity.anatomy.sites import Site
from neural_plasticity.anatomy.taps import configs_of
from neural_plasticity.errors import SurgeryError
from neural_plasticity.heads import HeadId
from neural_plasticity.surgery.counts import clear_originals, counts_of, set_counts
from neural_plasticity.surgery.cut import Weights
from neural_plasticity.surgery.emptied import empty, fill
from neural_plasticity.surgery.gating import set_factors
from neural_plasticity.surgery.layout import groups_gone, kept_axes, own_extras, parts_gone
from neural_plasticity.surgery.modes import PruningMode
from neural_plasticity.surgery.operated import install, pick

_IMPLEMENTATION = "_attn_implementation_internal"


class Body:
    """Changes a model as its past changes, nothing more; proving it is somebody else's."""

    def __init__(self, model: nn.Module, past: Past) -> None:
        self._model, self._past = model, past
        self._weights = Weights(model)

    def attach(self, optimizers: Sequence[Optimizer]) -> None:
        """Cut and grow these optimizers' moments too."""
        self._weights.attach(optimizers)

    def require_settled(self) -> None:
        """A refusal while a graph still holds the weights: its backward pass would meet others."""
        for name, parameter in self._model.named_parameters():
            held: Any = parameter
            if held._use_count() > 2:  # one is the module's, one the node that gradients flow into
                raise SurgeryError(
                    f"A graph still holds {name}: a loss was computed and its backward pass has not run; run it, or drop the loss, "
                    "or a data-parallel wrapper around the model."
                )

    def put_to_sleep(self, heads: Sequence[HeadId], mode: PruningMode, counted: bool = True) -> None:
        """Heads to sleep in this mode, all that they were made of in the bank; `counted` is how modules learn of it."""
        past = self._past
        past.counted = counted
        if mode is PruningMode.ZERO_WEIGHTS:
            for part in self._columns(heads):
                piece = self._weights.take(part, past.kept.get((part.parameter, part.axis)))
                past.bank[part] = piece
                self._weights.put(
                    part, {name: tensor.new_zeros(tensor.shape) for name, tensor in piece.items() if not name}, self._kept(part)
                )
        past.modes.update(dict.fromkeys(heads, mode.value))
        past.woken.difference_update(heads)
        if mode is PruningMode.REMOVE:
            self._reshape()
        self._set_factors({head.layer for head in heads}, dict.fromkeys(heads, 0.0) if mode is PruningMode.GATE else {})

    def wake(self, heads: Sequence[HeadId]) -> None:
        """Heads awake again, with what the bank holds of them."""
        past = self._past
        modes = {head: past.modes.pop(head) for head in heads}
        past.woken.update(heads)
        zeroed = [head for head, mode in modes.items() if mode == PruningMode.ZERO_WEIGHTS]
        for part in self._columns(zeroed):
            self._weights.put(part, past.bank.pop(part), self._kept(part))
        if PruningMode.REMOVE in modes.values():
            self._reshape()
        gated = {head: 1.0 for head, mode in modes.items() if mode == PruningMode.GATE}
        self._set_factors({head.layer for head in heads}, gated)

    def forget(self) -> None:
        """Drop from the bank what no head that can still wake needs."""
        past = self._past
        waking = {head for head in past.modes if head not in past.forgotten}
        needed: set[Part] = set()
        for head in waking:
            needed.update(self._parts_of(head))
        for part in [part for part in past.bank if part not in needed]:
            del past.bank[part]

    def settle(self) -> None:
        """Counts, picks, masks and gates as the past says, on a model whose weights are cut already: one that was saved."""
        self._set_counts()
        self._set_factors({head.layer for head in self._past.modes}, {})

    def state(self) -> dict[str, Any]:
        """Everything that an operation may change."""
        past = self._past
        return {
            "weights": self._weights.state(),
            "past": {name: copy(value) for name, value in vars(past).items()},
            "modules": {module: _attributes(module) for module in self._model.modules()},  # all, for hooks and modes of passes
            "configs": [(config, getattr(config, _IMPLEMENTATION)) for config in configs_of(self._model)],
            "remembered": past_of(self._model),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put everything back as it was."""
        for module, attributes in state["modules"].items():
            _put_back(module, attributes)
        self._weights.restore(state["weights"])
        for name, value in state["past"].items():
            setattr(self._past, name, copy(value))
        for config, implementation in state["configs"]:
            setattr(config, _IMPLEMENTATION, implementation)
        remember(self._model, state["remembered"])

    def _kept(self, part: Part) -> tuple[int, ...] | None:
        return self._past.kept.get((part.parameter, part.axis))

    def _columns(self, heads: Iterable[HeadId]) -> list[Part]:
        """What the output projections read of these heads."""
        found = []
        for head in heads:
            site = self._past.anatomy[head.layer]
            readers = {each.module for each in site.of_role("o")}
            parts = self._parts_of(head)
            found += [
                part
                for part in parts
                if part.parameter.removesuffix(".weight") in readers and part.indices in _columns_of(site, head)
            ]
        return found

    def _parts_of(self, head: HeadId) -> dict[Part, None]:
        """Every piece that may lie in the bank for a head's sake."""
        site = self._past.anatomy[head.layer]
        alone = {head.layer: {other for other in range(site.heads) if site.groups[other] == site.groups[head.head]}}
        parts = parts_gone(self._model, self._past.anatomy, {head.layer: {head.head}})
        return parts | parts_gone(self._model, self._past.anatomy, alone)

    def _reshape(self) -> None:
        """Let every weight hold what its heads that are present need, the bank what they do not."""
        past = self._past
        gone = {site.layer: past.gone(site.layer) for site in past.anatomy if past.gone(site.layer)}
        parts = parts_gone(self._model, past.anatomy, gone)
        sizes = {axis: self._whole(axis) for axis in {(part.parameter, part.axis) for part in parts}}
        after = kept_axes(parts, sizes)
        changed = [axis for axis in {**past.kept, **after} if past.kept.get(axis) != after.get(axis)]
        for part in parts:
            if part not in past.bank and not (self._kept(part) is not None and self._is_cut(part)):  # or forgotten
                past.bank[part] = self._weights.take(part, self._kept(part))
        back = [part for part in past.bank if part not in parts and (part.parameter, part.axis) in past.kept and self._is_cut(part)]
        for axis in changed:
            places = after.get(axis, tuple(range(self._whole(axis))))
            self._weights.refit(axis, past.kept.get(axis), places)
            past.kept.pop(axis, None)
            if axis in after:
                past.kept[axis] = places
        for part in back:
            self._weights.put(part, past.bank.pop(part), self._kept(part))
        self._set_counts()

    def _is_cut(self, part: Part) -> bool:
        """Whether a piece in the bank is out of the model, and not merely overwritten."""
        return not set(part.indices) <= set(self._past.kept[part.parameter, part.axis])

    def _whole(self, axis: Axis) -> int:
        """How long an axis is in the untouched model."""
        kept = self._past.kept.get(axis)
        if kept is None:
            return self._weights.size(axis)
        banked = {place for part in self._past.bank if (part.parameter, part.axis) == axis for place in part.indices}
        return max(max(kept, default=-1), max(banked, default=-1)) + 1

    def _set_counts(self) -> None:
        """Let every module's own code read how many heads it has, and pick key-value heads where groups are uneven."""
        past, picking = self._past, False
        for site in past.anatomy:
            module = self._model.get_submodule(site.name)
            gone = past.gone(site.layer)
            if site.layer not in past.counts:
                if not gone:
                    continue
                past.counts[site.layer] = counts_of(module, site)
            fill(module)
            if len(gone) == site.heads:
                empty(module, site, past.forms[site.layer])
                continue
            gather, ratio = _picked(site, gone)
            shared = len(site.extras) > len(list(own_extras(past.anatomy, site)))
            kept = past.present(site.layer) if gone and (shared or not past.counted) else None
            pick(module, gather, kept)
            picking = picking or gather is not None or kept is not None
            groups = site.kv_heads - len(groups_gone(site, gone))
            numbers = (site.heads - len(gone), groups, ratio) if past.counted else (site.heads, site.kv_heads, ratio)
            set_counts(module, past.counts[site.layer], site, *numbers)
            if not gone:
                clear_originals(module)
                del past.counts[site.layer]
        install(self._model, picking)

    def _set_factors(self, layers: Iterable[int], gates: Mapping[HeadId, float]) -> None:
        past = self._past
        cut = {site.layer for site in past.anatomy if past.gone(site.layer)}
        for layer in {*layers, *cut}:
            site = past.anatomy[layer]
            by_mode = {
                mode: {head.head for head, how in past.modes.items() if head.layer == layer and how == mode} for mode in PruningMode
            }
            changed = {head.head: value for head, value in gates.items() if head.layer == layer}
            gated = by_mode[PruningMode.GATE]
            # Columns of zeros are masked too, or training would fill them again.
            masked = by_mode[PruningMode.MASK_FORWARD] | by_mode[PruningMode.ZERO_WEIGHTS]
            set_factors(self._model, past, site, masked, changed if gated else None)


def _picked(site: Site, gone: set[int]) -> tuple[list[int] | None, int]:
    """Which present key-value head each present query head reads, where they are not in even runs; and the length of these."""
    heads = [head for head in range(site.heads) if head not in gone]
    groups = sorted(set(site.groups) - groups_gone(site, gone))
    gather = [groups.index(site.groups[head]) for head in heads]
    ratio = len(heads) // len(groups)
    even = gather == [place // ratio for place in range(len(heads))] if ratio and len(heads) == ratio * len(groups) else False
    return (None, ratio) if even else (gather, 1)


def _columns_of(site: Site, head: HeadId) -> set[tuple[int, ...]]:
    return {each.indices[head.head] for each in site.of_role("o")}


def _attributes(module: nn.Module) -> dict[str, Any]:
    """What a module holds; its registries as copies, the set that says which buffers no state dict takes among them."""
    return {name: copy(value) if isinstance(value, dict | set) else value for name, value in vars(module).items()}


def _put_back(module: nn.Module, attributes: Mapping[str, Any]) -> None:
    for name in [name for name in vars(module) if name not in attributes]:
        del module.__dict__[name]
    for name, value in attributes.items():
        if isinstance(value, dict) and isinstance(module.__dict__.get(name), dict):
            module.__dict__[name].clear()
            module.__dict__[name].update(value)
        else:
            module.__dict__[name] = copy(value) if isinstance(value, dict | set) else value  # the state may be put back again
