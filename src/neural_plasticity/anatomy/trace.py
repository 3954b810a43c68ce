"""One pass of a model, cut at its projections, with every attention call written down."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from neural_plasticity.anatomy.example import Batch
from neural_plasticity.anatomy.taps import OPERATED, Call, is_attending, tapped

NOISE = 0.02
SMALL = 2**20


@dataclass(frozen=True, slots=True)
class Projected:
    """A call of a projection: what it read, and its output as a leaf that later graphs end at."""

    order: int
    name: str
    module: nn.Module
    read: Tensor
    wrote: Tensor


@dataclass(frozen=True, slots=True)
class Attended:
    """A call of attention: what it gave, whole and as a leaf that later graphs end at.

    Seen at the attention interface, it carries query, key and value, and knows its axis of heads; seen at a
    softmax, it carries the scores that went in and gave attention weights.
    """

    order: int
    name: str
    axis: int | None
    output: Tensor
    leaf: Tensor
    query: Tensor | None = None
    key: Tensor | None = None
    value: Tensor | None = None
    scores: Tensor | None = None
    hidden_heads: int = 0  # of torch's own multi-head attention, which shows nothing but its number of heads


@dataclass(slots=True)
class Trace:
    """Everything of one pass that anatomy asks about, in the order it happened."""

    projected: list[Projected] = field(default_factory=list)
    attended: list[Attended] = field(default_factory=list)
    results: list[Tensor] = field(default_factory=list)
    parameters: dict[str, nn.Parameter] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    projecting: list[str] = field(default_factory=list)
    ran: set[str] = field(default_factory=set)
    ungraded: set[str] = field(default_factory=set)

    @property
    def asleep(self) -> tuple[str, ...]:
        """What could not be asked: the outermost modules that did not run, nor any of their kind, and those without gradients."""
        awake = {self.kinds[name] for name in self.ran}
        attending = {attended.name for attended in self.attended}
        found = sorted(self.ungraded - attending)  # ran, but without gradients to ask
        for name in self.projecting:
            if self.kinds[name] not in awake and not any(name.startswith(f"{outer}.") for outer in found):
                found.append(name)
        return tuple(found)

    @property
    def order(self) -> int:
        """The number of the next thing to happen."""
        return len(self.projected) + len(self.attended)


def is_projection(module: nn.Module) -> bool:
    """Whether a module maps its last axis by a matrix: Linear, GPT-2's Conv1D, or a quantised stand-in for them.

    A wrapper around projections, as an adapter is, is none: its parts are.
    """
    widths = (getattr(module, "in_features", None), getattr(module, "out_features", None))
    matrix = isinstance(module, (nn.Linear, Conv1D)) or all(isinstance(width, int) for width in widths)
    return matrix and not any(is_projection(child) for child in module.children())


@contextmanager
def traced(model: nn.Module, batch: Batch, at_interface: bool = True) -> Iterator[Trace]:
    """The model, run once on the batch; after the block it is exactly as it was, also where the pass fails.

    Seen at the interface, the model attends through our function and its configs say so; else it runs as it is.
    """
    seen = Trace(kinds={name: type(module).__name__ for name, module in model.named_modules()})
    seen.projecting = [
        name
        for name, module in model.named_modules()
        if next(module.children(), None) is not None
        and type(module).forward is not nn.Module.forward  # a mere container never runs
        and any(is_projection(inner) for inner in module.modules())
    ]
    names = {id(module): name for name, module in reversed(list(model.named_modules()))}
    projections = [module for module in model.modules() if is_projection(module)]
    within = {id(parameter) for module in projections for parameter in module.parameters()}
    seen.parameters = {name: parameter for name, parameter in model.named_parameters() if id(parameter) not in within}

    with preserved(model), torch.enable_grad():
        model.eval()
        for parameter in seen.parameters.values():
            if parameter.is_floating_point():
                parameter.requires_grad_()
                if (
                    parameter.numel() <= SMALL and type(parameter.data) is Tensor
                ):  # position biases, norms, gates: not the embeddings
                    parameter.data = parameter.data + torch.randn_like(parameter.data) * 0.1
        with ExitStack() as hooks:
            watch = hooks.enter_context(_Watch(seen, _batch_size(batch)))
            for module, name in {module: names[id(module)] for module in model.modules()}.items():
                watch.follow(module, name, hooks)
            for module in projections:
                # First of the module's hooks: what others do to its output belongs to the way from it, not to it.
                cut = module.register_forward_hook(_cut(seen, names[id(module)]), prepend=True, with_kwargs=True)
                hooks.callback(cut.remove)
            modules = model.modules() if at_interface else ()
            taps = dict.fromkeys(modules, _at_interface(seen, names))
            hooks.enter_context(tapped(taps, model, base=differentiable(model)))
            hooks.enter_context(torch.compiler.set_stance("force_eager"))
            seen.results = list(_tensors(model(**batch)))
        yield seen


def differentiable(model: nn.Module) -> str | None:
    """The attention to run where the model's own may have no gradients, or not on every device and dtype."""
    models = [module for module in model.modules() if isinstance(module, PreTrainedModel)]
    named = (str(each.config._attn_implementation or "eager").removeprefix(OPERATED) for each in models)
    if all(name in ("eager", "sdpa") for name in named):
        return None
    return "sdpa" if all(each._supports_sdpa for each in models) else "eager"


def _cut(seen: Trace, name: str) -> Callable[..., Any]:
    """A hook that ends graphs at a projection's output."""

    def hook(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], wrote: Any) -> Any:
        if not isinstance(wrote, Tensor) or not wrote.is_floating_point():
            return None
        # Noise in its place: real values may be clipped, dead or 0, and hide what depends on what.
        leaf = (torch.randn_like(wrote) * NOISE).detach().requires_grad_()
        read = arguments[0] if arguments else next(iter(keywords.values()))
        seen.projected.append(Projected(seen.order, name, module, read, leaf))
        return leaf.clone()  # not the leaf itself, which must not be written into

    return hook


