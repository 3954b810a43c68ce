"""`Surgeon`: puts heads of a model to sleep and wakes them, with a proof for everything it does."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.past import Past, past_of, remember
from neural_plasticity.anatomy.sites import Anatomy
from neural_plasticity.anatomy.taps import original
from neural_plasticity.errors import NotBanked, NotRemovable, SettingNotUsable, SurgeryError
from neural_plasticity.heads import HeadId, HeadState
from neural_plasticity.surgery.body import Body
from neural_plasticity.surgery.emptied import forms
from neural_plasticity.surgery.gating import masked_for_now
from neural_plasticity.surgery.modes import PruningMode, mode_of
from neural_plasticity.surgery.proof import Outputs, Proof
from neural_plasticity.surgery.report import Report, report
from neural_plasticity.surgery.saving import save

Heads = Iterable[tuple[int, int]]


class Surgeon:
    """Operates on one model, whose past it reads off it: a second surgeon goes on where the first one stopped.

    Every operation is proved on what the model may meet in use (a prompt, a left-padded batch, decoding with a cache)
    against the model with those heads masked; what does not come out alike is undone and refused.
    """

    def __init__(self, model: nn.Module, *, anatomy: Anatomy | None = None, example: Mapping[str, Any] | None = None) -> None:
        root = original(model)
        if root is not model and type(model).__name__ != "OptimizedModule":
            raise SurgeryError(
                f"The model is wrapped in {type(model).__name__}, which keeps account of its weights; operate before wrapping it."
            )
        self.model = root
        self._past = past_of(root) or Past(anatomy or dissect(root, None if example is None else dict(example)))
        self._proof = Proof(root, example)
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
        self._body.attach([getattr(each, "optimizer", each) for each in optimizers])

    def prune(self, heads: Heads, mode: str = PruningMode.REMOVE) -> float:
        """Put heads to sleep; the largest difference that the proof saw, as a share of the largest output."""
        wanted = mode_of(mode)
        chosen = self._awake(heads)
        real = PruningMode.REMOVE if wanted is PruningMode.COMPRESSED else wanted
        self._require_possible(chosen, real)
        emptied = [self.anatomy[layer] for layer in self._emptied_by(chosen)] if real is PruningMode.REMOVE else []
        with masked_for_now(self.model, self._past, _by_layer(chosen)), forms(self.model, emptied) as seen:
            expected = self._proof.outputs()
        self._past.forms.update(seen)
        difference = self._put_to_sleep(chosen, real, expected)
        if wanted is PruningMode.COMPRESSED:
            self.forget(chosen)
        return difference

    def revive(self, heads: Heads) -> float:
        """Wake heads, all that they were made of in its place, bit for bit; the largest difference that the proof saw."""
        chosen = sorted({HeadId(*head) for head in heads})
        self._require_dormant(chosen)
        self._body.require_settled()
        expected = self._proof.outputs()
        with self._undone_on_failure():
            self._body.wake(chosen)
            with masked_for_now(self.model, self._past, _by_layer(chosen)):
                return self._proof.compare(expected, f"Reviving {_named(chosen)}")

    def forget(self, heads: Heads | None = None) -> None:
        """Let go of sleeping heads for good, and of the memory that they take; of all if none are named."""
        chosen = self.dormant if heads is None else sorted({HeadId(*head) for head in heads})
        self._require_dormant(chosen)
        self._past.forgotten.update(chosen)
        self._body.forget()

    def report(self, tokens: int = 512) -> Report:
        """What the removed heads save: parameters, bytes, cache, attention work for a text of so many tokens."""
        return report(self.model, self._past, tokens)

    def save(self, folder: str | Path, *, bank: bool = True) -> None:
        """Save the model, and with `bank` what its sleeping heads are made of; `load` opens the folder."""
        save(self.model, self._past, folder, bank=bank)

    @contextmanager
    def trial(self, heads: Heads, mode: str = PruningMode.REMOVE) -> Iterator["Surgeon"]:
        """Heads put to sleep until the block ends."""
        chosen = self._awake(heads)
        self.prune(chosen, mode)
        woken = set(self._past.woken)
        try:
            yield self
        finally:
            back = [head for head in chosen if head in self.dormant]
            if back:
                self.revive(back)
            self._past.woken = woken
            self._mark()

    def _put_to_sleep(self, chosen: list[HeadId], mode: PruningMode, expected: Outputs) -> float:
        """The operation and its proof, in the first of the ways by which modules may learn of their heads that stands it."""
        refusal: SurgeryError | None = None
        for counted in dict.fromkeys([self._past.counted, True, False]) if mode is PruningMode.REMOVE else [self._past.counted]:
            try:
                with self._undone_on_failure():
                    self._body.put_to_sleep(chosen, mode, counted)
                    return self._proof.compare(expected, f"Pruning {_named(chosen)} by {mode.value}")
            except SurgeryError as failure:
                refusal = refusal or failure
        assert refusal is not None
        try:
            raise refusal
        finally:
            del refusal  # which holds this frame, and with it the tensors that the proof compared

    @contextmanager
    def _undone_on_failure(self) -> Iterator[None]:
        """An operation that is whole or was never begun, whatever stops it."""
        before = self._body.state()
        try:
            yield
        except BaseException:
            self._body.restore(before)
            raise
        self._mark()

    def _mark(self) -> None:
        """Lay the past on the model, where it has one."""
        remember(self.model, self._past if self._past.modes or self._past.woken else None)

    def _awake(self, heads: Heads) -> list[HeadId]:
        named = getattr(heads, "heads", heads)  # a plan names its heads
        chosen = sorted({HeadId(*head) for head in named})
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
        if not chosen:
            raise SettingNotUsable("No heads are named; name some as (layer, head).")
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
        for layer in _by_layer(chosen):
            site = self.anatomy[layer]
            where = f"Layer {layer} ({site.name})"
            if not site.of_role("o"):
                raise NotRemovable(f"{where} shows no columns of an output projection by head: {site.reason}; choose other layers.")
            if mode is not PruningMode.REMOVE:
                continue
            if not site.sliceable:
                raise NotRemovable(f"{where}: {site.reason}; use mode='mask_forward'.")
            if site.shared_with:
                others = ", ".join(map(str, site.shared_with))
                raise NotRemovable(f"{where} shares its weights with layer {others}; use mode='mask_forward'.")
        self._body.require_settled()


def _by_layer(heads: Iterable[HeadId]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for layer, head in heads:
        found.setdefault(layer, set()).add(head)
    return found


def _named(heads: list[HeadId]) -> str:
    shown = ", ".join(map(str, heads[:6]))
    return f"heads {shown}" + (f" and {len(heads) - 6} more" if len(heads) > 6 else "")
