"""What a surgeon takes on: a model that can be operated on, an anatomy that is its own, heads and optimizers that are such."""

from collections.abc import Iterable, Mapping
from operator import index
from typing import Any, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from neural_plasticity.anatomy.past import past_of
from neural_plasticity.anatomy.sites import Anatomy, Site
from neural_plasticity.anatomy.taps import original
from neural_plasticity.errors import NotDissectable, SettingNotUsable, SurgeryError
from neural_plasticity.heads import HeadId
from neural_plasticity.surgery.counts import is_counted_anew
from neural_plasticity.surgery.emptied import is_empty


def admitted(model: Any) -> nn.Module:
    """The model to operate on, out of what `torch.compile` put around it; a refusal of what keeps account of its weights."""
    if not isinstance(model, nn.Module):
        raise NotDissectable(f"A {type(model).__name__} is no model; pass a torch module, or use load_model to get one by name.")
    root = original(model)
    kind = type(root).__name__
    if root is not model and type(model).__name__ != "OptimizedModule":
        raise SurgeryError(
            f"The model is wrapped in {type(model).__name__}, which keeps account of its weights; operate before wrapping it."
        )
    if not any(True for _ in root.parameters()):
        raise NotDissectable(f"{kind} has no weights, so it has no heads either; pass the model that computes.")
    _require_loaded(root)
    if past_of(root) is None:
        _require_untouched(root)
    return root


def _require_loaded(root: nn.Module) -> None:
    if any(weight.is_meta for weight in root.parameters()):
        raise SurgeryError(
            f"{type(root).__name__} has weights on the meta device, not loaded or offloaded to memory or disk; load it without "
            "offloading."
        )


def _require_untouched(root: nn.Module) -> None:
    """A refusal of a model that was operated on as another: by other names, and with the past out of reach."""
    kind = type(root).__name__
    for name, module in root.named_modules():
        if past_of(module) is not None:
            raise SurgeryError(
                f"{kind} holds a model that was operated on ({name}), and whose heads go by its own names; pass "
                "that one, or wake its heads first."
            )
        if is_counted_anew(module) or is_empty(module):
            raise SurgeryError(
                f"{kind} was operated on as part of another model, which remembers what {name} lost; wake its heads there first, "
                "and put them to sleep again here."
            )


def batch_of(example: Any) -> dict[str, Any]:
    """An example as the keywords of a model."""
    if not isinstance(example, Mapping):
        raise SettingNotUsable(f"A {type(example).__name__} is no example; pass a dict of what the model takes as keywords.")
    return dict(cast("Mapping[str, Any]", example))


def require_fitting(root: nn.Module, anatomy: Anatomy) -> None:
    """A refusal of an anatomy that is not, or not any more, that of the model, and of weights that are not there any more."""
    _require_loaded(root)
    named = {name for name, _ in root.named_modules()}
    for site in anatomy:
        for name in (site.name, *(each.module for each in site.slices)):
            if name not in named:
                raise SurgeryError(
                    f"This {type(root).__name__} lacks {name}, which its anatomy names; pass an anatomy of its own, "
                    "and wake all heads before parts of it are merged or replaced."
                )


def heads_named(heads: Any) -> list[HeadId]:
    """The heads that a plan, pairs, or a table of two columns name: each once, in order."""
    named = getattr(heads, "heads", heads)
    try:
        if isinstance(named, str):  # also one that names nothing, and would pass for no heads
            raise TypeError("no pairs of whole numbers")
        listed = cast("Iterable[Any]", named.tolist() if hasattr(named, "tolist") else named)
        return sorted({_head(each) for each in listed})
    except (TypeError, ValueError) as fault:
        raise SettingNotUsable(
            f"heads={' '.join(repr(heads).split())[:80]} names no heads; pass a plan, or pairs (layer, head) of whole numbers."
        ) from fault


def _head(pair: Any) -> HeadId:
    layer, head = pair
    if isinstance(pair, str) or isinstance(layer, bool) or isinstance(head, bool):
        raise TypeError("no pair of whole numbers")
    return HeadId(index(layer), index(head))


def length_of(tokens: Any) -> int:
    """A number of tokens, of which a text has at least one."""
    try:
        length = 0 if isinstance(tokens, bool) else index(tokens)
    except TypeError:
        length = 0
    if length < 1:
        raise SettingNotUsable(f"tokens={repr(tokens)[:40]} is no length of a text for the report; pass a whole number from 1.")
    return length


def optimizers_of(root: nn.Module, given: Iterable[Any]) -> list[Optimizer]:
    """The optimizers themselves, out of what accelerate put around them, if they are some and train this model."""
    own = set(root.parameters())
    found: list[Optimizer] = []
    for each in given:
        optimizer = getattr(each, "optimizer", each)
        if not isinstance(optimizer, Optimizer):
            raise SettingNotUsable(f"A {type(each).__name__} is no optimizer; pass one or more of torch, each as an argument.")
        if not any(weight in own for group in optimizer.param_groups for weight in group["params"]):
            raise SettingNotUsable(
                f"The {type(optimizer).__name__} holds no weight of this {type(root).__name__}; make it from model.parameters()."
            )
        found.append(optimizer)
    return found


def unwritable(root: nn.Module, site: Site) -> str:
    """Why columns of the output projection cannot be written over, if so."""
    for each in site.of_role("o"):
        weight: Any = getattr(root.get_submodule(each.module), "weight", None)
        if not isinstance(weight, nn.Parameter) or not weight.is_floating_point() or type(weight.data) is not Tensor:
            return (
                f"{each.module} holds quantised, sharded or derived weights, which cannot be written over; use mode='mask_forward'."
            )
    return ""


def merged(root: nn.Module, site: Site) -> str:
    """Why weights cannot go to the bank and back while adapters are merged into them: they would come back as without, if so."""
    for each in site.slices:
        holder = each.module.rpartition(".")[0]
        if getattr(root.get_submodule(holder), "merged", False) is True:
            return f"{holder} has adapters merged into its weights, which the bank cannot tell apart; unmerge them first."
    return ""
