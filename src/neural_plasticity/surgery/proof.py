"""The proof of an operation: the model, run before with the heads masked, and after, on what it may meet in use."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from neural_plasticity.anatomy.example import UNFIT, example_batches, on_device_of
from neural_plasticity.anatomy.trace import preserved
from neural_plasticity.errors import ProofFailed, SurgeryError, said

NEAR = {torch.float64: 1e-9, torch.float32: 2e-4, torch.float16: 2e-2, torch.bfloat16: 8e-2}  # of the largest output

Outputs = dict[str, list[Tensor]]
DECODED = 2  # tokens that are decoded with a cache


class Proof:
    """Passes over a model that must come out alike before and after; found once by what the model can run."""

    def __init__(self, model: nn.Module, example: Mapping[str, Any] | None = None) -> None:
        self._model = model
        self._passes: dict[str, tuple[Callable[..., list[Tensor]], dict[str, Any]]] = {}  # and no closures, so that copies copy
        for batch in [dict(example)] if example is not None else example_batches(model):
            placed = on_device_of(model, batch)
            if self._runs("prefill", _floats_of, placed):
                self._add_others(placed)
                return
        raise SurgeryError(
            f"{type(model).__name__} runs on no input derived from its config; pass example= with a batch that it takes."
        )

    def outputs(self) -> Outputs:
        """What the model gives in every pass, now."""
        with _as_in_use(self._model):
            return {name: run(self._model, batch) for name, (run, batch) in self._passes.items()}

    def compare(self, expected: Outputs, what: str) -> float:
        """The largest difference from what was expected, as a share of the largest output; a refusal where it is too large."""
        worst = 0.0
        for name, (run, batch) in self._passes.items():
            try:
                with _as_in_use(self._model):
                    found = run(self._model, batch)
            except UNFIT as fault:
                raise ProofFailed(
                    f"{what} was undone: {name} failed ({said(fault)}), so {type(self._model).__name__} counts heads in a way of "
                    "its own; use mode='mask_forward'."
                ) from fault
            difference = max(map(_difference, found, expected[name]), default=0.0) if len(found) == len(expected[name]) else inf
            if not difference <= NEAR.get(expected[name][0].dtype, NEAR[torch.float32]):
                raise ProofFailed(
                    f"{what} was undone: in {name} the outputs of {type(self._model).__name__} differ by {difference:.2g} of the "
                    "largest from those of the masked model; use mode='mask_forward'."
                )
            worst = max(worst, difference)
        return worst

    def _runs(self, name: str, run: Callable[..., list[Tensor]], batch: dict[str, Any]) -> bool:
        """Keep a pass that the model can run, and that shows something."""
        try:
            with _as_in_use(self._model):
                shown = run(self._model, batch)
        except UNFIT:
            return False
        if shown:
            self._passes[name] = run, batch
        return bool(shown)

    def _add_others(self, batch: dict[str, Any]) -> None:
        ids, named = batch.get("input_ids"), inspect.signature(self._model.forward).parameters
        if not isinstance(ids, Tensor) or ids.dim() != 2:
            return
        if "attention_mask" in named:
            mask = torch.ones_like(ids)
            mask[0, : ids.shape[1] // 2] = 0
            self._runs("a left-padded batch", _unpadded, batch | {"attention_mask": mask})
        if "past_key_values" in named and "use_cache" in named:
            self._runs("cached decoding", _decoded, batch)


def _floats_of(model: nn.Module, batch: Mapping[str, Any]) -> list[Tensor]:
    """What a model gives for a batch."""
    return _floats(model(**batch))


def _unpadded(model: nn.Module, batch: Mapping[str, Any]) -> list[Tensor]:
    """What a model gives for what is no padding."""
    return _floats(model(**batch), batch["attention_mask"])


def _decoded(model: nn.Module, batch: Mapping[str, Any]) -> list[Tensor]:
    """What a model gives for its last tokens when each is decoded with the cache of those before."""
    name = "decoder_input_ids" if "decoder_input_ids" in batch else "input_ids"
    ids: Tensor = batch[name]
    begun = ids.shape[1] - DECODED
    rest = {key: value for key, value in batch.items() if key not in (name, "use_cache")}
    outputs = model(**rest, **{name: ids[:, :begun]}, use_cache=True)
    found: list[Tensor] = []
    for place in range(begun, ids.shape[1]):
        cache = outputs.past_key_values
        if cache is None:
            break
        outputs = model(**rest, **{name: ids[:, place : place + 1]}, use_cache=True, past_key_values=cache)
        found.append(_floats(outputs)[0])
    return found


@contextmanager
def _as_in_use(model: nn.Module) -> Iterator[None]:
    """The model without dropout and gradients, after the block as it was."""
    with preserved(model), torch.inference_mode(False), torch.no_grad(), torch.compiler.set_stance("force_eager"):
        model.eval()
        yield


def _floats(outputs: Any, mask: Tensor | None = None) -> list[Tensor]:
    """The floating tensors of a model's outputs, those of padding left out."""
    values = list(outputs.values()) if hasattr(outputs, "values") else list(outputs) if isinstance(outputs, tuple) else [outputs]
    found = [value.detach() for value in values if isinstance(value, Tensor) and value.is_floating_point()]
    if mask is not None:
        found = [value[mask.bool()] if value.shape[:2] == mask.shape else value for value in found]
    return [value.clone() for value in found]


def _difference(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    alike = (ours == theirs) | (ours.isnan() & theirs.isnan())  # what a model gives as infinite or as no number, too
    finite = theirs[theirs.isfinite()]
    size = float(finite.abs().amax()) if finite.numel() else 0.0
    apart = float((ours - theirs)[~alike].abs().amax()) if not alike.all() else 0.0
    return apart / size if size else apart
