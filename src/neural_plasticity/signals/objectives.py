"""What the loss is: the model's own, a function of the user's, or one that needs no labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from neural_plasticity.errors import NotMeasurable, SettingNotUsable
from neural_plasticity.inputs.batches import IGNORED
from neural_plasticity.inputs.labels import asks_for_next

Batch = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Goal:
    """The loss of one batch as a function of the model's outputs, and how many predictions of each sample it averages."""

    loss: Callable[[Any], Tensor]
    weights: Tensor


Objective = Callable[[nn.Module, Any, Batch], Goal]
OBJECTIVES: dict[str, Objective] = {}


def objective_of(loss: str | Callable[[Any, Batch], Tensor] | None) -> Objective:
    """The objective that `loss` names or is; None is the model's own."""
    if callable(loss):
        return _given(loss)
    name = loss or "own"
    if name not in OBJECTIVES:
        raise SettingNotUsable(
            f"There is no objective '{name}'; give a function (outputs, batch) → scalar, or one of {', '.join(OBJECTIVES)}."
        )
    return OBJECTIVES[name]


def samples_of(model: nn.Module, batch: Batch) -> int:
    """How many samples a batch holds: by the model's main input, or whatever tensor comes first."""
    main: str = getattr(model, "main_input_name", "input_ids")
    ordered = [batch.get(name) for name in ("input_ids", "inputs_embeds", main)] + list(batch.values())
    return next((len(value) for value in ordered if isinstance(value, Tensor) and value.dim()), 1)


