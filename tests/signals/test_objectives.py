"""Losses of models with labels, without, and of those that predict nothing."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import ViTModel

from neural_plasticity.signals.measure import measure
from neural_plasticity.signals.objectives import objective_of
from tests.anatomy.models import gpt2, ids, llama
from tests.conformance.families import FAMILIES
from tests.signals.brute import IGNORED, close

SLOPES = ["taylor", "fisher", "gradient", "ablation"]
WORDS = ids(3, 9)
MASK = torch.ones_like(WORDS)
MASK[0, 6:] = 0
MASK[1, 4:] = 0


def padded(side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Words and mask, padded here or there."""
    return (WORDS, MASK) if side == "right" else (WORDS.flip(1), MASK.flip(1))


@pytest.mark.parametrize("side", ["left", "right"])
def test_next_token_is_the_loss_that_the_model_would_compute(side):
    words, mask = padded(side)
    labels = words.masked_fill(mask == 0, IGNORED)
    first = mask.argmax(1)
    labels[torch.arange(3), first] = IGNORED  # predicted from nothing, or from padding
    model, batch = llama(), {"input_ids": words, "attention_mask": mask}
    outputs = model(**batch, labels=labels)
    goal = objective_of("next_token")(model, outputs, batch)
    assert goal.loss(outputs).item() == pytest.approx(outputs.loss.item(), rel=1e-6)
    assert goal.weights.tolist() == [5, 3, 8]
    one = measure(model, batch, SLOPES, loss="next_token")
    other = measure(model, batch | {"labels": labels}, SLOPES)
    for name in SLOPES:
        close(one[name], other[name], rtol=1e-4, atol=1e-6)


def test_own_is_the_default_and_a_function_that_gives_the_same_agrees():
    batch = {"input_ids": WORDS, "labels": WORDS}

    def mine(outputs, batch):
        return cross_entropy(outputs.logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())

    found = [measure(gpt2(), batch, SLOPES, loss=loss) for loss in (None, "own", mine)]
    assert found[0] == found[1]
    for name in SLOPES:
        close(found[0][name], found[2][name], rtol=1e-4, atol=1e-6)


def vit_without_head() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    whole = FAMILIES["vit"].build(5)
    torch.manual_seed(0)
    return ViTModel(whole.config, add_pooling_layer=False).eval(), FAMILIES["vit"].example(whole, 5, batch=3)


def bert() -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    model = FAMILIES["bert"].build(5)
    return model, {"input_ids": WORDS, "attention_mask": MASK}


@pytest.mark.parametrize("build", [bert, vit_without_head, lambda: (llama(), {"input_ids": WORDS}),
                                   lambda: (llama().model, {"input_ids": WORDS, "attention_mask": MASK})],
                         ids=["bert", "vit", "llama", "llama-base"])  # fmt: skip
def test_self_distillation_needs_no_labels_and_is_the_same_every_time(build):
    model, batch = build()
    torch.manual_seed(1)
    found = measure(model, batch, ["taylor", "fisher", "gradient"], loss="self_distillation")
    torch.manual_seed(2)
    again = measure(model, batch, ["taylor", "fisher", "gradient"], loss="self_distillation")
    assert found == again
    for grid in found.values():
        values = np.array([value for _, value in grid.items()])
        assert np.isfinite(values).all()
        assert (values > 0).all()


def test_self_distillation_does_not_look_at_padding():
    """What lies under the padding is changed; only the outputs there change with it."""
    model, batch = bert()
    other = batch | {"input_ids": torch.where(MASK == 1, WORDS, 7)}
    one, two = (measure(model, each, ["taylor", "fisher"], loss="self_distillation") for each in (batch, other))
    for name in one:
        close(one[name], two[name], rtol=1e-4, atol=1e-7)


def test_labels_drawn_from_the_models_own_predictions_follow_them():
    """A model that is sure draws what it is sure of, so its loss there is next to nothing."""
    model = gpt2()
    with torch.no_grad():
        model.transformer.ln_f.weight *= 100
        model.transformer.ln_f.bias.normal_(std=100, generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": ids(4, 30)}
    outputs = model(**batch)
    goal = objective_of("self_distillation")(model, outputs, batch)
    loss = goal.loss(outputs).item()
    chances = outputs.logits.softmax(-1)
    entropy = -torch.special.xlogy(chances, chances).sum(-1).mean().item()
    assert loss == pytest.approx(entropy, abs=0.2)


def test_the_heads_that_fisher_ranks_first_by_self_distillation_are_those_that_move_the_outputs():
    """The squared slope under drawn labels is the curvature of the divergence from the intact model, on average."""
    torch.manual_seed(0)
    model = llama(num_hidden_layers=1)
    with torch.no_grad():
        for head, size in enumerate((0.1, 0.3, 1, 3, 10, 30)):
            model.model.layers[0].self_attn.o_proj.weight[:, head * 8 : head * 8 + 8] *= size
    found = measure(model, {"input_ids": ids(40, 12)}, ["fisher"], loss="self_distillation")["fisher"].values[0]
    assert (np.diff(found) > 0).all()
