"""The untouched model of a manifest, built again by its class: parameters without memory, to be filled with what was saved."""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any, cast

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from neural_plasticity.anatomy.past import Past
from neural_plasticity.errors import ModelNotUsable, SurgeryError, said
from neural_plasticity.surgery.gating import GATE
from neural_plasticity.surgery.manifest import MISREAD, config_from
from neural_plasticity.surgery.modes import PruningMode

# What a class raises where it does not build a model.
UNBUILT = (*MISREAD, ImportError, OSError, RuntimeError, AssertionError, StrictDataclassError)
_DIFFERING = 3  # switches that are tried at once

Shapes = dict[str, torch.Size]


def built(manifest: Mapping[str, Any]) -> nn.Module:
    """The untouched model of a config, its parameters without memory of their own."""
    kind, switches = _class_of(manifest), manifest.get("switches", {})
    if not isinstance(switches, dict) or not switches.items() <= {(name, not usual) for name, usual in _switches(kind).items()}:
        raise ValueError(f"switches {switches!r:.80}")
    with torch.random.fork_rng(devices=[]), no_init_weights():
        model = constructed(kind, config_from(manifest, cast("Any", kind.config_class)), switches)
    empty: dict[nn.Parameter, nn.Parameter] = {}
    for module in model.modules():
        for leaf, parameter in module._parameters.items():
            if parameter is not None:
                fresh = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad)
                module._parameters[leaf] = empty.setdefault(parameter, fresh)
    return model


def constructed(kind: type[PreTrainedModel], config: PreTrainedConfig, switches: Mapping[str, bool]) -> nn.Module:
    """What a class makes of a config, which stays as it is; whatever of `UNBUILT` it raises instead."""
    return cast("nn.Module", kind._from_config(copy.deepcopy(config), **switches))


def switches_for(
    model: nn.Module, config: PreTrainedConfig, past: Past | None, refused: Callable[[str], SurgeryError]
) -> dict[str, bool]:
    """The switches of its constructor that a model was built with, as the one for a pooler: no config says them.

    They are found by building it anew until it has all these entries and no others; where it never has, `refused`
    makes a sentence of the reason.
    """
    kind = cast("type[PreTrainedModel]", type(model))
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    first: Exception | None = None
    odd: list[str] = []
    for switches in _settings(_switches(kind)):
        try:
            with torch.random.fork_rng(devices=[]), no_init_weights(), torch.device("meta"):
                made = constructed(kind, config, switches)
        except UNBUILT as fault:
            first = first or fault
            continue
        other = _unlike(made, past, wanted)
        if not other:
            return switches
        odd = odd or other
    why = f"which leaves {', '.join(odd[:3])} otherwise" if odd or first is None else f"where it raises {said(first)}"
    raise refused(f"cannot be built again from its config, {why}") from first


def _unlike(made: nn.Module, past: Past | None, wanted: Shapes) -> list[str]:
    """The entries in which an untouched model would differ from what is wanted, once it was cut as well."""
    others = made.state_dict().keys() ^ {name for name in wanted if not name.endswith(GATE)}
    if others:  # and what the past names may not be there to be cut
        return sorted(others)
    found = shapes_of(made, past)
    return sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))


def shapes_of(model: nn.Module, past: Past | None) -> Shapes:
    """The entries of an untouched model once it is cut and gated as its past says; nothing is touched."""
    state = cast("dict[str, Tensor]", model.state_dict(keep_vars=True))
    sizes = {id(tensor): list(tensor.shape) for tensor in state.values()}  # one for all the names of a tied weight
    gates: Shapes = {}
    if past is not None:
        for (name, axis), places in past.kept.items():
            size = sizes[id(state[name])]
            if max(places, default=-1) >= size[axis]:
                raise ValueError(f"place {max(places)} of {name}")
            size[axis] = len(places)
        gated = {head.layer for head, mode in past.modes.items() if mode == PruningMode.GATE}
        for site in (past.anatomy[layer] for layer in gated):
            gates |= {f"{each.module}.{GATE}": torch.Size([site.heads]) for each in site.of_role("o")}
    return {name: torch.Size(sizes[id(tensor)]) for name, tensor in state.items()} | gates


def _settings(usual: Mapping[str, bool]) -> Iterator[dict[str, bool]]:
    """Each way to set some switches otherwise, none of them first."""
    for count in range(min(len(usual), _DIFFERING) + 1):
        for names in combinations(usual, count):
            yield {name: not usual[name] for name in names}


def _switches(kind: type[PreTrainedModel]) -> dict[str, bool]:
    """What a constructor takes beside the config that is on or off, and how it is by itself."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    return {each.name: each.default for each in parameters if isinstance(each.default, bool)}


def _class_of(manifest: Mapping[str, Any]) -> type[PreTrainedModel]:
    kind = getattr(transformers, manifest["class"], None)
    if not isinstance(kind, type) or not issubclass(kind, PreTrainedModel) or kind.config_class is None:
        version = f"transformers {manifest['config'].get('transformers_version')}"
        raise ModelNotUsable(
            f"transformers {transformers.__version__} has no class {manifest['class']}; install {version}, which saved it."
        )
    return kind
