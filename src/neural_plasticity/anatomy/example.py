"""A tiny batch that a model accepts, derived from its signature and config."""

import inspect
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import torch
from torch import Generator, Tensor, nn
from transformers import PreTrainedConfig

from neural_plasticity.errors import NotDissectable

Batch = dict[str, Any]

BATCH = 2
WORDS = 6
DECODED_WORDS = 4  # not as many as words, so that cross attention can be told by its lengths
SAMPLES = 8000  # half a second of sound, enough for the convolutions in front of speech models

# What a forward raises when an input is missing or does not fit.
UNFIT = (TypeError, ValueError, AttributeError, RuntimeError, IndexError, KeyError, AssertionError)


def example_batches(model: nn.Module) -> Iterator[Batch]:
    """Batches that the model may accept, the smallest first: its main input, then with what else its forward names."""
    config = getattr(model, "config", None)
    if not isinstance(config, PreTrainedConfig):
        raise NotDissectable(f"{type(model).__name__} has no config to derive an input from; pass example= with a batch it takes.")
    named = inspect.signature(model.forward).parameters
    main = getattr(model, "main_input_name", "input_ids")
    makers = {name: MAKERS[name] for name in [main, *named] if name in MAKERS}
    base = [
        name for name in makers if name == main or (name == "decoder_input_ids" and getattr(config, "is_encoder_decoder", False))
    ]
    others = [name for name in makers if name not in base]
    for count in range(len(others) + 1):
        for chosen in combinations(others, count):
            batch = {name: makers[name](config) for name in (*base, *chosen)}
            yield {**batch, **({"use_cache": False} if "use_cache" in named else {})}


def on_device_of(model: nn.Module, batch: Batch) -> Batch:
    """The batch where the model's first parameter lies, floating inputs in its dtype."""
    weight = next(model.parameters(), None)
    if weight is None:
        raise NotDissectable(f"{type(model).__name__} has no parameters, so it has no heads either; pass a transformer.")

    def moved(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        dtype = weight.dtype if value.is_floating_point() and weight.is_floating_point() else value.dtype
        return value.to(weight.device, dtype, copy=value.is_inference())

    return {name: moved(value) for name, value in batch.items()}


def setting(config: PreTrainedConfig, *names: str) -> Any:
    """The first of these settings that the config, or one of its parts, has."""
    parts = [config, *(part for key in config.sub_configs if (part := getattr(config, key, None)) is not None)]
    found = (getattr(part, name, None) for part in parts for name in names)
    return next((value for value in found if value is not None), None)


def _generator() -> Generator:
    return torch.Generator().manual_seed(0)


def _ids(config: PreTrainedConfig, length: int) -> Tensor:
    """Ordinary words: no id that the config names as special, which could end or mask the text."""
    words = setting(config, "vocab_size") or 2
    special = {
        value for name, value in vars(config).items() if name.endswith(("_token_id", "_token_index")) and isinstance(value, int)
    }
    ordinary = [word for word in range(min(words, 1000)) if word not in special] or [0]
    return torch.tensor(ordinary)[torch.randint(len(ordinary), (BATCH, length), generator=_generator())]


def _noise(*shape: int) -> Tensor:
    return torch.randn(BATCH, *shape, generator=_generator())


def _pixels(config: PreTrainedConfig) -> Tensor:
    size = setting(config, "image_size") or 224
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    frames = setting(config, "num_frames")
    channels = setting(config, "num_channels") or 3
    return _noise(*((frames,) if frames else ()), channels, height, width)


def _features(config: PreTrainedConfig) -> Tensor:
    """Spectrogram frames: channels first for models that say how many positions they take, else frames first."""
    positions = setting(config, "max_source_positions")
    bins = setting(config, "num_mel_bins", "feature_projection_input_dim", "input_feat_per_channel", "feature_size") or 80
    return _noise(bins, 2 * positions) if setting(config, "num_mel_bins") and positions else _noise(64, bins)


def _sound(config: PreTrainedConfig) -> Tensor:
    bins, frames = setting(config, "num_mel_bins"), setting(config, "max_length")
    return _noise(frames, bins) if bins and frames else _noise(SAMPLES)


MAKERS: dict[str, Callable[[PreTrainedConfig], Tensor]] = {
    "input_ids": lambda config: _ids(config, WORDS),
    "decoder_input_ids": lambda config: _ids(config, DECODED_WORDS),
    "pixel_values": _pixels,
    "input_features": _features,
    "input_values": _sound,
}
