"""Taps: the one way to attach to a model.

A tap at an attention module is called with what that module attends with, and may answer with another output.
It sits behind the attention interface of transformers: while taps are open, the model's configs name an attention
function of ours, which calls the one they named before, and then the tap. The mask interface gets the same name,
or padded batches would silently lose their masks. Modules that attend by their own code are tapped where their
output projection reads. Closing puts the old names back and leaves no trace.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from neural_plasticity.anatomy.sites import Site
from neural_plasticity.errors import SettingNotUsable, TapSilent

PREFIX = "plasticity_"
OPERATED = "operated_"  # what the attention of a model is named by, where surgery left it uneven
_SLOT = "_plasticity_tap"
_ANSWER = "_plasticity_answer"
_IMPLEMENTATION = "_attn_implementation_internal"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of attention: query (batch, heads, queries, width), key, value, and output (batch, queries, heads, width).

    Of modules that attend by their own code only the output is seen; query, key and value are None there.
    """

    module: nn.Module
    output: Tensor
    query: Tensor | None = None
    key: Tensor | None = None
    value: Tensor | None = None
    mask: Tensor | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


Tap = Callable[[Call], Tensor | None]
Attend = Callable[[], tuple[Tensor, Tensor | None]]


def original(model: nn.Module) -> nn.Module:
    """The module inside what `torch.compile` or a data-parallel wrapper put around it.

    Hooks and taps go there: one that is added to a compiled wrapper is silently ignored.
    """
    if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]  # the doors of the package lead here
        raise SettingNotUsable(
            f"A {type(model).__name__} was given where a model goes ({model!r:.60}); pass the loaded torch module."
        )
    while True:
        inner = model._modules.get("_orig_mod") or (model._modules.get("module") if _is_parallel(model) else None)
        if inner is None:
            return model
        model = inner


def _is_parallel(model: nn.Module) -> bool:
    return type(model).__name__ in ("DistributedDataParallel", "DataParallel", "FullyShardedDataParallel")


@contextmanager
def open_taps(model: nn.Module, taps: Mapping[Site, Tap], base: str | None = None) -> Iterator[None]:
    """Taps at these sites, until the block ends; attention runs as the configs say, or as `base` where that is given.

    Each must fire in every pass that its module runs in, and at least once before the block ends.
    """
    root = original(model)
    watch = _Watch(taps)
    with ExitStack() as stack:
        stack.callback(root.register_forward_pre_hook(watch.before_pass).remove)
        uncompiled: Any = torch.compiler.disable(watch.after_pass)
        stack.callback(root.register_forward_hook(uncompiled).remove)
        for site in taps:
            module = root.get_submodule(site.name)
            stack.callback(module.register_forward_pre_hook(watch.entering(site)).remove)
            if site.seen == "softmax":
                stack.callback(_at_reader(root, site, watch.told(site)).remove)
        at_interface = {root.get_submodule(site.name): watch.told(site) for site in taps if site.seen == "interface"}
        stack.enter_context(tapped(at_interface, root, base))
        yield
    watch.at_end()


class _Watch:
    """Knows which modules ran and which taps fired, in this pass and ever."""

    def __init__(self, taps: Mapping[Site, Tap]) -> None:
        self._taps = taps
        self._entered: set[Site] = set()
        self._fired: set[Site] = set()
        self._ever: set[Site] = set()
        self._passes = 0

    def told(self, site: Site) -> Tap:
        def tap(call: Call) -> Tensor | None:
            self._fired.add(site)
            self._ever.add(site)
            answer = self._taps[site](call)
            if answer is not None and answer.shape != call.output.shape:
                raise ValueError(
                    f"The tap at layer {site.layer} ({site.name}) answered with shape {tuple(answer.shape)} where the output "
                    f"is {tuple(call.output.shape)}, (batch, queries, heads, width); answer with the same shape, or None."
                )
            return answer

        return tap

    def entering(self, site: Site) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            self._entered.add(site)

        return torch.compiler.disable(hook)  # type: ignore[return-value]

    def before_pass(self, *_: Any) -> None:
        self._entered.clear()
        self._fired.clear()

    def after_pass(self, *_: Any) -> None:
        self._passes += 1
        self._require(self._entered - self._fired, "its module ran, but not through what it was dissected at; dissect again")

    def at_end(self) -> None:
        if self._passes:
            self._require(set(self._taps) - self._ever, "its module never ran; give an input that reaches it, or leave it out")

    def _require(self, silent: set[Site], why: str) -> None:
        if silent:
            first = min(silent, key=lambda site: site.layer)
            count = f"{len(silent)} of {len(self._taps)} taps did not fire"
            raise TapSilent(f"{count}, the first at layer {first.layer} ({first.name}): {why}.")


