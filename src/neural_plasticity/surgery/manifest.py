"""`plasticity.json`, the manifest of a saved model: what it was, what was done to it, and which files hold its weights."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers import PreTrainedConfig

from neural_plasticity.anatomy.bank import Part
from neural_plasticity.anatomy.past import Past
from neural_plasticity.anatomy.sites import Anatomy, _indices, ranges
from neural_plasticity.anatomy.taps import OPERATED
from neural_plasticity.errors import ModelNotUsable, said
from neural_plasticity.heads import HeadId
from neural_plasticity.surgery.counts import underlying
from neural_plasticity.surgery.modes import PruningMode

MANIFEST = "plasticity.json"
SCHEMA = 1
MOST_PLACES = 50_000_000  # rows and columns of heads; a model of 70 billion parameters has a tenth of that
OURS = re.compile(r"(?:weights|buffers|bank)-[0-9a-f]{32}\.safetensors")

# What a manifest that was cut short or written over by somebody else raises where it is understood.
MISREAD = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)

ATTENTION = "_attn_implementation_internal"
_EXPERTS = "_experts_implementation_internal"
_EVERYWHERE = ("eager", "sdpa", "flex_attention")  # what every installation has; another is left to the model's own choice
_AWAY = (PruningMode.REMOVE, PruningMode.ZERO_WEIGHTS)  # modes whose heads come back from the bank alone


def described(model: nn.Module, past: Past, banked: bool) -> dict[str, Any]:
    """All that a manifest says but the files."""
    config = underlying(cast("PreTrainedConfig", model.config))
    generation = getattr(model, "generation_config", None)
    lost = set() if banked else {head for head, mode in past.modes.items() if mode in _AWAY}
    return {
        "schema": SCHEMA,
        "class": type(model).__name__,
        "config": json.loads(config.to_json_string(use_diff=False)),
        "implementations": {path: _implementations(each) for path, each in towers(config)},
        "generation": json.loads(generation.to_json_string()) if generation is not None else None,
        "anatomy": past.anatomy.as_dict(),
        "modes": {
            mode: _listed(head for head, how in past.modes.items() if how == mode) for mode in sorted(set(past.modes.values()))
        },
        "forgotten": _listed(past.forgotten | lost),
        "woken": _listed(past.woken),
        "counted": past.counted,
        "frozen": sorted(name for name, each in model.named_parameters() if each.is_floating_point() and not each.requires_grad),
        "forms": sorted(past.forms.items()),
        "kept": [{"parameter": name, "axis": axis, "places": ranges(places)} for (name, axis), places in past.kept.items()],
        "bank": [
            {"parameter": part.parameter, "axis": part.axis, "indices": ranges(part.indices)}
            for part in (past.bank if banked else ())
        ],
    }


def past_from(manifest: Mapping[str, Any]) -> Past:
    """The past that a manifest tells of, its bank's pieces still empty."""
    _require_small([manifest[part] for part in ("anatomy", "kept", "bank")])
    past = Past(Anatomy.from_dict(manifest["anatomy"]))
    if any(site.heads != len(site.groups) for site in past.anatomy):
        raise ValueError("heads without groups")
    known = set(past.anatomy.heads)
    past.modes = {head: PruningMode(mode).value for mode, heads in manifest["modes"].items() for head in _heads(heads)}
    past.forgotten, past.woken = set(_heads(manifest["forgotten"])), set(_heads(manifest["woken"]))
    if not known >= past.modes.keys() | past.woken or not past.modes.keys() >= past.forgotten:
        raise ValueError("heads that are not in the anatomy")
    past.counted = manifest["counted"] is True
    past.forms = {int(layer): int(form) for layer, form in manifest["forms"]}
    past.kept = {(each["parameter"], each["axis"]): _indices(each["places"]) for each in manifest["kept"]}
    past.bank = {Part(each["parameter"], each["axis"], _indices(each["indices"])): {} for each in manifest["bank"]}
    return past


def _require_small(parts: Any) -> None:
    """Ranges are short to write and long to hold: a refusal before they are spelled out."""
    spans = re.findall(r"(\d+):(\d+)", json.dumps(parts))
    if sum(max(0, int(stop) - int(start)) for start, stop in spans) > MOST_PLACES:
        raise ValueError("more places than any model has")


def config_from(manifest: Mapping[str, Any], kind: type[PreTrainedConfig]) -> PreTrainedConfig:
    """The config of the untouched model, with the implementations of attention that it named."""
    config = kind.from_dict(kind._decode_special_floats(manifest["config"]))
    for path, each in towers(config):
        for name, implementation in manifest["implementations"].get(path, {}).items():
            if name == _EXPERTS or implementation in _EVERYWHERE:
                setattr(each, name, implementation)
    return config


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder; refuses what is not a saved model, or was saved by a newer version."""
    path = folder / MANIFEST
    try:
        if not folder.is_dir():
            seen = "is a file" if folder.exists() else "does not exist"
            raise ModelNotUsable(f"{folder} {seen}, so there is no model to open; name a folder that a surgeon saved to.")
        if not path.exists():
            raise _nothing_of_ours(folder)
        content: Any = json.loads(path.read_bytes())
    except OSError as fault:
        raise ModelNotUsable(f"{folder} cannot be opened ({said(fault)}); check the path and its permissions.") from fault
    except (ValueError, RecursionError) as fault:
        raise misread(folder, fault) from fault
    schema = cast("dict[str, Any]", content).get("schema") if isinstance(content, dict) else None
    if not isinstance(schema, int) or isinstance(schema, bool):
        raise misread(folder, ValueError("no schema"))
    if schema > SCHEMA:
        raise ModelNotUsable(
            f"{folder} was saved in schema {schema} and this version reads up to {SCHEMA}; "
            "run: pip install --upgrade neural-plasticity"
        )
    return cast("dict[str, Any]", content)


def misread(folder: Path, fault: Exception) -> ModelNotUsable:
    """The refusal of a manifest that does not say what one must."""
    return ModelNotUsable(
        f"{folder / MANIFEST} cannot be understood ({said(fault)}); restore it from a copy, or save the model anew."
    )


def _nothing_of_ours(folder: Path) -> ModelNotUsable:
    if (folder / "config.json").exists():
        return ModelNotUsable(
            f"{folder} holds a plain checkpoint, without {MANIFEST}; open it by neural_plasticity.load_model or from_pretrained."
        )
    seen = ", ".join(sorted(entry.name for entry in folder.iterdir())[:5]) or "nothing"
    return ModelNotUsable(f"{folder} holds no saved model: no {MANIFEST}, but {seen}; name a folder that a surgeon saved to.")


def towers(config: PreTrainedConfig, path: str = "") -> Iterator[tuple[str, PreTrainedConfig]]:
    """A config and those inside it, by their paths."""
    yield path, config
    for name in config.sub_configs:
        inner = getattr(config, name, None)
        if isinstance(inner, PreTrainedConfig):
            yield from towers(inner, f"{path}.{name}" if path else name)


def _implementations(config: PreTrainedConfig) -> dict[str, str]:
    found = {name: getattr(config, name, None) for name in (ATTENTION, _EXPERTS)}
    return {name: str(value).removeprefix(OPERATED) for name, value in found.items() if value}


def _listed(heads: Any) -> list[list[int]]:
    return [list(head) for head in sorted(heads)]


def _heads(listed: Any) -> list[HeadId]:
    return [HeadId(int(layer), int(head)) for layer, head in listed]
