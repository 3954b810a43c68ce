"""Replay: a model run again from one attention site on, all that settled before it answered from memory.

To leave out each head of a site in turn, only what comes after the site has to be computed anew. No table says what
comes before: in the intact pass, calls of modules are noted as they begin and end, and the moment at which each site
first gives its attention. What ended before that moment has settled, and in a pass that alters the site it is answered
with a copy of what it gave: what it returned, and wrote into dicts that it was handed. What is still running then (the
model, the site's own block) runs again, around the answers. So does everything that comes after.
"""

from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from neural_plasticity.anatomy.example import UNFIT, Batch
from neural_plasticity.anatomy.sites import Site
from neural_plasticity.anatomy.taps import Attend, Call, Tap, answered, open_taps, original
from neural_plasticity.errors import AnatomyError

Alter = Callable[[Tensor], Tensor]
Run = partial[Any]  # a forward with what it is called with
Around = Callable[[nn.Module, Run], Any]

NEAR = 1e-6  # of the largest number in an output: what reproduces it may differ by no more
ATTENTION = -1  # where attention itself is remembered, beside the calls, which count from 0


@contextmanager
def replaying(model: nn.Module, sites: Sequence[Site]) -> Iterator["Replay"]:
    """A `Replay` of the model at these sites; its memory is dropped when the block ends.

    The model is in eval mode, and the caller has switched gradients off. Between calls the model is as it was.
    """
    replay = Replay(model, sites)
    try:
        yield replay
    finally:
        replay.forget()


class Replay:
    """Passes of one batch after the other: first intact, then altered at one site at a time.

    Asked for all heads of a site before the next site, each pass costs what comes after the site; the first at a site
    also what comes in its own block before it. Each site is tried once per shape of batch: unaltered, it must give what
    the intact pass gave. `whole` holds the layers where it does not, because calls pass something on in other ways than
    by what they return: these are given whole passes.
    """

    def __init__(self, model: nn.Module, sites: Sequence[Site]) -> None:
        self.whole: set[int] = set()
        self._root = original(model)
        self._sites = tuple(sites)
        self._trusted: set[tuple[Any, ...]] = set()
        self.forget()

    def forget(self) -> None:
        """Drop what is remembered of the last batch."""
        self._batch: Batch = {}
        self._past: _Past | None = None
        self._expected: list[Any] = []
        self._own: tuple[int, dict[int, Any]] = (ATTENTION, {})

    def intact(self, batch: Batch) -> Any:
        """The outputs of a whole pass, which is remembered; it stands until the model or the batch changes."""
        self.forget()
        names = signature(self._root.forward).parameters
        batch = {**batch, **({"use_cache": False} if "use_cache" in names and "use_cache" not in batch else {})}
        past = _Past(len(self._sites))
        with open_taps(self._root, {site: past.given(site) for site in self._sites}), _intercepted(self._root, past.call):
            outputs = self._root(**batch)
        past.sift(0)
        self._batch, self._past = batch, past
        if any(site.layer not in self.whole and self._kind(site) not in self._trusted for site in self._sites):
            self._expected = tree_leaves(outputs)
        return outputs

    def altered(self, site: Site, alter: Alter) -> Any:
        """The outputs of a pass with `alter` applied to what the site's output projection reads, in every call of the site.

        That is (batch, queries, heads, width), and may be written into.
        """
        if self._past is None or site.layer not in self._past.moments:
            why = "no intact pass with it is remembered; name the site when replaying begins, and call intact(batch) first"
            raise AnatomyError(f"Layer {site.layer} ({site.name}) cannot be replayed: {why}.")
        if site.layer in self.whole:
            return self._wholly([site], alter)
        if self._kind(site) in self._trusted:
            return self._replayed(site, alter, self._past)
        try:
            if not any(layer == site.layer for layer, *_ in self._trusted):
                self._wholly(self._sites, torch.zeros_like)  # what modules keep from a pass is now of another one
            outputs = self._replayed(site, alter, self._past)
            unaltered = tree_leaves(self._replayed(site, lambda output: output, self._past))
            if len(unaltered) == len(self._expected) and all(map(_near, unaltered, self._expected)):
                self._trusted.add(self._kind(site))
                return outputs
        except (*UNFIT, AnatomyError):  # what was skipped is missed: nobody knows where, nor what is raised then
            pass
        outputs = self._wholly([site], alter)
        self.whole.add(site.layer)
        return outputs

    def _kind(self, site: Site) -> tuple[Any, ...]:
        """What a site must be tried with once: batches of the same names, shapes and switches are alike."""
        shapes = [tuple(leaf.shape) if isinstance(leaf, Tensor) else repr(leaf)[:80] for leaf in tree_leaves(self._batch)]
        return (site.layer, *sorted(self._batch), *shapes)

    def _wholly(self, sites: Sequence[Site], alter: Alter) -> Any:
        with open_taps(self._root, dict.fromkeys(sites, lambda call: alter(call.output))), torch.compiler.set_stance("force_eager"):
            return self._root(**self._batch)

    def _replayed(self, site: Site, alter: Alter, past: "_Past") -> Any:
        if self._own[0] != site.layer:
            self._own = (site.layer, {})
        again = _Again(site, past, self._own[1])
        with (
            open_taps(self._root, {site: again.altering(alter)}),
            _intercepted(self._root, again.call),
            answered(self._root.get_submodule(site.name), again.attend),  # one that attends by its own code does not ask
        ):
            return self._root(**self._batch)


