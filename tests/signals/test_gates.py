"""Slopes of gates against gates turned by hand, in float64, from both sides."""

from functools import partial

import pytest
import torch
from transformers import GPT2LMHeadModel, LlamaForCausalLM

from neural_plasticity.anatomy.bank import Bank
from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.sites import Anatomy
from neural_plasticity.anatomy.taps import open_taps
from neural_plasticity.errors import NotMeasurable
from neural_plasticity.heads import HeadId
from neural_plasticity.signals.measure import measure
from tests.anatomy.models import gpt2, ids, llama
from tests.conformance.families import FAMILIES
from tests.signals.brute import IGNORED, close, damage, grid, next_word, one_class, same_place, slope, slopes

LOSSES = {"llama": next_word, "gpt2": next_word, "mt5": same_place, "bart": same_place, "bert": same_place, "vit": one_class}


def labelled(name: str, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Three samples, two of them padded where there are words, with different numbers of labels."""
    batch = FAMILIES[name].example(model, 3, batch=3)
    batch.pop("decoder_input_ids", None)
    if "input_ids" not in batch:
        return batch | {"labels": torch.tensor([0, 1, 1])}
    mask = torch.ones_like(batch["input_ids"])
    mask[0, 5:] = mask[1, 4:] = 0
    labels = batch["input_ids"].roll(1, 0).masked_fill(mask == 0, IGNORED)
    labels[2, :3] = IGNORED
    return batch | {"attention_mask": mask, "labels": labels}


def counts(name: str, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """How many predictions each sample has."""
    labels = batch["labels"]
    if labels.dim() == 1:
        return torch.ones(len(labels))
    return (labels[:, 1:] if LOSSES[name] is next_word else labels).ne(IGNORED).sum(1).double()


def averaged(found: dict[HeadId, torch.Tensor], weights: torch.Tensor) -> dict[HeadId, torch.Tensor]:
    return {head: (values * weights).sum() / weights.sum() for head, values in found.items()}


@pytest.fixture(scope="module", params=LOSSES)
def case(request) -> tuple[str, torch.nn.Module, Anatomy, dict[str, torch.Tensor]]:
    family = FAMILIES[request.param]
    model = family.build(5).double()
    model.config.decoder_start_token_id = 2
    return request.param, model, dissect(model, family.example(model, 5)), labelled(request.param, model)


def test_taylor_and_fisher_are_slopes_of_gates_that_are_really_turned(case):
    name, model, anatomy, batch = case
    found = measure(model, batch, ["taylor", "fisher"], anatomy=anatomy)
    each, weights = slopes(model, anatomy, batch, LOSSES[name]), counts(name, batch)
    assert len(set(weights.tolist())) > 1 or name == "vit"
    expected = averaged({head: values.abs() for head, values in each.items()}, weights)
    close(found["taylor"], grid(expected, found["taylor"].values), rtol=1e-3)  # norms compute in float32, whatever the model does
    squared = averaged({head: values.square() for head, values in each.items()}, weights)
    close(found["fisher"], grid(squared, found["fisher"].values), rtol=2e-3)


def test_ablation_is_the_loss_with_each_head_really_left_out(case):
    name, model, anatomy, batch = case
    found = measure(model, batch, ["ablation"], anatomy=anatomy)["ablation"]
    expected = averaged(damage(model, anatomy, batch, LOSSES[name]), counts(name, batch))
    close(found, grid(expected, found.values), rtol=1e-3, atol=2e-6)  # the model's own loss is a float32


@torch.no_grad()
def scaled(model: torch.nn.Module, batch: dict[str, torch.Tensor], layer: int, head: int, factor: float) -> torch.Tensor:
    """The losses with a head's part of the output projection scaled: no tap is needed to turn a gate."""
    width = model.config.head_dim if isinstance(model, LlamaForCausalLM) else model.config.n_embd // model.config.n_head
    mine = slice(head * width, (head + 1) * width)
    if isinstance(model, GPT2LMHeadModel):
        piece = model.transformer.h[layer].attn.c_proj.weight[mine]
    else:
        piece = model.model.layers[layer].self_attn.o_proj.weight[:, mine]
    before = piece.clone()
    piece.mul_(factor)
    losses = next_word(model(**batch), batch)
    piece.copy_(before)
    return losses


@pytest.mark.parametrize("build", [llama, gpt2])
def test_they_are_slopes_of_the_output_projection_too(build):
    model = build().double()
    batch = {"input_ids": ids(3, 8), "labels": ids(3, 8)}
    found = measure(model, batch, ["taylor"])["taylor"]
    expected = {}
    for layer, head in dissect(model).heads:
        expected[layer, head] = slope(partial(scaled, model, batch, layer, head), 1.0).abs().mean()
    close(found, grid(expected, found.values))


def test_a_sample_without_any_label_counts_for_nothing():
    model = llama()
    words = ids(3, 8)
    labels = words.clone()
    labels[1] = IGNORED
    kept = [0, 2]
    signals = ["taylor", "fisher", "gradient", "ablation"]
    whole = measure(model, {"input_ids": words, "labels": labels}, signals)
    part = measure(model, {"input_ids": words[kept], "labels": labels[kept]}, signals)
    for name in signals:
        close(whole[name], part[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["swin", "vivit", "timesformer", "wav2vec2"])
def test_rows_that_a_model_makes_of_a_sample_share_its_gates(name):
    """Windows, frames and patches lie in rows of their own; the loss is any function of the outputs."""
    family = FAMILIES[name]
    model = family.build(5).double()
    batch = {key: each.double() if each.is_floating_point() else each for key, each in family.example(model, 4, batch=3).items()}
    anatomy = dissect(model, batch)

    def losses(outputs, batch):
        main = next(value for value in outputs.values() if isinstance(value, torch.Tensor) and value.dim() > 1)
        return main.double().flatten(1).sin().sum(1)

    found = measure(model, batch, ["taylor", "fisher"], loss=lambda outputs, batch: losses(outputs, batch).mean(), anatomy=anatomy)
    each = slopes(model, anatomy, batch, losses)
    close(found["taylor"], grid({head: values.abs().mean() for head, values in each.items()}, found["taylor"].values))
    close(found["fisher"], grid({head: values.square().mean() for head, values in each.items()}, found["fisher"].values))


# --- dormant heads -----------------------------------------------------------------------------------------------------


def asleep(model: torch.nn.Module, anatomy: Anatomy, heads: list[HeadId]) -> Bank:
    """A bank of these heads, whose part of the output projection is now 0 in the model."""
    bank = Bank()
    for layer, head in heads:
        bank.keep(model, anatomy[layer], head)
    for layer, head in heads:
        with torch.no_grad():
            for name, columns in anatomy[layer].rows("o", head).items():
                weight = model.get_submodule(name).weight
                (weight.T if isinstance(model, GPT2LMHeadModel) else weight)[:, list(columns)] = 0
    return bank


@pytest.mark.parametrize(("build", "heads"), [(llama, [(0, 1), (1, 3), (1, 4), (1, 5)]), (gpt2, [(0, 0), (1, 2)])])
def test_wake_is_the_slope_of_opening_the_gate_of_a_dormant_head(build, heads):
    """In llama the last three are a whole group, so their key and value come from the bank too."""
    model, awake = build().double(), build().double()
    anatomy = dissect(model)
    bank = asleep(model, anatomy, [HeadId(*head) for head in heads])
    if build is llama:  # its key and value were taken too, as by surgery
        with torch.no_grad():
            model.model.layers[1].self_attn.k_proj.weight[8:] = 0
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = {"input_ids": ids(3, 8), "labels": ids(3, 8).roll(1, 0)}
    batch["labels"][0, :4] = IGNORED
    found = measure(model, batch, ["wake", "taylor"], anatomy=anatomy, bank=bank)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

    weights = counts("llama", batch)
    expected = {}
    for one in heads:
        expected[one] = (slope(partial(opened, awake, anatomy, batch, heads, one), 0.0) * weights).sum() / weights.sum()
    close(found["wake"], grid(expected, found["wake"].values))
    assert all(found["taylor"][head] >= 0 for head in anatomy.heads if head not in heads)


@torch.no_grad()
def opened(model, anatomy, batch, closed, one, factor):
    """The losses of a model with all its weights, where some heads are shut and one of them is open by this much."""

    def tap_of(layer):
        def tap(call):
            output = call.output.clone()
            for where, head in closed:
                if where == layer:
                    output[..., head, :] = output[..., head, :] * (factor if (where, head) == one else 0)
            return output

        return tap

    with open_taps(model, {anatomy[layer]: tap_of(layer) for layer, _ in closed}):
        return next_word(model(**batch), batch)


def test_without_dormant_heads_there_is_nothing_to_wake():
    with pytest.raises(NotMeasurable, match="wake"):
        measure(llama(), {"input_ids": ids(2, 6), "labels": ids(2, 6)}, ["wake"])


def test_samples_that_share_rows_are_measured_one_at_a_time():
    """Pictures of all samples lie in one row in some models; a gate for each sample would be a guess."""
    family = FAMILIES["qwen2_vl"]
    model = family.build(5)
    batch = family.example(model, 4, batch=2)
    found = measure(model, batch, ["taylor"], loss="next_token", anatomy=dissect(model, batch))
    assert any("one sample at a time" in reason for reason in found.refused["taylor"].values())
