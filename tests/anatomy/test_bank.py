"""The bank gives back what it took, bit for bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_plasticity.anatomy.bank import Bank, parts_of
from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.errors import NotBanked
from neural_plasticity.heads import HeadId
from tests.anatomy.models import gpt2, ids, llama
from tests.conformance.families import FAMILIES

BUILD = {"llama": llama, "gpt2": gpt2, "bfloat16": lambda: llama().to(torch.bfloat16)}


@pytest.mark.parametrize("kind", BUILD)
@settings(max_examples=15)
@given(heads=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), min_size=1, max_size=5, unique=True), order=st.randoms())
def test_what_is_given_back_is_what_was_taken(kind, heads, order):
    model = BUILD[kind]()
    anatomy = dissect(model)
    before = {name: parameter.clone() for name, parameter in model.state_dict().items()}
    bank = Bank()
    for layer, head in heads:
        bank.keep(model, anatomy[layer], head)
    with torch.no_grad():
        for layer, head in heads:
            for part in parts_of(model, anatomy[layer], head):
                part.put(model, torch.full_like(part.of(model), 3.5))
    assert any(not torch.equal(before[name], parameter) for name, parameter in model.state_dict().items())
    for head in order.sample(bank.heads, len(bank.heads)):
        bank.give_back(model, head)
    for name, parameter in model.state_dict().items():
        assert torch.equal(before[name], parameter)


def test_the_pieces_of_a_head_are_what_makes_it_matter():
    """With the output columns of a head at 0 the model is as if a tap had silenced the head."""
    from neural_plasticity.anatomy.taps import open_taps

    for model in (llama(), gpt2()):
        site = dissect(model)[1]
        silence = torch.ones(site.heads)
        silence[2] = 0
        with torch.no_grad():
            with open_taps(model, {site: lambda call, silence=silence: call.output * silence[:, None]}):
                expected = model(input_ids=ids(2, 6)).logits
            (reader,) = (each.module for each in site.of_role("o"))
            for part in parts_of(model, site, 2):
                if part.parameter == f"{reader}.weight":
                    part.put(model, torch.zeros_like(part.of(model)))
            torch.testing.assert_close(model(input_ids=ids(2, 6)).logits, expected)


@pytest.mark.parametrize("name", ["gpt_oss", "t5", "cohere-qk-norm", "qwen3_next"])
def test_extras_and_gates_are_banked_too(name):
    family = FAMILIES[name]
    model = family.build(9)
    anatomy = dissect(model, family.example(model, 9))
    site = next(site for site in anatomy if site.extras or site.of_role("gate"))
    parameters = {part.parameter for part in parts_of(model, site, 0)}
    assert {extra.parameter for extra in site.extras} <= parameters
    assert {f"{each.module}.weight" for each in site.slices} <= parameters


def test_what_it_does_not_hold_is_refused():
    bank = Bank()
    bank.keep(model := llama(), dissect(model)[0], 1)
    assert HeadId(0, 1) in bank
    bank.forget(HeadId(0, 1))
    with pytest.raises(NotBanked, match=r"Head 0\.1 .* holds none"):
        bank.give_back(model, HeadId(0, 1))