def _at_reader(root: nn.Module, site: Site, tap: Tap) -> RemovableHandle:
    """A tap where the output projection reads, for a module that attends by its own code."""
    readers = site.of_role("o")
    if not readers:
        raise TapSilent(f"Layer {site.layer} ({site.name}) attends by its own code and cannot be tapped: {site.reason}.")
    columns = torch.tensor([list(indices) for indices in readers[0].indices])
    paths = [reader.module.split(".") for reader in readers]
    shared = [parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))]

    def hook(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        read = arguments[0]
        places = columns.to(read.device)
        answer = tap(Call(module, read[..., places]))
        if answer is None:
            return None
        return (read.index_copy(-1, places.flatten(), answer.flatten(-2)), *arguments[1:])

    return root.get_submodule(".".join(shared)).register_forward_pre_hook(hook)


@contextmanager
def tapped(taps: Mapping[nn.Module, Tap], root: nn.Module, base: str | None = None) -> Iterator[None]:
    """Taps at these modules, whether or not they run; all of `root` attends through our function meanwhile.

    Our function calls the attention that each config names, or `base` where that is given.
    """
    configs = configs_of(root) if taps else []  # a model that attends by its own code may ask for the old name
    before = [getattr(config, _IMPLEMENTATION) for config in configs]
    outer: dict[nn.Module, Tap | None] = {module: module.__dict__.get(_SLOT) for module in taps}
    try:
        for config in configs:
            setattr(config, _IMPLEMENTATION, _registered(base or getattr(config, _IMPLEMENTATION)))
        for module, tap in taps.items():
            first = outer[module]
            module.__dict__[_SLOT] = tap if first is None else _both(first, tap)
        yield
    finally:
        for module, tap in outer.items():
            module.__dict__.pop(_SLOT, None)
            if tap is not None:
                module.__dict__[_SLOT] = tap
        for config, implementation in zip(configs, before, strict=True):
            if str(getattr(config, _IMPLEMENTATION)).startswith(PREFIX):  # else it was set anew meanwhile, and that stands
                setattr(config, _IMPLEMENTATION, implementation)


@contextmanager
def answered(module: nn.Module, answering: Callable[[Attend], tuple[Tensor, Tensor | None]]) -> Iterator[None]:
    """Attention at this module is what `answering` gives, which may call what computes it; taps come after.

    It takes effect wherever the module attends through our function, that is while taps are open.
    """
    outer = module.__dict__.get(_ANSWER)
    try:
        module.__dict__[_ANSWER] = answering
        yield
    finally:
        module.__dict__.pop(_ANSWER, None)
        if outer is not None:
            module.__dict__[_ANSWER] = outer


def _both(outer: Tap, inner: Tap) -> Tap:
    """Two taps at one module: the inner one sees what the outer one made of the output."""

    def tap(call: Call) -> Tensor | None:
        first = outer(call)
        second = inner(call if first is None else replace(call, output=first))
        return first if second is None else second

    return tap


def configs_of(root: nn.Module) -> list[PreTrainedConfig]:
    """Every config that a module of the model reads its attention implementation from, once."""
    found = (module.__dict__.get("config") for module in root.modules())
    return list({id(config): config for config in found if isinstance(config, PreTrainedConfig)}.values())


def _registered(base: str | None) -> str:
    """The name of our attention function around `base`, known to both interfaces."""
    base = base or "eager"
    if base.startswith(PREFIX):
        return base
    name = f"{PREFIX}{base}"
    if name not in ALL_ATTENTION_FUNCTIONS:
        # Outside compiled graphs: their guards do not see whether a tap is open.
        AttentionInterface.register(name, torch.compiler.disable(_around(base)))
        if base in ALL_MASK_ATTENTION_FUNCTIONS:
            AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[base])
    return name


def _around(base: str) -> Callable[..., tuple[Tensor, Tensor | None]]:
    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
    ) -> tuple[Tensor, Tensor | None]:
        attention = eager_function(module) if base == "eager" else ALL_ATTENTION_FUNCTIONS[base]
        compute = partial(attention, module, query, key, value, attention_mask, **options)
        answering = module.__dict__.get(_ANSWER)
        output, weights = compute() if answering is None else answering(compute)
        tap = module.__dict__.get(_SLOT)
        if tap is not None:
            answer = tap(Call(module, output, query, key, value, attention_mask, options))
            output = output if answer is None else answer
        return output, weights

    return attend


def is_attending() -> bool:
    """Whether the caller runs, however deep, inside a call of our attention function."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code is not _ATTEND:
        frame = frame.f_back
    return frame is not None


_ATTEND = _around("eager").__code__


def eager_function(module: nn.Module) -> Callable[..., tuple[Tensor, Tensor | None]]:
    """The plain attention that a module falls back on: by convention it lies beside the class whose forward runs."""
    for kind in type(module).__mro__:
        if "forward" in vars(kind):
            function = inspect.unwrap(vars(kind)["forward"]).__globals__.get("eager_attention_forward")
            if function is not None:
                return function
    where = sys.modules[type(module).__module__].__name__
    raise TapSilent(f"{type(module).__name__} attends eagerly, but {where} has no eager_attention_forward; load it with sdpa.")
