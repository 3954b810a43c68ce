"""How fast two models are, measured side by side: passes in turns, so that whatever slows the machine slows both."""

import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from neural_plasticity.anatomy.example import UNFIT, on_device_of, setting
from neural_plasticity.anatomy.taps import original
from neural_plasticity.anatomy.trace import preserved
from neural_plasticity.errors import NotMeasurable, SettingNotUsable, said
from neural_plasticity.inputs.batches import most_tokens

WARM_UP = 2  # passes of each model that are not counted

Watch = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Speed:
    """Milliseconds of the model before and after, and how many times as fast it is: 1 is no gain, 2 is half the time.

    `prefill` is reading a text of `tokens` tokens, or the given example, in one pass; `decode` is writing one token
    more with a cache, None for models that do not write. Times are medians, and ratios are medians of the ratio in
    each round. `low` and `high` hold the ratio with 95 % of confidence where there are 6 rounds or more; with fewer
    they are the smallest and the largest one seen.
    """

    prefill_ms_before: float
    prefill_ms_after: float
    prefill_ratio: float
    prefill_low: float
    prefill_high: float
    decode_ms_per_token_before: float | None
    decode_ms_per_token_after: float | None
    decode_ratio: float | None
    decode_low: float | None
    decode_high: float | None
    tokens: int
    rounds: int
    threads: int
    device: str

    def values(self) -> dict[str, float]:
        """Every number that was measured, by name."""
        named = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "device"}
        return {name: value for name, value in named.items() if value is not None}

    def __str__(self) -> str:
        what = f"Reading {self.tokens} tokens" if self.tokens else "One pass"
        told = [_told(what, self.prefill_ms_before, self.prefill_ms_after, self.prefill_ratio, self.prefill_low, self.prefill_high)]
        if self.decode_ratio is not None:
            found = (self.decode_ms_per_token_before, self.decode_ms_per_token_after)
            told.append(_told("writing a token", *found, self.decode_ratio, self.decode_low, self.decode_high))
        return f"{'; '.join(told)}. {self.rounds} rounds on {self.device}, threads: {self.threads}."


def _told(what: str, before: Any, after: Any, ratio: float, low: Any, high: Any) -> str:
    doubt = ", so perhaps no faster" if low <= 1 <= high else ""
    return f"{what} takes {after:.3g} ms in place of {before:.3g}, {ratio:.2f} times as fast ({low:.2f} to {high:.2f}{doubt})"


def compare_speed(
    before: nn.Module,
    after: nn.Module,
    *,
    tokens: int,
    new_tokens: int = 16,
    rounds: int = 7,
    seed: int = 0,
    example: Mapping[str, Any] | None = None,
    watch: Watch | None = None,
) -> Speed:
    """How long both models take to read `tokens` random tokens and to write `new_tokens` more, round by round in turns.

    Models that do not run on tokens alone are given the example. Both come out as they went in. `watch` is told how
    many rounds of how many are done.
    """
    for name, value in (("tokens", tokens), ("new_tokens", new_tokens), ("rounds", rounds)):
        if value < 1:
            raise SettingNotUsable(f"{name}={value} leaves nothing to measure the speed of; use 1 or more.")
    devices = [next(model.parameters()).device for model in (before, after)]
    if devices[0] != devices[1]:
        raise SettingNotUsable(f"One model lies on {devices[0]} and the other on {devices[1]}; move both to one device.")
    with ExitStack() as stack:
        for model in {id(each): each for each in (before, after)}.values():
            stack.enter_context(preserved(model))
            model.eval()
        stack.enter_context(torch.inference_mode())
        ids = _ids(before, tokens, new_tokens, seed)
        pair = _pair((before, after), ids, new_tokens, example)
        read, written = (_compared(times) for times in _in_turns(pair, rounds, watch))
    writing = written if math.isfinite(written[0]) else (None, None, None, None, None)
    return Speed(*read, *writing, pair[0].tokens, rounds, torch.get_num_threads(), str(devices[0]))


def _ids(model: nn.Module, tokens: int, new_tokens: int, seed: int) -> Tensor | None:
    """Random ordinary tokens to read and to write, as many as the model has positions for; None for one that reads none."""
    root = original(model)
    words = setting(root.config.get_text_config(), "vocab_size") if isinstance(root, PreTrainedModel) else None
    if not isinstance(root, PreTrainedModel) or root.main_input_name != "input_ids" or words is None:
        return None
    room = most_tokens(root) or tokens + new_tokens
    if room <= new_tokens:
        raise NotMeasurable(f"new_tokens={new_tokens} leaves none of {type(root).__name__}'s {room} positions to read; use fewer.")
    named = {
        value
        for name, value in vars(root.config).items()
        if name.endswith(("_token_id", "_token_index")) and isinstance(value, int)
    }
    ordinary = torch.tensor([word for word in range(words) if word not in named] or [0])  # a special one may end or mask the text
    length = min(tokens + new_tokens, room)
    return ordinary[torch.randint(len(ordinary), (1, length), generator=torch.Generator().manual_seed(seed))]


