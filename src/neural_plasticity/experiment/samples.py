"""Text that a model writes: streamed as it comes, the same for the same seed."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TextStreamer

from neural_plasticity.errors import ModelNotUsable, SettingNotUsable, said
from neural_plasticity.inputs.batches import most_tokens


def write_text(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    prompt: str,
    *,
    tokens: int,
    seed: int,
    temperature: float = 0.8,
    top_p: float = 0.95,
    on_text: Callable[[str], None] | None = None,
) -> str:
    """What the model writes after the prompt; `on_text` gets it piece by piece. Temperature 0 takes the likeliest token."""
    if 0 < temperature < 0.01:
        raise SettingNotUsable(f"The temperature {temperature:g} is too small to divide by; use 0, or 0.01 and more.")
    tokenizer = require_writer(model, tokenizer)
    batch = _read_prompt(model, tokenizer, prompt, tokens)
    asked = batch["input_ids"].shape[1]
    if not tokens:
        return ""
    sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0} if temperature else {"do_sample": False}
    gpus = [model.device.index or 0] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus), torch.inference_mode():
        torch.manual_seed(seed)
        generate: Any = model.generate
        written = generate(
            **batch,
            max_new_tokens=tokens,
            streamer=_Streamer(tokenizer, on_text) if on_text else None,
            pad_token_id=tokenizer.pad_token_id,
            num_beams=1,
            **sampling,
        )
    return str(tokenizer.decode(written[0, asked:], skip_special_tokens=True))


def room_behind(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, prompt: str) -> int | None:
    """How many tokens the model has positions for after the prompt, below 0 where it is too long; None where nothing bounds it."""
    asked, room = _tokenized(model, require_writer(model, tokenizer), prompt)["input_ids"].shape[1], most_tokens(model)
    return None if room is None else room - asked


def _read_prompt(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, tokens: int) -> Any:
    batch = _tokenized(model, tokenizer, prompt)
    asked, room = batch["input_ids"].shape[1], most_tokens(model)
    if room is not None and asked + tokens > room:
        raise SettingNotUsable(
            f"The prompt has {asked} tokens and {tokens} more are asked for, but {type(model).__name__} takes {room} at most; "
            "shorten the prompt or ask for fewer."
        )
    return batch


def _tokenized(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str) -> Any:
    try:
        batch: Any = tokenizer(prompt or str(tokenizer.bos_token or ""), return_tensors="pt").to(model.device)
    except (TypeError, UnicodeEncodeError) as fault:
        raise SettingNotUsable(f"The prompt holds characters that are none ({said(fault)}); mend it.") from fault
    batch.pop("token_type_ids", None)
    if not batch["input_ids"].shape[1]:
        raise SettingNotUsable("The prompt is empty and the tokenizer has no beginning-of-text token; give a prompt.")
    return batch


def require_writer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model that goes on with texts; a refusal for any other."""
    if not model.can_generate() or model.config.is_encoder_decoder:
        raise ModelNotUsable(f"{type(model).__name__} does not go on with a text; name a causal language model.")
    if tokenizer is None:
        raise ModelNotUsable(f"{type(model).__name__} came without a tokenizer, so it cannot read a prompt; add one to its folder.")
    return tokenizer


class _Streamer(TextStreamer):
    """Hands over each finished piece of text, and not the prompt."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, on_text: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._on_text = on_text

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        del stream_end
        self._on_text(text)
