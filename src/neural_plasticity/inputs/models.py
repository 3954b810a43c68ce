"""Models and tokenizers by name: `tiny`, a local folder, or the hub."""

import logging as stdlib_logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
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

# Tried in this order, for checkpoints that do not name the class they were saved from.
_AUTO_CLASSES: tuple[Any, ...] = (AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForMaskedLM, AutoModel)

_log = stdlib_logging.getLogger(__name__)

# What transformers raises on checkpoints that are absent, cut short, of another shape or not checkpoints at all.
_UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError),
    *(SafetensorError, StrictDataclassError),
)

_TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model")


class Loaded(NamedTuple):
    """A model ready to run, in evaluation mode, and its tokenizer where it has one."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None


def load_model(name: str, device: str | None = None, dtype: str | None = None) -> Loaded:
    """The model and tokenizer of this name, on the chosen device; automatic where none is given."""
    place = choose_device(device)
    source = _source(name)
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        with _only_errors_logged():  # what is missing or misshapen is said below, in one sentence
            model, report = _class_for(config).from_pretrained(
                source,
                dtype=choose_dtype(place, dtype),
                output_loading_info=True,
                use_safetensors=True,  # a pickle would run its code
                trust_remote_code=False,
            )
        tokenizer = load_tokenizer(source)
    except _UNREADABLE as fault:
        raise _not_loaded(name, fault) from fault
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelNotUsable(
            f"The model {name!r} lacks {len(missing)} of its weights ({', '.join(missing[:3])}, …), which would be random; "
            "name a complete checkpoint."
        )
    if report["unexpected_keys"]:
        unused = sorted(report["unexpected_keys"])
        _log.warning("%s: %d weights of the checkpoint are not used (%s, …)", name, len(unused), unused[0])
    return Loaded(model.to(place).eval(), tokenizer)


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
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            if not (path / "config.json").exists():
                seen = ", ".join(sorted(entry.name for entry in path.iterdir())[:5]) or "nothing"
                raise ModelNotUsable(f"The folder {name} holds no model: no config.json, but {seen}; name a checkpoint folder.")
            return path
        if path.is_file() or name.startswith((".", "~", "/")) or name.count("/") > 1 or not name:
            seen = "is a file" if path.is_file() else "does not exist"
            raise ModelNotUsable(f"The model {name!r} {seen}; name a checkpoint folder, a model of the hub, or 'tiny'.")
    except (OSError, RuntimeError, ValueError) as fault:  # names too long, of no user, or with a zero byte
        raise ModelNotUsable(f"The model {name[:80]!r} cannot be looked up ({said(fault)}); check its name.") from fault
    return name


def _class_for(config: PreTrainedConfig) -> Any:
    """The class that the checkpoint was saved from, else the first auto class that knows the config."""
    saved_as = getattr(transformers, (config.architectures or [""])[0], None)
    if isinstance(saved_as, type) and issubclass(saved_as, PreTrainedModel) and saved_as.config_class is type(config):
        return saved_as
    fitting = next((auto for auto in _AUTO_CLASSES if type(config) in auto._model_mapping), None)
    if fitting is None:
        raise ModelNotUsable(
            f"No auto class of transformers opens a {type(config).__name__}; load the model yourself and pass it on."
        )
    return fitting


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase | None:
    """The tokenizer, or None for a model that has none, as for images; who needs one says so."""
    if not any(has_file(source, file) for file in _TOKENIZER_FILES):
        return None  # without this question transformers makes up an empty tokenizer
    with _only_errors_logged():  # a config that is not transformers' own says nothing of the tokenizer beside it
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _not_loaded(name: str, fault: Exception) -> ModelNotUsable:
    if "ignore_mismatched_sizes" in str(fault):
        return ModelNotUsable(f"The weights of the model {name!r} have other shapes than its config says; name a sound checkpoint.")
    if "model type `neural_plasticity`" in str(fault):
        return ModelNotUsable(f"{name} holds a model whose heads were operated on; open it by neural_plasticity.load.")
    return ModelNotUsable(
        f"The model {name!r} cannot be loaded ({said(fault)}); check the name or folder, and the connection to the hub."
    )