def real_tokens(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Which tokens of a batch are no padding, (samples, tokens): those that an encoder reads, and those of a decoder.

    A decoder of its own masks, or else the labels that it is fed, says which of its tokens are real.
    """
    masks = {name: batch.get(name) for name in ("attention_mask", "decoder_attention_mask")}
    found = {name: mask.bool() for name, mask in masks.items() if isinstance(mask, Tensor) and mask.dim() == 2}
    read, written = found.get("attention_mask"), found.get("decoder_attention_mask")
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return {} if read is None else {"encoder": read, "decoder": read}
    labels = batch.get("labels")
    if written is None and "decoder_input_ids" not in batch and isinstance(labels, Tensor) and labels.dim() == 2:
        written = labels.ne(IGNORED)
    return {name: real for name, real in (("encoder", read), ("decoder", written)) if real is not None}


def _objective(name: str) -> Callable[[Objective], Objective]:
    def enrol(objective: Objective) -> Objective:
        OBJECTIVES[name] = objective
        return objective

    return enrol


@_objective("own")
def _own(model: nn.Module, outputs: Any, batch: Batch) -> Goal:
    """The loss that the model computes from the labels of the batch."""
    if getattr(outputs, "loss", None) is None:
        raise NotMeasurable(
            f"{type(model).__name__} gave no loss: the batch holds {', '.join(batch)}. Add labels, or pass loss= a function "
            f"(outputs, batch) → scalar or one of {', '.join(name for name in OBJECTIVES if name != 'own')}."
        )
    labels = batch.get("labels")
    weights = torch.ones(samples_of(model, batch), device=outputs.loss.device)
    if isinstance(labels, Tensor) and labels.dim() == 2 and not labels.is_floating_point() and len(labels) == len(weights):
        weights = (labels[:, 1:] if asks_for_next(model, outputs.loss, outputs, labels) else labels).ne(IGNORED).sum(1)
    return Goal(lambda found: found.loss, weights)


def checked(loss: Any, number: int, *, sloped: bool = False) -> Tensor:
    """A loss that is one finite number, with slopes where they are asked for; a refusal of anything else."""
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not bool(torch.isfinite(loss.detach())):
        size = isinstance(loss, Tensor) and loss.numel() != 1
        what = f"a tensor of shape {tuple(loss.shape)}" if size else f"a {type(loss).__name__}: {loss}"
        raise NotMeasurable(f"Batch {number}: the loss is {what:.120}, where a tensor of one finite number is needed.")
    if sloped and not loss.requires_grad:
        raise NotMeasurable(
            f"Batch {number}: the loss does not depend on any head; compute it from the outputs, without detaching them."
        )
    return loss.reshape(())


def _given(function: Callable[[Any, Batch], Tensor]) -> Objective:
    def objective(model: nn.Module, outputs: Any, batch: Batch) -> Goal:
        del outputs
        return Goal(lambda found: function(found, batch), torch.ones(samples_of(model, batch)))

    return objective


@_objective("next_token")
def _next_token(model: nn.Module, outputs: Any, batch: Batch) -> Goal:
    """How well each token is predicted from those before it, padding left out; needs no labels."""
    ids, logits = batch.get("input_ids"), getattr(outputs, "logits", None)
    if not isinstance(ids, Tensor) or logits is None or logits.shape[:2] != ids.shape:
        raise NotMeasurable(
            f"next_token needs logits for every token of input_ids; {type(model).__name__} gave "
            f"{'none' if logits is None else tuple(logits.shape)}. Pass loss='self_distillation' or a function."
        )
    mask = batch.get("attention_mask")
    known = ids if mask is None or mask.shape != ids.shape else ids.masked_fill(mask == 0, IGNORED)
    labels = known[:, 1:]
    # A first token behind padding is no prediction from text, though it has a label.
    labels = labels.masked_fill(known[:, :-1] == IGNORED, IGNORED)
    return Goal(
        lambda found: cross_entropy(found.logits[:, :-1].float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED),
        labels.ne(IGNORED).sum(1),
    )


@_objective("self_distillation")
def _self_distillation(model: nn.Module, outputs: Any, batch: Batch) -> Goal:
    """How far the model moves from its own outputs, by labels drawn from them, or along random signs where it has no classes.

    A divergence from oneself has no slope, only curvature. The squared slope under labels drawn from the
    model's own predictions is that curvature on average, and so is that of a random projection for plain features.
    """
    generator = torch.Generator().manual_seed(0)
    name, intact = _main_output(model, outputs)
    real = _real(intact, batch)
    if name == "logits":
        chances = intact.detach().float().softmax(-1).flatten(0, -2).cpu()
        drawn = torch.multinomial(chances, 1, generator=generator).view(intact.shape[:-1]).to(intact.device)
        labels = drawn.masked_fill(~real, IGNORED)
        return Goal(
            lambda found: cross_entropy(found[name].float().flatten(0, -2), labels.flatten(), ignore_index=IGNORED),
            _each(real),
        )
    signs = torch.randint(0, 2, intact.shape, generator=generator).to(intact.device) * 2.0 - 1
    signs = signs * real.view(*real.shape, *(1,) * (intact.dim() - real.dim()))
    return Goal(lambda found: (found[name].float() * signs).sum() / real.sum(), _each(real))


def _each(real: Tensor) -> Tensor:
    """How many real positions each sample has."""
    return real.flatten(1).sum(1) if real.dim() > 1 else real.long()


def _main_output(model: nn.Module, outputs: Any) -> tuple[str, Tensor]:
    """The output that a model is there for: its logits, or else the first that is a floating tensor of samples."""
    found = {name: value for name, value in (outputs.items() if hasattr(outputs, "items") else ()) if _is_of_samples(value)}
    if not found:
        raise NotMeasurable(f"{type(model).__name__} gave no tensor to distil; pass loss= a function (outputs, batch) → scalar.")
    name = "logits" if "logits" in found else next(iter(found))
    return name, found[name]


def _is_of_samples(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() > 1


def _real(output: Tensor, batch: Batch) -> Tensor:
    """Which positions of an output are no padding, (samples,) or (samples, positions)."""
    if output.dim() < 3:
        return torch.ones(len(output), dtype=torch.bool, device=output.device)
    for name in ("decoder_attention_mask", "attention_mask"):
        mask = batch.get(name)
        if isinstance(mask, Tensor) and mask.shape == output.shape[:2]:
            return mask.bool()
    return torch.ones(output.shape[:2], dtype=torch.bool, device=output.device)
