"""Metrics of one's own, beside the loss: functions, accumulating objects, or names, fed batch by batch."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Real
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from neural_plasticity.errors import NotMeasurable, SettingNotUsable, said
from neural_plasticity.experiment.names import BEFORE, TAKEN
from neural_plasticity.inputs.batches import IGNORED

Batch = Mapping[str, Any]


@runtime_checkable
class Metric(Protocol):
    """A number over everything that was added."""

    def add(self, outputs: Any, batch: Batch) -> None:
        """Take in one batch, and what the model made of it."""

    def value(self) -> float:
        """The number, over all batches."""
        ...


Factory = Callable[[], Metric]


def metrics_of(wanted: Mapping[str, Any] | Sequence[str]) -> dict[str, Factory]:
    """What makes each metric, by its name, new for every evaluation.

    A metric is the name of a built-in one, a function (outputs, batch) → number, averaged over samples, or a class,
    or function without arguments, that makes an object with `add(outputs, batch)` and `value()`.
    """
    names = [wanted] if isinstance(wanted, str) else wanted
    given = names if isinstance(names, Mapping) else {name: name for name in names}
    for name in given:
        if not isinstance(name, str) or not name:
            raise SettingNotUsable(
                f"A metric is named {name!r:.80}, where text is needed; give names of metrics, or a dict of name: metric."
            )
        if name in TAKEN or name.endswith(BEFORE):
            raise SettingNotUsable(f"A metric is named '{name}', as a number of the run itself is; give it another name.")
    return {name: _factory(name, metric) for name, metric in given.items()}


def _factory(name: str, metric: Any) -> Factory:
    if isinstance(metric, str):
        return _built_in(metric)
    if isinstance(metric, type):
        return metric
    if isinstance(metric, Metric):
        raise SettingNotUsable(
            f"The metric '{name}' is one {type(metric).__name__}, which would add up over evaluations; pass its class, "
            "or a function that makes it."
        )
    if not callable(metric):
        raise SettingNotUsable(
            f"The metric '{name}' is a {type(metric).__name__} and cannot be called; give a function (outputs, batch) → number, "
            f"a class with add and value, or one of {', '.join(METRICS)}."
        )
    return cast("Factory", metric) if _makes(metric) else lambda: _Mean(metric)


def _built_in(name: str) -> Factory:
    if name not in METRICS:
        near = get_close_matches(name, METRICS, 1)
        hint = f"did you mean {near[0]}?" if near else "choose one of them, or give a function (outputs, batch) → number."
        raise SettingNotUsable(f"There is no metric '{name}'; known are {', '.join(METRICS)}: {hint}")
    return METRICS[name]


def _makes(metric: Callable[..., Any]) -> bool:
    """Whether a function makes a metric and is none: it can be called with nothing, and does not just take all there is."""
    try:
        signature = inspect.signature(metric)
        signature.bind()
    except (TypeError, ValueError):  # the latter where Python knows no signature
        return False
    return not any(each.kind is each.VAR_POSITIONAL for each in signature.parameters.values())


class Measures:
    """Fresh metrics of one evaluation, fed batch by batch."""

    def __init__(self, metrics: Mapping[str, Factory]) -> None:
        self._metrics = {name: _made(name, factory) for name, factory in metrics.items()}
        self._batches = 0

    def add(self, outputs: Any, batch: Batch) -> None:
        """Let every metric take in a batch, and what the model made of it."""
        self._batches += 1
        for name, metric in self._metrics.items():
            try:
                metric.add(outputs, batch)
            except Exception as fault:  # somebody else's code, which may raise anything
                raise _failed(name, f"at batch {self._batches}", fault) from fault

    def values(self) -> dict[str, float]:
        """Each metric over all batches; nan where it came to nan, or nothing was added."""
        found = {}
        for name, metric in self._metrics.items():
            try:
                found[name] = number(metric.value()) if self._batches else math.nan
            except Exception as fault:
                raise _failed(name, "at the end", fault) from fault
        return found


def _made(name: str, factory: Factory) -> Metric:
    try:
        metric: Any = factory()
    except Exception as fault:
        raise _failed(name, "when it was made", fault) from fault
    if not isinstance(metric, Metric):
        raise SettingNotUsable(
            f"The metric '{name}' made a {type(metric).__name__}, which lacks add(outputs, batch) or value(); "
            "give it both, or pass a function (outputs, batch) → number."
        )
    return metric


def _failed(name: str, where: str, fault: Exception) -> NotMeasurable:
    seen = str(fault) if isinstance(fault, NotMeasurable) else f"it failed ({said(fault)}); mend it, or leave it out."
    return NotMeasurable(f"The metric '{name}' has no value {where}: {seen}")


def number(value: Any) -> float:
    """A metric's value as a number; a refusal of what is none."""
    if isinstance(value, Tensor | np.ndarray | np.generic):
        count = value.numel() if isinstance(value, Tensor) else value.size
        if count != 1:
            raise NotMeasurable(f"it is of shape {tuple(value.shape)}, where one number is needed; return its mean.")
        value = value.item()
    if not isinstance(value, Real):
        raise NotMeasurable(f"it is a {type(value).__name__}, where a number is needed: {value!r:.80}")
    return float(value)


class _Mean:
    """A function's mean over samples."""

    def __init__(self, function: Callable[[Any, Batch], Any]) -> None:
        self._function = function
        self._sum, self._samples = 0.0, 0

    def add(self, outputs: Any, batch: Batch) -> None:
        samples = _samples(batch)
        self._sum += number(self._function(outputs, batch)) * samples
        self._samples += samples

    def value(self) -> float:
        return self._sum / self._samples if self._samples else math.nan