def _at_interface(seen: Trace, names: dict[int, str]) -> Callable[[Call], Tensor | None]:
    def tap(call: Call) -> Tensor | None:
        name = names[id(call.module)]
        if not call.output.requires_grad:
            seen.ungraded.add(name)
            return None  # a pass within the pass that keeps no graph, as of models that iterate
        leaf = call.output.detach().requires_grad_()
        seen.attended.append(Attended(seen.order, name, 2, call.output, leaf, call.query, call.key, call.value))
        return leaf.clone()

    return tap


class _Watch(TorchFunctionMode):
    """Sees attention that modules compute by themselves, past the interface: by its softmax, or torch's own function."""

    def __init__(self, seen: Trace, batch: int) -> None:
        super().__init__()
        self._seen, self._batch = seen, batch
        self._running: list[str] = []

    def follow(self, module: nn.Module, name: str, hooks: ExitStack) -> None:
        """Know when this module runs, if it has parts: then what happens in its own code is its doing."""
        if next(module.children(), None) is None:
            return
        enter = module.register_forward_pre_hook(lambda *_: self._enter(name))
        leave = module.register_forward_hook(lambda *_: self._running.pop() and None, always_call=True)
        hooks.callback(enter.remove)
        hooks.callback(leave.remove)

    def _enter(self, name: str) -> None:
        self._running.append(name)
        self._seen.ran.add(name)

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        result = func(*args, **options)
        if func is torch.nn.functional.multi_head_attention_forward:
            heads: Any = options.get("num_heads", args[4] if len(args) > 4 else 0)
            hidden = Attended(self._seen.order, self._running[-1], 1, result[0], result[0], hidden_heads=int(heads))
            self._seen.attended.append(hidden)
            return result
        if func not in _ATTENDS or not result.requires_grad or not self._running or is_attending():
            return result
        if func is torch.nn.functional.scaled_dot_product_attention and result.dim() != 4:
            self._seen.attended.append(
                Attended(self._seen.order, self._running[-1], 1, result, result, hidden_heads=result.shape[1])
            )
            return result
        if func is torch.nn.functional.scaled_dot_product_attention:
            named = dict(zip(("query", "key", "value"), args, strict=False)) | options
            return self._noted(result, result, axis=1, query=named["query"], key=named["key"], value=named["value"])
        axis = args[1] if len(args) > 1 else options.get("dim")
        if result.dim() < 3 or axis not in (-1, result.dim() - 1):
            return result
        return self._noted(result, self._by_head(result), scores=self._by_head(args[0] if args else options["input"]))

    def _by_head(self, scores: Tensor) -> Tensor:
        """Scores as (batch, heads, queries, keys), where batch and heads may have been one axis."""
        if scores.dim() > 3 or scores.shape[0] % self._batch:
            return scores
        return scores.reshape(self._batch, -1, *scores.shape[1:])

    def _noted(self, result: Tensor, by_head: Tensor, axis: int | None = None, **parts: Any) -> Tensor:
        leaf = by_head.detach().requires_grad_()
        self._seen.attended.append(Attended(self._seen.order, self._running[-1], axis, by_head, leaf, **parts))
        return leaf.clone().view_as(result)


_ATTENDS = {
    torch.softmax,
    torch.special.softmax,
    Tensor.softmax,
    torch.nn.functional.softmax,
    torch.nn.functional.scaled_dot_product_attention,
}


def _batch_size(batch: Batch) -> int:
    return next((value.shape[0] for value in batch.values() if isinstance(value, Tensor) and value.dim()), 1)


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Whatever happens inside, the model comes out as it went in: attributes, modes, gradients wanted, buffers, generators."""
    attributes = {module: dict(vars(module)) for module in model.modules()}
    registries = {module: _registries(module) for module in model.modules()}
    wanted = {parameter: (parameter.requires_grad, parameter.data) for parameter in model.parameters()}
    contents = {buffer: buffer.detach().clone() for buffer in model.buffers()}
    gpus = {parameter.device.index or 0 for parameter in model.parameters() if parameter.device.type == "cuda"}
    try:
        with torch.random.fork_rng(devices=gpus):
            torch.manual_seed(0)
            yield
    finally:
        for parameter, (requires, content) in wanted.items():
            parameter.requires_grad_(requires)
            if parameter.data_ptr() != content.data_ptr():
                parameter.data = content
        for module, before in attributes.items():
            vars(module).clear()
            vars(module).update(before)
            for registry, content in registries[module]:
                registry.clear()
                registry.update(content)
        with torch.no_grad():
            for buffer, content in contents.items():
                if not torch.equal(buffer, content):
                    buffer.copy_(content)


def _registries(module: nn.Module) -> list[tuple[dict[Any, Any], dict[Any, Any]]]:
    """A module's dicts (buffers, hooks, and whatever a library keeps there), each with a copy of its content.

    Not its parameters: who shards them swaps them in a pass, and keeps account of it elsewhere.
    """
    kept = (value for name, value in vars(module).items() if isinstance(value, dict) and name != "_parameters")
    return [(value, dict(value)) for value in kept]


def _tensors(output: Any) -> Iterator[Tensor]:
    """Every floating tensor in a model's output that gradients can flow back from."""
    if isinstance(output, Tensor):
        if output.requires_grad:
            yield output
    elif isinstance(output, dict):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, (tuple, list)):
        for value in output:
            yield from _tensors(value)
