"""Metrics against plain loops over every sample, whatever the batches."""

import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neural_plasticity.errors import NotMeasurable, SettingNotUsable
from neural_plasticity.experiment.metrics import METRICS, Measures, metrics_of

CLASSES = 4


def measured(wanted, *batches):
    """The values of metrics over (logits, batch) pairs."""
    measures = Measures(metrics_of(wanted))
    for logits, batch in batches:
        measures.add(SimpleNamespace(logits=logits), batch)
    return measures.values()


def by_hand(said: list[int], there: list[int]) -> tuple[float, float]:
    """Accuracy and macro F1 by counting, class by class."""
    scores = []
    for each in set(said) | set(there):
        right = sum(a == b == each for a, b in zip(said, there, strict=True))
        wrong = sum(a == each != b for a, b in zip(said, there, strict=True))
        missed = sum(b == each != a for a, b in zip(said, there, strict=True))
        scores.append(2 * right / (2 * right + wrong + missed))
    return sum(a == b for a, b in zip(said, there, strict=True)) / len(said), sum(scores) / len(scores)


def logits_for(said, classes=CLASSES):
    return torch.nn.functional.one_hot(torch.tensor(said), classes).float() * 3 - 1


answers = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=30)


@given(answers, st.integers(1, 7))
def test_accuracy_and_f1_are_those_of_counting_whatever_the_batches(rows, size):
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    batches = [(logits_for([a for a, _ in part]), {"labels": torch.tensor([b for _, b in part])}) for part in parts]
    expected = by_hand([a for a, _ in rows], [b for _, b in rows])
    found = measured(["accuracy", "f1"], *batches)
    assert (found["accuracy"], found["f1"]) == pytest.approx(expected)


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=5, max_size=5), min_size=1, max_size=6))
def test_positions_without_a_label_count_for_nothing(rows):
    """Token classification; a label of 4 stands for -100 here."""
    said = [[a for a, _ in row] for row in rows]
    labels = torch.tensor([[-100 if b == 4 else b for _, b in row] for row in rows])
    known = [(a, b) for row in rows for a, b in row if b < 4]
    found = measured(["accuracy", "f1"], (logits_for(said), {"labels": labels}))
    if not known:
        assert math.isnan(found["accuracy"])
        assert math.isnan(found["f1"])
        return
    assert (found["accuracy"], found["f1"]) == pytest.approx(by_hand([a for a, _ in known], [b for _, b in known]))


def test_labels_in_a_column_are_labels():
    assert measured(["accuracy"], (logits_for([1, 2]), {"labels": torch.tensor([[1], [0]])})) == {"accuracy": 0.5}


def test_token_accuracy_is_that_of_each_next_token(tiny):
    batch = dict(
        tiny.tokenizer(
            ["def f(self, x):\n    return self.x\n", "import os\nimport sys\nimport re\n"], return_tensors="pt", padding=True
        )
    )
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    with torch.no_grad():
        logits = tiny.model(**batch).logits
    right = tokens = 0
    for row, line in zip(logits, labels.tolist(), strict=True):
        for place, label in enumerate(line[1:]):
            if label != -100:
                tokens += 1
                right += max(range(row.shape[1]), key=row[place].tolist().__getitem__) == label
    assert 0 < right < tokens
    assert measured(["token_accuracy"], (logits, batch | {"labels": labels})) == {"token_accuracy": right / tokens}


def test_a_decoder_that_is_fed_shifted_labels_is_read_in_place():
    from tests.surgery.models import t5

    model, labels = t5(), torch.tensor([[5, 6, 7, -100]])
    batch = {"input_ids": torch.tensor([[3, 4, 5]]), "labels": labels}
    with torch.no_grad():
        outputs = model(**batch)
    measures = Measures(metrics_of(["token_accuracy", "accuracy"]))
    measures.add(outputs, batch)
    expected = float((outputs.logits.argmax(-1)[:, :3] == labels[:, :3]).double().mean())
    assert measures.values() == {"token_accuracy": expected, "accuracy": expected}


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(-5, 5)), min_size=1, max_size=8))
def test_a_function_is_averaged_over_samples(rows):
    batches = [(None, {"pixel_values": torch.zeros(count, 2), "wanted": value}) for count, value in rows]
    kinds = {"float": float, "tensor": torch.tensor, "array": np.array, "numpy": np.float64}
    found = measured({name: lambda outputs, batch, of=of: of(batch["wanted"]) for name, of in kinds.items()}, *batches)
    expected = sum(count * value for count, value in rows) / sum(count for count, _ in rows)
    assert list(found.values()) == pytest.approx([expected] * 4, abs=1e-5)


