"""The untouched model of a manifest, built again by its class: parameters without memory, to be filled with what was saved."""

import inspect
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, cast

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from neural_plasticity.errors import ModelNotUsable, SurgeryError
from neural_plasticity.surgery.body import Body
from neural_plasticity.surgery.cut import Weights
from neural_plasticity.surgery.manifest import MISREAD, config_from, past_from

UNBUILT = (*MISREAD, ImportError, RuntimeError, StrictDataclassError)  # what a class raises where it does not build a model
_DIFFERING = 3  # switches that are tried at once

Shapes = dict[str, torch.Size]


def built(manifest: Mapping[str, Any]) -> nn.Module:
    """The untouched model of a config, its parameters without memory of their own."""
    kind, switches = _class_of(manifest), manifest.get("switches", {})
    if not isinstance(switches, dict) or not switches.items() <= {(name, not usual) for name, usual in _switches(kind).items()}:
        raise ValueError(f"switches {switches!r:.80}")
    with torch.random.fork_rng(devices=[]), no_init_weights():
        model = cast("nn.Module", kind._from_config(config_from(manifest, cast("Any", kind.config_class)), **switches))
    empty: dict[nn.Parameter, nn.Parameter] = {}
    for module in model.modules():
        for leaf, parameter in module._parameters.items():
            if parameter is not None:
                fresh = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=parameter.requires_grad)
                module._parameters[leaf] = empty.setdefault(parameter, fresh)
    return model


def switches_for(manifest: Mapping[str, Any], entries: Mapping[str, Tensor]) -> dict[str, bool]:
    """The switches of its constructor that a model was built with, as the one for a pooler: no config says them.

    They are found by building it anew until it has all these entries and no others; a refusal where it never has.
    """
    wanted = {name: tensor.shape for name, tensor in entries.items()}
    seen: Shapes | None = None
    for switches in _settings(_switches(_class_of(manifest))):
        try:
            found = _shapes(dict(manifest) | {"switches": switches})
        except UNBUILT:
            continue
        if found == wanted:
            return switches
        seen = found if seen is None else seen
    other = sorted(name for name in {*wanted, *(seen or {})} if wanted.get(name) != (seen or {}).get(name))
    raise SurgeryError(
        f"{manifest['class']} cannot be built again from its config, which leaves {', '.join(other[:3])} otherwise, so nobody "
        "could open what is saved; save model.state_dict() yourself."
    )


def _shapes(manifest: Mapping[str, Any]) -> Shapes:
    """The entries of the operated model that a manifest would build."""
    past = past_from(manifest)
    with torch.device("meta"):
        model = built(manifest)
        for axis, places in past.kept.items():
            Weights(model).refit(axis, None, places)
        Body(model, past).settle()
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


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
