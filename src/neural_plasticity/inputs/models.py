"""Models and tokenizers by name: `tiny`, a local folder, or the hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForSpeechSeq2Seq,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging
from transformers.utils.hub import has_file

from neural_plasticity.environment.devices import choose_device, choose_dtype
from neural_plasticity.errors import ModelNotUsable, said
from neural_plasticity.inputs.tiny import FOLDER as TINY

# In this order: a config that fits several is opened as the first, unless the checkpoint names its class.
_AUTO_CLASSES: tuple[Any, ...] = (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForMaskedLM,
    AutoModelForSpeechSeq2Seq,
    AutoModelForImageClassification,
    AutoModelForAudioClassification,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoModel,
)


# What transformers raises on checkpoints that are absent, cut short, of another shape or not checkpoints at all.
_UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, SafetensorError, StrictDataclassError)

_TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model")


class Loaded(NamedTuple):
    """A model ready to run, in evaluation mode, and its tokenizer where it has one."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None


def load_model(name: str, device: str | None = None, dtype: str | None = None) -> Loaded:
    """The model and tokenizer of this name, on the chosen device; automatic where none is given."""
    place = choose_device(device)
    source = _source(name)
    config = load_config(name)
    try:
        with _only_errors_logged():  # what is missing or misshapen is said below, in one sentence
            model, report = _auto_class(config).from_pretrained(source, dtype=choose_dtype(place, dtype), output_loading_info=True)
    except _UNREADABLE as fault:
        raise _not_loaded(name, fault) from fault
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelNotUsable(
            f"The model {name!r} lacks {len(missing)} of its weights ({', '.join(missing[:3])}, …), which would be random; "
            "name a complete checkpoint."
        )
    return Loaded(model.to(place).eval(), _tokenizer(source))


def load_config(name: str) -> PreTrainedConfig:
    """The config of a model, without its weights."""
    try:
        return AutoConfig.from_pretrained(_source(name))
    except _UNREADABLE as fault:
        raise _not_loaded(name, fault) from fault


@contextmanager
def _only_errors_logged() -> Iterator[None]:
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _source(name: str) -> str | Path:
    if name == "tiny":
        return TINY
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").exists():
            seen = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
            raise ModelNotUsable(f"The folder {name} holds no model: no config.json, but {seen}; name a checkpoint folder.")
        return path
    if path.is_file() or name.startswith((".", "~", "/")) or name.count("/") > 1:
        seen = "is a file" if path.is_file() else "does not exist"
        raise ModelNotUsable(f"The model {name!r} {seen}; name a checkpoint folder, a model of the hub, or 'tiny'.")
    return name


def _auto_class(config: PreTrainedConfig) -> Any:
    """The auto class that opens the checkpoint as the class it was saved from."""
    saved_as = (config.architectures or [None])[0]
    fitting = [auto for auto in _AUTO_CLASSES if type(config) in auto._model_mapping]
    for auto in fitting:
        if auto._model_mapping[type(config)].__name__ == saved_as:
            return auto
    if not fitting:
        raise ModelNotUsable(
            f"No auto class of transformers opens a {type(config).__name__}; load the model yourself and pass it on."
        )
    return fitting[0]


def _tokenizer(source: str | Path) -> PreTrainedTokenizerBase | None:
    """The tokenizer, or None for a model that has none, as for images; who needs one says so."""
    if not any(has_file(source, file) for file in _TOKENIZER_FILES):
        return None  # without this question transformers makes up an empty tokenizer
    tokenizer = AutoTokenizer.from_pretrained(source)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _not_loaded(name: str, fault: Exception) -> ModelNotUsable:
    if "ignore_mismatched_sizes" in str(fault):
        return ModelNotUsable(f"The weights of the model {name!r} have other shapes than its config says; name a sound checkpoint.")
    return ModelNotUsable(
        f"The model {name!r} cannot be loaded ({said(fault)}); check the name or folder, and the connection to the hub."
    )