@dataclass(frozen=True, slots=True)
class _Moment:
    """When a site first gave its attention: after how many calls, which were running, which (the outermost) had settled."""

    count: int
    running: frozenset[int]
    settled: frozenset[int]


class _Past:
    """The calls of an intact pass, by their order; what those gave that settled before more than one site."""

    def __init__(self, sites: int) -> None:
        self.modules: list[nn.Module] = []
        self.stops: list[int] = []  # of each call, the place after the last call within it
        self.memory: dict[int, Any] = {}
        self.moments: dict[int, _Moment] = {}
        self._sites = sites
        self._running: list[int] = []
        self._wanted = Counter[int]()

    def call(self, module: nn.Module, run: Run) -> Any:
        """What the call gives, remembered."""
        place = len(self.modules)
        self.modules.append(module)
        self.stops.append(0)
        self._running.append(place)
        try:
            gave = _watched(run)
        finally:
            self._running.pop()
            self.stops[place] = len(self.modules)
        self.sift(place + 1)
        if len(self.moments) < self._sites:  # else it cannot settle before any
            self.memory[place] = _copied(gave)
        return gave[0]

    def sift(self, start: int) -> None:
        """Forget what the calls from here on gave that is wanted at one site only, or at none."""
        while start < len(self.modules):
            if self._wanted[start] < 2:
                self.memory.pop(start, None)
            start = self.stops[start]

    def given(self, site: Site) -> Tap:
        """A tap that notes the moment at which the site first gives its attention."""

        def tap(_: Call) -> None:
            if site.layer in self.moments:
                return
            settled, place = list[int](), 0
            while place < len(self.modules):
                settled += [place] * (place not in self._running)
                place = place + 1 if place in self._running else self.stops[place]
            self._wanted.update(settled)
            self.moments[site.layer] = _Moment(len(self.modules), frozenset(self._running), frozenset(settled))

        return tap