class Largest:
    """The largest number seen."""

    def __init__(self, least=-1.0):
        self.seen = least

    def add(self, outputs, batch):
        self.seen = max(self.seen, batch["wanted"])

    def value(self):
        return self.seen


@pytest.mark.parametrize("factory", [Largest, lambda: Largest(), partial(Largest, least=0.5), partial(Largest, 0.5)])
def test_objects_are_made_anew_for_every_evaluation(factory):
    made = metrics_of({"largest": factory})
    for values in ([3.0, 7.0], [2.0, 1.0]):
        measures = Measures(made)
        for value in values:
            measures.add(None, {"wanted": value})
        assert measures.values() == {"largest": max(values)}


def test_a_built_in_one_can_be_given_another_name():
    assert measured({"exact": "accuracy"}, (logits_for([1]), {"labels": torch.tensor([1])})) == {"exact": 1.0}
    assert set(metrics_of("f1")) == {"f1"}
    assert metrics_of([]) == {}


@pytest.mark.parametrize("name", METRICS)
def test_nan_is_told_and_not_hidden(name):
    shape = (2, 3, CLASSES) if name == "token_accuracy" else (2, CLASSES)
    logits = torch.zeros(shape)
    logits[1].fill_(math.nan)
    good = (torch.zeros(shape), {"labels": torch.zeros(shape[:-1], dtype=torch.long)})
    assert math.isnan(measured([name], (logits, good[1]), good)[name])
    assert not math.isnan(measured([name], good)[name])


def test_a_function_that_comes_to_nan_and_no_batches_at_all_are_nan():
    wanted = {"mean": lambda outputs, batch: math.nan, "largest": Largest}
    assert math.isnan(measured(wanted, (None, {"wanted": 1.0}))["mean"])
    assert all(math.isnan(value) for value in measured(wanted).values())


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["acuracy"], "There is no metric 'acuracy'; known are accuracy, f1, token_accuracy: did you mean accuracy?"),
        ({"mine": "zzz"}, "There is no metric 'zzz'"),
        ({"mine": 3}, "The metric 'mine' is a int and cannot be called"),
        ({"mine": None}, "The metric 'mine' is a NoneType and cannot be called"),
        ({"mine": Largest()}, "The metric 'mine' is one Largest, which would add up over evaluations; pass its class"),
        ([len], "A metric is named <built-in function len>, where text is needed"),
        ({"": len}, "A metric is named '', where text"),
        ({"loss_nats": len}, "A metric is named 'loss_nats', as a number of the run itself is"),
    ],
)
def test_what_is_no_metric_is_refused_before_anything_is_evaluated(wanted, message):
    with pytest.raises(SettingNotUsable) as refusal:
        metrics_of(wanted)
    assert message in str(refusal.value)


@pytest.mark.parametrize("kind", [dict, lambda: 3])
def test_a_factory_that_makes_something_else_is_refused(kind):
    with pytest.raises(SettingNotUsable, match=r"The metric 'mine' made a (dict|int), which lacks add"):
        Measures(metrics_of({"mine": kind}))


def test_a_factory_that_fails_is_named():
    with pytest.raises(NotMeasurable, match=r"The metric 'mine' has no value when it was made: it failed \(ZeroDivisionError"):
        Measures(metrics_of({"mine": lambda: 1 / 0}))


class Odd(Exception):
    """An error of nobody's kind."""


