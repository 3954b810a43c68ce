"""What modules that attend by their own code attend with: overheard at torch's own functions."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from neural_plasticity.anatomy.sites import Site
from neural_plasticity.anatomy.taps import Call, original

SOFTMAXES = {torch.softmax, torch.special.softmax, Tensor.softmax, functional.softmax}


@dataclass(frozen=True, slots=True)
class Scored:
    """One softmax over attention scores (batch, heads, queries, keys), masks and biases among them."""

    module: nn.Module
    scores: Tensor


Ear = Callable[[Call | Scored], None]


@contextmanager
def overheard(model: nn.Module, ears: Mapping[Site, Ear]) -> Iterator[None]:
    """Each ear hears every attention of its site until the block ends; nothing is changed."""
    if not ears:
        yield
        return
    root = original(model)
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)  # it would run past every function that can be overheard
        listener = _Listener()
        for site, ear in ears.items():
            for module in root.get_submodule(site.name).modules():
                listener.follow(module, (site, ear) if module is root.get_submodule(site.name) else None, stack)
        stack.enter_context(listener)
        yield


class _Listener(TorchFunctionMode):
    """Knows which site is running, and hears the functions that it calls."""

    def __init__(self) -> None:
        super().__init__()
        self._running: list[tuple[nn.Module, tuple[Site, Ear] | None]] = []

    def follow(self, module: nn.Module, site: tuple[Site, Ear] | None, hooks: ExitStack) -> None:
        if next(module.children(), None) is None and site is None:
            return
        enter = module.register_forward_pre_hook(lambda *_: self._running.append((module, site)))
        leave = module.register_forward_hook(lambda *_: self._running.pop() and None, always_call=True)
        hooks.callback(enter.remove)
        hooks.callback(leave.remove)

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        options: dict[str, Any] = kwargs or {}
        module, heard = self._running[-1] if self._running else (None, None)
        if module is None or heard is None:
            return func(*args, **options)
        site, ear = heard
        if func is functional.multi_head_attention_forward:
            return self._hidden(module, site, ear, args, options)
        result = func(*args, **options)
        if func is functional.scaled_dot_product_attention:
            named = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), args, strict=False)) | options
            if result.dim() == 4:
                parts = (named["query"], named["key"], named["value"], named.get("attn_mask"))
                ear(Call(module, result.transpose(1, 2), *parts, {"scaling": named.get("scale")}))
        elif func in SOFTMAXES:
            scores = args[0] if args else options["input"]
            axis = args[1] if len(args) > 1 else options.get("dim")
            if scores.dim() >= 3 and axis in (-1, scores.dim() - 1):
                self._tell(module, site, ear, scores)
        return result

    def _hidden(self, module: nn.Module, site: Site, ear: Ear, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Torch's own multi-head attention shows its weights when it is asked for them, head by head."""
        attend: Any = functional.multi_head_attention_forward
        wanted, averaged = options.get("need_weights", True), options.get("average_attn_weights", True)
        output, weights = attend(*args, **(options | {"need_weights": True, "average_attn_weights": False}))
        weights = weights if weights.dim() == 4 else weights.unsqueeze(0)
        self._tell(module, site, ear, weights.log())
        if not wanted:
            return output, None
        return output, weights.mean(1) if averaged else weights

    def _tell(self, module: nn.Module, site: Site, ear: Ear, scores: Tensor) -> None:
        if scores.dim() == 3 and scores.shape[0] % site.heads == 0:
            scores = scores.unflatten(0, (-1, site.heads))
        if scores.dim() == 4 and scores.shape[1] == site.heads:
            ear(Scored(module, scores))
