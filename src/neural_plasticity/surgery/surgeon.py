"""`Surgeon`: puts heads of a model to sleep and wakes them, with a proof for everything it does."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from traceback import clear_frames
from typing import Any, TypeVar

import torch
from torch import nn

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.past import Past, past_of, remember
from neural_plasticity.anatomy.sites import Anatomy, Site
from neural_plasticity.errors import NotBanked, NotRemovable, SettingNotUsable, SurgeryError
from neural_plasticity.heads import HeadId, HeadState
from neural_plasticity.surgery.admission import (
    admitted,
    batch_of,
    heads_named,
    length_of,
    merged,
    optimizers_of,
    require_fitting,
    unwritable,
)
from neural_plasticity.surgery.body import Body
from neural_plasticity.surgery.emptied import forms
from neural_plasticity.surgery.gating import masked_for_now
from neural_plasticity.surgery.modes import PruningMode, mode_of
from neural_plasticity.surgery.proof import Outputs, Proof
from neural_plasticity.surgery.report import Report, report
from neural_plasticity.surgery.saving import refusal, save

Heads = Iterable[tuple[int, int]]
Done = TypeVar("Done")

_WRITING = (PruningMode.REMOVE, PruningMode.COMPRESSED, PruningMode.ZERO_WEIGHTS)  # whose heads come back from the bank alone


class Surgeon:
    """Operates on one model, whose past it reads off it: a second surgeon goes on where the first one stopped.

    Every operation is proved on what the model may meet in use (a prompt, a left-padded batch, decoding with a cache)
    against the model with those heads masked; what does not come out alike is undone and refused.
    """

    def __init__(self, model: nn.Module, *, anatomy: Anatomy | None = None, example: Mapping[str, Any] | None = None) -> None:
        self.model = root = admitted(model)
        own = None if example is None else batch_of(example)
        self._past = past_of(root) or Past(dissect(root, own) if anatomy is None else anatomy)
        require_fitting(root, self.anatomy)
        self._proof = Proof(root, own)
        self._body = Body(root, self._past)

    @property
    def anatomy(self) -> Anatomy:
        """The anatomy of the untouched model; its numbers name heads for life."""
        return self._past.anatomy

    @property
    def states(self) -> dict[HeadId, HeadState]:
        """What has become of every head."""
        return {head: self._past.state(head) for head in self.anatomy.heads}

    @property
    def dormant(self) -> list[HeadId]:
        """The heads that sleep and can be woken."""
        return sorted(set(self._past.modes) - self._past.forgotten)

    def attach(self, *optimizers: Any) -> None:
        """Let these optimizers' moments be cut, kept and put back along with the weights."""
        self._body.attach(optimizers_of(self.model, optimizers))

    def prune(self, heads: Heads, mode: str = PruningMode.REMOVE) -> float:
        """Put heads to sleep; the largest difference that the proof saw, as a share of the largest output."""
        wanted = mode_of(mode)
        chosen = self._awake(heads)
        if not chosen:
            return 0.0
        real = PruningMode.REMOVE if wanted is PruningMode.COMPRESSED else wanted
        self._require_possible(chosen, real)
        return self._whole(lambda: self._pruned(chosen, real, forgotten=wanted is PruningMode.COMPRESSED))

    def revive(self, heads: Heads) -> float:
        """Wake heads, all that they were made of in its place, bit for bit; the largest difference that the proof saw."""
        chosen = heads_named(heads)
        if not chosen:
            return 0.0
        self._require_dormant(chosen)
        require_fitting(self.model, self.anatomy)
        for layer in sorted({head.layer for head in chosen if self._past.modes[head] in _WRITING}):
            if why := merged(self.model, self.anatomy[layer]):
                raise SurgeryError(f"Layer {layer}: {why}")
        self._body.require_settled()
        return self._whole(lambda: self._revived(chosen))

    def forget(self, heads: Heads | None = None) -> None:
        """Let go of sleeping heads for good, and of the memory that they take; of all if none are named."""
        chosen = self.dormant if heads is None else heads_named(heads)
        self._require_dormant(chosen)
        self._whole(lambda: self._forgotten(chosen))

    def refusals(self, mode: str = PruningMode.REMOVE) -> dict[HeadId, str]:
        """The heads that cannot be put to sleep in this mode, and why."""
        wanted = mode_of(mode)
        reasons = {site: _refusal(self.model, site, wanted) for site in self.anatomy}
        return {HeadId(site.layer, head): reason for site, reason in reasons.items() if reason for head in range(site.heads)}

    @contextmanager
    def awakened(self) -> Iterator[list[HeadId]]:
        """Every sleeping head awake until the block ends, whatever its mode; then all is as it was, bit for bit."""
        asleep, before = self.dormant, self._body.state()
        try:
            try:
                if asleep:
                    self.revive(asleep)
                yield asleep
            finally:
                self._body.restore(before)
        except KeyboardInterrupt as stop:
            self._put_back(before, stop)
            raise

    def report(self, tokens: int = 512) -> Report:
        """What the removed heads save: parameters, bytes, cache, attention work for a text of so many tokens."""
        return report(self.model, self._past, length_of(tokens))

    def save(self, folder: str | Path, *, bank: bool = True) -> None:
        """Save the model, and with `bank` what its sleeping heads are made of; `load` opens the folder."""
        save(self.model, self._past, folder, bank=bank)

    @property
    def unsavable(self) -> str:
        """Why `save` would refuse the model wherever it is to go, in its words; empty where it would not."""
        return refusal(self.model, self._past)

    @contextmanager
    def trial(self, heads: Heads, mode: str = PruningMode.REMOVE) -> Iterator["Surgeon"]:
        """Heads put to sleep until the block ends."""
        if mode_of(mode) is PruningMode.COMPRESSED:
            raise SettingNotUsable("mode='compressed' forgets the heads that a trial is to wake again; use mode='remove'.")
        chosen, woken = self._awake(heads), set(self._past.woken)
        try:
            self.prune(chosen, mode)
            yield self
        finally:
            try:
                self._end_trial(chosen, woken)
            except KeyboardInterrupt:
                self._end_trial(chosen, woken)
                raise

    def _end_trial(self, chosen: list[HeadId], woken: set[HeadId]) -> None:
        """The heads of a trial as they were before it."""
        back = [head for head in chosen if head in self.dormant]
        if back:
            self.revive(back)
        self._past.woken = self._past.woken.difference(chosen) | woken.intersection(chosen)
        self._mark()

    def _pruned(self, chosen: list[HeadId], mode: PruningMode, forgotten: bool) -> float:
        emptied = [self.anatomy[layer] for layer in self._emptied_by(chosen)] if mode is PruningMode.REMOVE else []
        with masked_for_now(self.model, self._past, _by_layer(chosen)), forms(self.model, emptied) as seen:
            expected = self._proof.outputs()
        self._past.forms.update(seen)
        difference = self._put_to_sleep(chosen, mode, expected)
        if forgotten:
            self._forgotten(chosen)
        return difference

    def _revived(self, chosen: list[HeadId]) -> float:
        with masked_for_now(self.model, self._past, _by_layer(chosen)):  # a gate that has learned lets something through
            expected = self._proof.outputs()
        self._body.wake(chosen)
        with masked_for_now(self.model, self._past, _by_layer(chosen)):
            return self._proof.compare(expected, f"Reviving {_named(chosen)}")

    def _forgotten(self, chosen: list[HeadId]) -> None:
        self._past.forgotten.update(chosen)
        self._body.forget()

    def _put_to_sleep(self, chosen: list[HeadId], mode: PruningMode, expected: Outputs) -> float:
        """The operation and its proof, in the first of the ways by which modules may learn of their heads that stands it."""
        refusal: SurgeryError | None = None
        for counted in dict.fromkeys([self._past.counted, True, False]) if mode is PruningMode.REMOVE else [self._past.counted]:
            try:
                return self._whole(partial(self._asleep, chosen, mode, counted, expected))
            except SurgeryError as failure:
                refusal = refusal or failure
        assert refusal is not None
        try:
            raise refusal
        finally:
            del refusal  # which holds this frame, and with it the tensors that the proof compared

    def _asleep(self, chosen: list[HeadId], mode: PruningMode, counted: bool, expected: Outputs) -> float:
        self._body.put_to_sleep(chosen, mode, counted)
        return self._proof.compare(expected, f"Pruning {_named(chosen)} by {mode.value}")

    def _whole(self, operate: Callable[[], Done]) -> Done:
        """What an operation gives, which is whole or was never begun, whatever stops it.

        No context manager: those of the standard library run lines of their own before they come to what undoes.
        """
        before = self._body.state()
        try:
            try:
                with torch.inference_mode(False):  # in which weights would be made that nobody can train any more
                    done = operate()
                self._mark()
                return done
            except BaseException:
                self._body.restore(before)
                raise
        except KeyboardInterrupt as stop:
            self._put_back(before, stop)
            raise

    def _put_back(self, before: dict[str, Any], stop: KeyboardInterrupt) -> None:
        """All as it was, once more after an interrupt.

        That may have come while all was put back, or where a context manager was about to end, which then ends with the
        frame that holds it, and writes into the model: so these are let go first.
        """
        clear_frames(stop.__traceback__)
        self._body.restore(before)

    def _mark(self) -> None:
        """Lay the past on the model, where it has one."""
        remember(self.model, self._past if self._past.modes or self._past.woken else None)

    def _awake(self, heads: Heads) -> list[HeadId]:
        chosen = heads_named(heads)
        known = set(self.anatomy.heads)
        for head in chosen:
            if head not in known:
                raise SettingNotUsable(
                    f"There is no head {head}: {self.anatomy.model} has {len(self.anatomy.sites)} layers, numbered from 0; "
                    "`plasticity dissect` shows how many heads each has."
                )
            if head in self._past.modes:
                raise SettingNotUsable(
                    f"Head {head} is {self._past.state(head)} already ({self._past.modes[head]}); revive it first."
                )
        return chosen

    def _emptied_by(self, chosen: list[HeadId]) -> list[int]:
        """The layers that would have no head left in them."""
        return [layer for layer, heads in _by_layer(chosen).items() if set(self._past.present(layer)) <= heads]

    def _require_dormant(self, chosen: list[HeadId]) -> None:
        for head in chosen:
            if head not in self._past.modes or head in self._past.forgotten:
                held = ", ".join(map(str, self.dormant[:8])) or "none"
                raise NotBanked(f"Head {head} is {self._past.state(head)} and cannot be woken; those that sleep are {held}.")

    def _require_possible(self, chosen: list[HeadId], mode: PruningMode) -> None:
        require_fitting(self.model, self.anatomy)
        for layer in _by_layer(chosen):
            if refusal := _refusal(self.model, self.anatomy[layer], mode):
                raise NotRemovable(refusal)
        self._body.require_settled()


def _refusal(root: nn.Module, site: Site, mode: PruningMode) -> str:
    """Why the heads of a site cannot be put to sleep in this mode, if so."""
    where = f"Layer {site.layer} ({site.name})"
    if not site.of_role("o"):
        return f"{where} shows no columns of an output projection by head: {site.reason}; choose other layers."
    if mode in _WRITING and (why := merged(root, site) or (mode is PruningMode.ZERO_WEIGHTS and unwritable(root, site))):
        return f"{where}: {why}"
    if mode not in (PruningMode.REMOVE, PruningMode.COMPRESSED):
        return ""
    if not site.sliceable:
        return f"{where}: {site.reason}; use mode='mask_forward'."
    if site.shared_with:
        others = ", ".join(map(str, site.shared_with))
        return f"{where} shares its weights with layer {others}; use mode='mask_forward'."
    return ""


def _by_layer(heads: Iterable[HeadId]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for layer, head in heads:
        found.setdefault(layer, set()).add(head)
    return found


def _named(heads: list[HeadId]) -> str:
    shown = ", ".join(map(str, heads[:6]))
    return f"heads {shown}" + (f" and {len(heads) - 6} more" if len(heads) > 6 else "")