def raising(outputs, batch):
    raise Odd("so odd")


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (raising, "it failed (Odd: so odd); mend it, or leave it out."),
        (lambda outputs, batch: "0.5", "it is a str, where a number is needed: '0.5'"),
        (lambda outputs, batch: None, "it is a NoneType, where a number is needed: None"),
        (lambda outputs, batch: 1j, "it is a complex, where"),
        (lambda outputs, batch: torch.ones(2, 3), "it is of shape (2, 3), where one number is needed; return its mean."),
        (lambda outputs, batch: np.ones(0), "it is of shape (0,), where"),
        (lambda outputs: 1.0, "it failed (TypeError: "),
        (lambda *anything: anything[1]["nowhere"], "it failed (KeyError: 'nowhere')"),
    ],
)
def test_a_metric_that_fails_is_named_with_its_batch(metric, message):
    calls = iter([True, False])
    good_at_first = {"mine": lambda outputs, batch: 1.0 if next(calls) else metric(outputs, batch)}
    with pytest.raises(NotMeasurable) as refusal:
        measured(good_at_first, (None, {}), (None, {}))
    assert str(refusal.value).startswith("The metric 'mine' has no value at batch 2: ")
    with pytest.raises(NotMeasurable) as refusal:
        measured({"mine": metric}, (None, {}))
    assert str(refusal.value).startswith(f"The metric 'mine' has no value at batch 1: {message}")


def test_an_object_whose_value_is_none_is_named():
    class Silent(Largest):
        def value(self):
            return None

    with pytest.raises(NotMeasurable, match="The metric 'mine' has no value at the end: it is a NoneType"):
        measured({"mine": Silent}, (None, {"wanted": 1.0}))


LABELS = torch.zeros(2, dtype=torch.long)


@pytest.mark.parametrize(
    ("name", "logits", "batch", "message"),
    [
        ("accuracy", torch.zeros(2, 3), {"labels": torch.zeros(2, 3)}, "are no choice of one class among several"),
        ("f1", torch.zeros(2, 3), {"labels": torch.zeros(2, 3, dtype=torch.long)}, "are no choice of one class"),
        ("f1", torch.zeros(2, 1), {"labels": LABELS}, "are no choice of one class"),
        ("accuracy", torch.zeros(2, 3), {"labels": torch.zeros(2)}, "are no choice of one class"),
        ("accuracy", torch.zeros(2, 3), {"labels": LABELS + 3}, "a label is 3, and the model tells 3 classes apart"),
        ("accuracy", torch.zeros(2, 3), {"labels": LABELS - 1}, "a label is -1"),
        ("accuracy", torch.zeros(2, 3), {"input_ids": LABELS}, "the batch holds input_ids and no labels"),
        ("accuracy", None, {"labels": LABELS}, "SimpleNamespace holds no logits"),
        ("token_accuracy", torch.zeros(2, 3), {"labels": LABELS}, "are no tokens of a text; use accuracy"),
    ],
)
def test_answers_that_a_built_in_one_cannot_judge_are_refused(name, logits, batch, message):
    with pytest.raises(NotMeasurable) as refusal:
        measured([name], (logits, batch))
    assert message in str(refusal.value)


def test_accuracy_of_a_model_that_predicts_the_next_token_is_refused():
    """Each position is labelled by its own token there, which it does not tell; hidden words are labelled by others."""
    ids = torch.tensor([[3, 1, 2, 0]])
    with pytest.raises(NotMeasurable, match="use token_accuracy"):
        measured(["accuracy"], (torch.zeros(1, 4, CLASSES), {"input_ids": ids, "labels": ids}))
    hidden = torch.tensor([[-100, 1, -100, -100]])
    assert measured(["accuracy"], (logits_for([[0, 1, 0, 0]]), {"input_ids": ids, "labels": hidden})) == {"accuracy": 1.0}


def test_batches_of_other_numbers_of_classes_are_refused():
    with pytest.raises(NotMeasurable, match="the batch has 3 classes, and those before had 4"):
        measured(["f1"], (torch.zeros(2, 4), {"labels": LABELS}), (torch.zeros(2, 3), {"labels": LABELS}))