def _samples(batch: Batch) -> int:
    """How many samples a batch holds: by its tokens, or whatever tensor comes first."""
    ordered = [batch.get("input_ids"), *batch.values()]
    return next((len(value) for value in ordered if isinstance(value, Tensor) and value.dim()), 1)


class _Confusion:
    """How often each class was right, was said and was there."""

    def __init__(self) -> None:
        self._counts: Tensor | None = None  # right, said, there × classes
        self._has_nan = False

    def add(self, outputs: Any, batch: Batch) -> None:
        logits, labels = self._answers(outputs, batch)
        kept = labels != IGNORED
        logits, labels = logits[kept], labels[kept]
        classes = logits.shape[-1]
        wrong = labels[(labels < 0) | (labels >= classes)]
        if len(wrong):
            raise NotMeasurable(f"a label is {int(wrong[0])}, and the model tells {classes} classes apart; mend the labels.")
        self._has_nan = self._has_nan or bool(logits.isnan().any())
        said_ = logits.argmax(-1)
        right = said_[said_ == labels]
        counts = torch.stack([torch.bincount(each, minlength=classes) for each in (right, said_, labels)]).cpu()
        if self._counts is not None and self._counts.shape != counts.shape:
            raise NotMeasurable(f"the batch has {classes} classes, and those before had {self._counts.shape[1]}; use one model.")
        self._counts = counts if self._counts is None else self._counts + counts

    def _answers(self, outputs: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        logits, labels = _logits_and_labels(outputs, batch)
        if labels.shape == (*logits.shape[:-1], 1):
            labels = labels.squeeze(-1)
        if logits.shape[-1] < 2 or labels.is_floating_point() or labels.shape != logits.shape[:-1]:
            raise NotMeasurable(
                f"logits of shape {tuple(logits.shape)} and labels of shape {tuple(labels.shape)} and {labels.dtype} are no "
                "choice of one class among several; give a function (outputs, batch) → number."
            )
        if logits.dim() > 2 and _is_text(batch, labels):
            raise NotMeasurable("the labels are the text itself, which each position tells of the next; use token_accuracy.")
        return logits, labels

    def _totals(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Right, said and there by class; none where nothing was to be told, or a logit was nan."""
        if self._counts is None or self._has_nan or not self._counts[2].any():
            return None
        right, spoken, there = self._counts.double()
        return right, spoken, there


class Accuracy(_Confusion):
    """The share of samples, or of positions with a label, whose class has the highest logit."""

    def value(self) -> float:
        """The share over all batches."""
        totals = self._totals()
        return math.nan if totals is None else float(totals[0].sum() / totals[2].sum())


class F1(_Confusion):
    """The mean over classes, each counting alike, of 2 · right / (said + there); of those that were said or there."""

    def value(self) -> float:
        """The mean over all classes that occurred."""
        totals = self._totals()
        if totals is None:
            return math.nan
        right, spoken, there = totals
        occurred = spoken + there > 0
        return float((2 * right / (spoken + there))[occurred].mean())


class TokenAccuracy:
    """The share of tokens that have the highest logit at the position before; in place where a decoder is fed them shifted."""

    def __init__(self) -> None:
        self._right = self._tokens = 0
        self._has_nan = False

    def add(self, outputs: Any, batch: Batch) -> None:
        """Take in one batch, and what the model made of it."""
        logits, labels = _logits_and_labels(outputs, batch)
        if logits.dim() != 3 or labels.shape != logits.shape[:2] or labels.is_floating_point():
            raise NotMeasurable(
                f"logits of shape {tuple(logits.shape)} and labels of shape {tuple(labels.shape)} are no tokens of a text; "
                "use accuracy for classes."
            )
        if not hasattr(outputs, "encoder_last_hidden_state"):
            logits, labels = logits[:, :-1], labels[:, 1:]
        kept = labels != IGNORED
        self._has_nan = self._has_nan or bool(logits[kept].isnan().any())
        self._right += int((logits.argmax(-1) == labels)[kept].sum())
        self._tokens += int(kept.sum())

    def value(self) -> float:
        """The share over all tokens with a label."""
        return math.nan if self._has_nan or not self._tokens else self._right / self._tokens


def _logits_and_labels(outputs: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    logits, labels = getattr(outputs, "logits", None), batch.get("labels")
    if not isinstance(logits, Tensor) or logits.dim() < 2:
        raise NotMeasurable(f"{type(outputs).__name__} holds no logits; give a function (outputs, batch) → number.")
    if not isinstance(labels, Tensor):
        raise NotMeasurable(f"the batch holds {', '.join(map(str, batch))} and no labels; add them.")
    return logits, labels.to(logits.device)


def _is_text(batch: Batch, labels: Tensor) -> bool:
    """Whether most positions are labelled, each by its own token: hidden words are few, and seldom their own label."""
    ids, kept = batch.get("input_ids"), labels != IGNORED
    if not isinstance(ids, Tensor) or ids.shape != labels.shape or 2 * int(kept.sum()) <= labels.numel():
        return False
    return torch.equal(ids.to(labels.device)[kept], labels[kept])


METRICS: dict[str, Factory] = {"accuracy": Accuracy, "f1": F1, "token_accuracy": TokenAccuracy}