def _pair(
    models: tuple[nn.Module, nn.Module], ids: Tensor | None, new_tokens: int, example: Mapping[str, Any] | None
) -> "list[_Timed]":
    """Both models with the tokens, or else with the example; refused where they take neither."""
    inputs: list[tuple[str, Mapping[str, Any], Tensor | None]] = []
    if ids is not None:
        inputs.append((f"{ids.shape[1] - new_tokens} random tokens", {"input_ids": ids[:, :-new_tokens]}, ids[:, -new_tokens:]))
    if example is not None:
        inputs.append(("the example", example, None))
    seen = "reads no tokens"
    for what, batch, following in inputs:
        pair = [_Timed(model, batch, following) for model in models]
        try:
            for timed in pair * WARM_UP:
                timed.read()
                timed.write()
        except UNFIT as fault:
            seen = f"does not run on {what} ({said(fault)})"
        else:
            return pair
    name = type(original(models[0])).__name__
    raise NotMeasurable(f"{name} {seen}, so its speed is not known; pass example= with a batch that it takes.")


class _Timed:
    """One model, with what it reads in one pass, and the tokens that it then writes, each given the ones before."""

    def __init__(self, model: nn.Module, batch: Mapping[str, Any], following: Tensor | None) -> None:
        self._model, self._device = model, next(model.parameters()).device
        named = inspect.signature(original(model).forward).parameters
        config = getattr(original(model), "config", None)
        self._decoder = following is not None and bool(getattr(config, "is_encoder_decoder", False))
        read = batch.get("input_ids")
        self.tokens = read.shape[1] if isinstance(read, Tensor) and read.dim() == 2 else 0
        can_write: Any = getattr(original(model), "can_generate", lambda: False)
        self._writes = following is not None and can_write() and "past_key_values" in named
        more: dict[str, Any] = {}
        # Encoders may refuse a cache that is asked for; with their decoders it is there unasked.
        self._asked = {"use_cache": self._writes} if (self._writes or "use_cache" in named) and not self._decoder else {}
        if following is not None:
            more |= self._asked
            more |= {"logits_to_keep": 1} if "logits_to_keep" in named else {}
            more |= {"decoder_input_ids": following[:, :1]} if self._decoder else {}
        self._batch = on_device_of(model, {**batch, **more})
        self._following = None if following is None else following.to(self._device)
        self._cache: dict[str, Any] = {}

    def read(self) -> float:
        """Milliseconds of one pass; what it leaves to write with is kept."""
        began = self._now()
        outputs = self._model(**self._batch)
        took = self._now() - began
        cache = getattr(outputs, "past_key_values", None) if self._writes else None
        self._cache = {} if cache is None else {"past_key_values": cache, **self._asked}
        if self._cache and self._decoder:
            self._cache["encoder_outputs"] = BaseModelOutput(last_hidden_state=outputs.encoder_last_hidden_state)
        return took

    def write(self) -> float:
        """Milliseconds for each token with the cache of the last reading; nan for a model that keeps none."""
        if self._following is None or not self._cache:
            return math.nan
        name = "decoder_input_ids" if self._decoder else "input_ids"
        steps = list(self._following.split(1, dim=1))
        began = self._now()
        for step in steps:
            self._model(**{name: step}, **self._cache)
        took = self._now() - began
        self._cache = {}
        return took / len(steps)

    def _now(self) -> float:
        """Milliseconds, once the device is done with what it was given."""
        if self._device.type != "cpu":
            torch.accelerator.synchronize(self._device)
        return time.perf_counter() * 1000


def _in_turns(pair: Sequence[_Timed], rounds: int, watch: Watch | None) -> NDArray[np.float64]:
    """Times of reading and of writing, (2, models, rounds): one model first in even rounds, the other in odd ones."""
    times = np.zeros((2, 2, rounds))
    for turn in range(rounds):
        order = (0, 1) if turn % 2 == 0 else (1, 0)
        for place in order:
            times[0, place, turn] = pair[place].read()
        for place in order:
            times[1, place, turn] = pair[place].write()
        if watch is not None:
            watch(turn + 1, rounds)
    return times


def _compared(times: NDArray[np.float64]) -> tuple[float, float, float, float, float]:
    """Median milliseconds before and after, the median of the ratios, and the interval that holds it."""
    ratios = np.sort(times[0] / times[1])
    skipped = _skipped(len(ratios))
    before, after = (float(np.median(each)) for each in times)
    return before, after, float(np.median(ratios)), float(ratios[skipped]), float(ratios[-1 - skipped])


def _skipped(rounds: int) -> int:
    """How many of the smallest and of the largest values lie outside the narrowest interval that holds the median by 95 %.

    A value lies on either side of the median like a coin; so many heads or fewer come in 2.5 % of throws at most.
    """
    rest, skipped = 0.025 * 2**rounds, 0
    while (rest := rest - math.comb(rounds, skipped)) >= 0:
        skipped += 1
    return max(0, skipped - 1)
