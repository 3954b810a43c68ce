"""Head counts as a module's own code reads them: attributes of it, and of its config through a view that overrides only those."""

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from neural_plasticity.anatomy.sites import Site

# One count as (where, name, of what): an attribute of the module or of its config, which holds the number of
# query heads, of key-value heads, of query heads to a key-value head, or a width that is a multiple of one of them.
Count = tuple[str, str, str]

WIDTHS = ("dim", "size", "width", "rank")


def counts_of(module: nn.Module, site: Site) -> tuple[Count, ...]:
    """Every attribute of an attention module, and of its config, that counts the site's heads."""
    found = [("module", name, what) for name, value in vars(module).items() if (what := _counted(name, value, site))]
    found += [
        ("module", name, what)
        for name, value in vars(module).items()
        if type(value) is int and ("module", name) not in {each[:2] for each in found} and (what := _width(name, value, site))
    ]
    config = vars(module).get("config")
    if isinstance(config, PreTrainedConfig):
        held = vars(underlying(config))
        named = {alias: held.get(name) for alias, name in type(config).attribute_map.items()} | held
        found += [("config", name, what) for name, value in named.items() if (what := _counted(name, value, site))]
    return tuple(found)


def _counted(name: str, value: Any, site: Site) -> str:
    """What an attribute counts, by its name and value: names alone may be of another tower, values alone a coincidence."""
    low = name.lower()
    if type(value) is not int or ("head" not in low and "group" not in low) or any(word in low for word in WIDTHS):
        return ""
    shared = any(word in low for word in ("kv", "key", "value"))
    if "group" in low:
        return "ratio" if value * site.kv_heads == site.heads and (shared or "query" in low) else ""
    if shared:
        return "kv_heads" if value == site.kv_heads else ""
    return "heads" if value == site.heads else ""


def _width(name: str, value: int, site: Site) -> str:
    """What a width is a multiple of; the width of the model itself is none, though it may be as large."""
    low = name.lower()
    if low in ("hidden_size", "layer_idx", "d_model", "n_embd") or value <= site.heads:
        return ""
    shared = low.startswith(("k", "v")) or "kv" in low
    if shared and value == site.kv_heads * site.head_dim:
        return "kv_heads"
    return "heads" if value in (site.heads * site.head_dim, site.heads * site.value_dim) else ""


def set_counts(module: nn.Module, counts: tuple[Count, ...], site: Site, heads: int, kv_heads: int, ratio: int) -> None:
    """Let the module's own code read these numbers of heads; what it read before is known by the site."""
    new = {"heads": heads, "kv_heads": kv_heads, "ratio": ratio}
    old = {"heads": site.heads, "kv_heads": site.kv_heads, "ratio": site.heads // site.kv_heads}
    overrides: dict[str, int] = {}
    for where, name, what in counts:
        if where == "config":
            overrides[name] = new[what]
        else:
            width = _original(module, name) // old[what]
            setattr(module, name, new[what] * width)
    config = vars(module).get("config")
    if overrides and isinstance(config, PreTrainedConfig):
        base = underlying(config)
        changed = new != old
        vars(module)["config"] = view_of(base, overrides) if changed else base


_ORIGINALS = "_plasticity_counts"


def _original(module: nn.Module, name: str) -> int:
    """What an attribute held before anything was changed."""
    kept: dict[str, int] = module.__dict__.setdefault(_ORIGINALS, {})
    return kept.setdefault(name, getattr(module, name))


def is_counted_anew(module: nn.Module) -> bool:
    """Whether a module reads other numbers of heads than it was built with."""
    return _ORIGINALS in module.__dict__


def clear_originals(module: nn.Module) -> None:
    """Forget what attributes held, once they hold it again."""
    module.__dict__.pop(_ORIGINALS, None)


def underlying(config: PreTrainedConfig) -> PreTrainedConfig:
    """The config behind a view, or the config itself."""
    return getattr(config, "_plasticity_base", config)


def view_of(base: PreTrainedConfig, overrides: Mapping[str, int]) -> PreTrainedConfig:
    """A config that answers for the heads of one module and else is the base itself, now and after every change to it."""
    view = object.__new__(_view_class(type(base)))
    object.__setattr__(view, "_plasticity_base", base)
    object.__setattr__(view, "_plasticity_overrides", dict(overrides))
    return view


_VIEWS_OWN = frozenset(
    ("_plasticity_base", "_plasticity_overrides", "__class__", "__dict__", "__deepcopy__", "__reduce__", "__reduce_ex__")
)


@cache
def _view_class(kind: type[PreTrainedConfig]) -> Any:
    class View(kind):  # type: ignore[misc,valid-type]
        def __init_subclass__(cls, **options: Any) -> None:
            object.__init_subclass__(**options)

        def __getattribute__(self, name: str) -> Any:
            whole = super().__getattribute__  # not that of object, which torch.compile cannot follow
            if name in _VIEWS_OWN:
                return whole(name)
            overrides = whole("_plasticity_overrides")
            return overrides[name] if name in overrides else getattr(whole("_plasticity_base"), name)

        def __setattr__(self, name: str, value: Any) -> None:
            setattr(underlying(self), name, value)

        def __deepcopy__(self, memo: dict[int, Any]) -> Any:
            return view_of(
                copy.deepcopy(underlying(self), memo), object.__getattribute__(self, "__dict__")["_plasticity_overrides"]
            )

        def __reduce__(self) -> Any:
            return view_of, (underlying(self), object.__getattribute__(self, "__dict__")["_plasticity_overrides"])

    View.__name__ = kind.__name__
    View.__qualname__ = kind.__qualname__
    return View