class _Again:
    """A pass that follows an intact one up to a site's attention, answering what has settled, and then is on its own."""

    def __init__(self, site: Site, past: _Past, own: dict[int, Any]) -> None:
        self._site, self._past, self._own = site, past, own
        self._moment = past.moments[site.layer]
        self._place = 0
        self._free = False

    def call(self, module: nn.Module, run: Run) -> Any:
        """What the call gives, or gave; what has settled and is not remembered yet is computed, and will be."""
        if self._free:
            return run()
        place = self._place
        if place >= self._moment.count or self._past.modules[place] is not module:
            raise self._astray(f"{type(module).__name__} runs as call {place}")
        stop = self._past.stops[place]
        for memory in (self._past.memory, self._own):
            if place in memory and place not in self._moment.running:
                self._place = stop
                return _answer(memory[place], run)
        self._place += 1
        gave = _watched(run)
        if place in self._moment.settled:
            if self._place != stop:
                raise self._astray(f"{type(module).__name__} ends before call {self._place}")
            self._own[place] = _copied(gave)
        return gave[0]

    def attend(self, compute: Attend) -> tuple[Tensor, Tensor | None]:
        """Attention at the site: computed once, then answered; computed where the site is called again in the pass."""
        if self._free:
            return compute()
        if ATTENTION not in self._own:
            self._own[ATTENTION] = _copied(compute())
        return _copied(self._own[ATTENTION])

    def altering(self, alter: Alter) -> Tap:
        """A tap that alters the output and, at the first, ends the following."""

        def tap(call: Call) -> Tensor:
            if not self._free and self._place != self._moment.count:
                raise self._astray(f"it attends before call {self._place}")
            self._free = True
            return alter(call.output)

        return tap

    def _astray(self, seen: str) -> AnatomyError:
        seen = f"{seen}, unlike in the intact pass; has the model changed? Call intact(batch) anew"
        return AnatomyError(f"Layer {self._site.layer} ({self._site.name}) cannot be replayed: {seen}.")


@contextmanager
def _intercepted(root: nn.Module, around: Around) -> Iterator[None]:
    """Every forward within the root goes through `around`, and none is compiled, until the block ends."""
    modules = [module for module in root.modules() if module is not root and not isinstance(module, torch.jit.ScriptModule)]
    before = [module.__dict__.get("forward") for module in modules]
    try:
        for module in modules:
            module.__dict__["forward"] = _through(around, module, module.forward)
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for module, forward in zip(modules, before, strict=True):
            module.__dict__.pop("forward", None)
            if forward is not None:
                module.__dict__["forward"] = forward


def _through(around: Around, module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    return wraps(forward)(lambda *arguments, **keywords: around(module, partial(forward, *arguments, **keywords)))


def _watched(run: Run) -> tuple[Any, list[dict[Any, Any]]]:
    """What a call returns, and what it writes into each dict that it is handed."""
    before = [dict(each) for each in _handed(run)]
    returned = run()
    pairs = zip(_handed(run), before, strict=True)
    return returned, [{name: value for name, value in now.items() if old.get(name, old) is not value} for now, old in pairs]


def _answer(gave: tuple[Any, list[dict[Any, Any]]], run: Run) -> Any:
    """What a call once returned, and what it wrote then written again."""
    returned, written = _copied(gave)
    for each, entries in zip(_handed(run), written, strict=True):
        for name, value in entries.items():  # not all that are like dicts have update
            each[name] = value
    return returned


def _handed(run: Run) -> list[MutableMapping[Any, Any]]:
    return [value for value in (*run.args, *run.keywords.values()) if isinstance(value, MutableMapping)]


def _copied(value: Any) -> Any:
    """The same nest of containers with copies of its tensors, one that occurs twice staying one."""
    copies: dict[int, Tensor] = {}
    return tree_map(lambda leaf: copies.setdefault(id(leaf), leaf.clone()) if isinstance(leaf, Tensor) else leaf, value)


def _near(one: Any, other: Any) -> bool:
    """Whether two passes gave the same here, up to the last bits."""
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return type(one) is type(other)
    if one.shape != other.shape or torch.equal(one, other):
        return one.shape == other.shape
    largest = torch.nan_to_num(other, 0.0, 0.0, 0.0).abs().max().item()
    return torch.allclose(one, other, rtol=0.0, atol=NEAR * largest, equal_nan=True)
