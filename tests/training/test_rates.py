"""Rates of heads, held to the same step without them and to slices that are written down by hand."""

from copy import deepcopy
from functools import cache, partial
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import SGD, Adafactor, AdamW
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.optimization import Adafactor as OldAdafactor

from neural_plasticity.anatomy.dissect import dissect
from neural_plasticity.anatomy.sites import Anatomy
from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.surgery.surgeon import Surgeon
from neural_plasticity.training.rates import HeadRates, common
from tests.surgery.models import t5
from tests.training.models import ANATOMIES, batch, fresh, learn, same, weights

OPTIMIZERS: dict[str, Any] = {
    "sgd": partial(SGD, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adamw": partial(AdamW, lr=1e-2, weight_decay=0.1, foreach=False),
    "adamw-foreach": partial(AdamW, lr=1e-2, weight_decay=0.1, foreach=True),
    "adamw-fused": partial(AdamW, lr=1e-2, weight_decay=0.1, fused=True),
    "adafactor": partial(Adafactor, lr=1e-2),
    "old-adafactor": partial(OldAdafactor, lr=1e-2, relative_step=False, scale_parameter=True, warmup_init=False),
    "accelerated": lambda parameters: Accelerator(cpu=True).prepare(AdamW(parameters, lr=1e-2)),
}


def slices(kind: str, layer: int, head: int, group: bool = False) -> dict[str, tuple[Any, ...]]:
    """The places of a head in these models, by hand; with `group`, of its key and value too."""
    if kind == "gpt2":  # fused and stored inputs × outputs: 4 heads of 6
        own = list(range(6 * head, 6 * head + 6))
        columns = [part * 24 + place for part in range(3) for place in own]
        at = f"transformer.h.{layer}.attn"
        return {f"{at}.c_attn.weight": (slice(None), columns), f"{at}.c_attn.bias": (columns,), f"{at}.c_proj.weight": (own,)}
    at = f"model.layers.{layer}.self_attn"  # 6 heads of 8 on 2 groups
    own, shared = slice(8 * head, 8 * head + 8), slice(8 * (head // 3), 8 * (head // 3) + 8)
    found: dict[str, tuple[Any, ...]] = {f"{at}.q_proj.weight": (own,), f"{at}.o_proj.weight": (slice(None), own)}
    return found | ({f"{at}.k_proj.weight": (shared,), f"{at}.v_proj.weight": (shared,)} if group else {})


def expected(before: dict[str, Tensor], plain: dict[str, Tensor], pieces: list[tuple[dict[str, Any], float]]) -> dict[str, Tensor]:
    """The plain step, but for these pieces: so many times as far, in float64."""
    found = {name: value.clone() for name, value in plain.items()}
    for piece, rate in pieces:
        for name, places in piece.items():
            old, moved = before[name][places], plain[name][places].double() - before[name][places].double()
            found[name][places] = (old.double() + rate * moved).to(old.dtype)
    return found


def assert_close(found: dict[str, Tensor], wanted: dict[str, Tensor], touched: set[str]) -> None:
    for name, value in found.items():
        if name in touched:
            assert torch.allclose(value, wanted[name], rtol=1e-6, atol=1e-8), name
        else:
            assert torch.equal(value, wanted[name]), name


@pytest.mark.parametrize("rate", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("optimizer_kind", OPTIMIZERS)
def test_a_rate_of_three_moves_a_heads_slice_three_times_as_far_and_no_other_differently(optimizer_kind, kind, rate):
    model, twin = fresh(kind), fresh(kind)
    optimizer, other = OPTIMIZERS[optimizer_kind](model.parameters()), OPTIMIZERS[optimizer_kind](twin.parameters())
    learn(model, optimizer)
    learn(twin, other)
    before = weights(model)
    with HeadRates(model, {(1, 2): rate}, ANATOMIES[kind]) as rates:
        rates.attach(optimizer)
        learn(model, optimizer, seed=1)
    learn(twin, other, seed=1)
    piece = slices(kind, 1, 2)
    after, wanted = weights(model), expected(before, weights(twin), [(piece, rate)])
    assert_close(after, wanted, set(piece))
    for name, places in piece.items():
        if rate == 0:
            assert torch.equal(after[name][places], before[name][places])
        mask = torch.ones_like(after[name], dtype=torch.bool)
        mask[places] = False
        assert torch.equal(after[name][mask], weights(twin)[name][mask])
    learn(model, optimizer, seed=2)  # detached: nothing is left on the optimizer
    assert not getattr(optimizer, "optimizer", optimizer)._optimizer_step_pre_hooks


def test_key_and_value_of_a_group_move_by_what_its_heads_have_in_common():
    rates = {(0, 0): 3.0, (0, 1): 2.0, (0, 2): 4.0, (1, 0): 0.5, (1, 1): 0.0, (1, 2): 0.25, (2, 3): 0.0, (2, 4): 2.0, (2, 5): 2.0}
    model, twin = fresh("llama"), fresh("llama")
    before = weights(model)
    optimizer = AdamW(model.parameters(), lr=1e-2)
    HeadRates(model, rates, ANATOMIES["llama"]).attach(optimizer)
    learn(model, optimizer)
    learn(twin, AdamW(twin.parameters(), lr=1e-2))
    pieces = [(slices("llama", *head), rate) for head, rate in rates.items()]
    keys = [({name: at for name, at in slices("llama", layer, 0, group=True).items() if "k_p" in name or "v_p" in name}, rate)
            for layer, rate in ((0, 2.0), (1, 0.5))]  # fmt: skip
    wanted = expected(before, weights(twin), pieces + keys)
    assert_close(weights(model), wanted, {name for piece, _ in pieces + keys for name in piece})


@pytest.mark.parametrize(
    ("rates", "one"),
    [([3, 2], 2), ([0.5, 0.1], 0.5), ([0, 0], 0), ([1, 9], 1), ([1, 0], 1), ([0.5, 3], 1), ([0, 7], 1), ([2], 2)],
)
def test_in_common_is_the_nearest_to_one_on_one_side_of_it(rates, one):
    assert common(rates) == common(reversed(rates)) == one


def shaped(groups: int, ratio: int, width: int) -> LlamaForCausalLM:
    sizes = {"hidden_size": 36, "num_attention_heads": groups * ratio, "num_key_value_heads": groups, "head_dim": width}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(**sizes, num_hidden_layers=1, intermediate_size=8, vocab_size=50, pad_token_id=0))


@cache
def anatomy_of(*shape: int) -> Anatomy:
    return dissect(shaped(*shape))


SHAPES = [(1, 2, 2), (2, 2, 4), (3, 1, 2), (2, 3, 4), (3, 2, 6)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@settings(max_examples=10)
@given(data=st.data())
def test_random_rates_on_random_shapes_move_every_weight_by_the_factor_of_those_it_serves(shape, data):
    """By brute force: each single weight asks every head whether it is one of its own."""
    groups, ratio, width = shape
    heads = groups * ratio
    model = shaped(*shape)
    twin = deepcopy(model)
    rates = [data.draw(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0])) for _ in range(heads)]
    before, optimizer = weights(model), SGD(model.parameters(), lr=1.0)
    HeadRates(model, {(0, head): rate for head, rate in enumerate(rates)}, anatomy_of(*shape)).attach(optimizer)
    learn(model, optimizer)
    learn(twin, SGD(twin.parameters(), lr=1.0))
    found, plain = weights(model), weights(twin)
    for role, count in (("q", heads), ("k", groups), ("v", groups), ("o", heads)):
        name = f"model.layers.0.self_attn.{role}_proj.weight"
        turned = (lambda value: value.T) if role == "o" else (lambda value: value)
        for row in range(count * width):
            served = [rates[row // width]] if count == heads and role in "qo" else rates[row // width * ratio :][:ratio]
            above, below = [each for each in served if each > 1], [each for each in served if each < 1]
            mixed = (above and below) or len(above) + len(below) < len(served)
            factor = 1.0 if mixed else min(served) if above else max(served)
            old, new = turned(before[name])[row], turned(plain[name])[row]
            assert torch.allclose(turned(found[name])[row], old + factor * (new - old), rtol=1e-5, atol=1e-8), (role, row)


def test_weights_that_several_layers_share_move_by_what_all_of_them_have_in_common():
    """A table of position biases, one column a head, that all layers of an encoder read."""
    table = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    for rates, moves in (({(0, 1): 3.0}, 1.0), ({(0, 1): 3.0, (1, 1): 2.0}, 2.0), ({(0, 1): 0.5, (1, 1): 0.0}, 0.5)):
        model, twin = t5(), t5()
        before, optimizer = weights(model), SGD(model.parameters(), lr=0.1)
        HeadRates(model, rates).attach(optimizer)
        learn(model, optimizer)
        learn(twin, SGD(twin.parameters(), lr=0.1))
        own = slice(8, 16)
        pieces: list[tuple[dict[str, Any], float]] = [({table: (slice(None), [1])}, moves)]
        for (layer, _), rate in rates.items():
            at = f"encoder.block.{layer}.layer.0.SelfAttention"
            pieces.append(({f"{at}.{role}.weight": (own,) for role in "qkv"} | {f"{at}.o.weight": (slice(None), own)}, rate))
        assert not torch.equal(before[table], weights(twin)[table])
        assert_close(weights(model), expected(before, weights(twin), pieces), {name for piece, _ in pieces for name in piece})


def test_a_skipped_step_of_a_gradient_scaler_scales_nothing():
    for fused in (False, True):
        model = fresh("llama")
        before, optimizer = weights(model), AdamW(model.parameters(), lr=1e-2, fused=fused)
        HeadRates(model, {(0, 0): 3.0, (1, 1): 0.0}, ANATOMIES["llama"]).attach(optimizer)
        scaler = GradScaler("cpu")
        scaler.scale(model(**batch(0)).loss).backward()
        model.lm_head.weight.grad[0, 0] = float("inf")
        scaler.step(optimizer)
        scaler.update()
        assert same(weights(model), before)


def test_a_step_of_nothing_keeps_even_the_signs_of_zeros():
    model = fresh("llama")
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight[:8] = -0.0
    twin, optimizer = deepcopy(model), AdamW(model.parameters(), lr=0.0)
    HeadRates(model, {(0, 0): 3.0, (0, 1): 0.0}, ANATOMIES["llama"]).attach(optimizer)
    learn(model, optimizer)
    learn(twin, AdamW(twin.parameters(), lr=0.0))
    assert same(weights(model), weights(twin))
    assert weights(model)["model.layers.0.self_attn.q_proj.weight"][:8].signbit().any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes_are_scaled_in_what_they_can_hold(dtype):
    model, twin = fresh("llama").to(dtype), fresh("llama").to(dtype)
    before, optimizer = weights(model), SGD(model.parameters(), lr=1.0)
    HeadRates(model, {(0, 1): 3.0}, ANATOMIES["llama"]).attach(optimizer)
    learn(model, optimizer)
    learn(twin, SGD(twin.parameters(), lr=1.0))
    piece = slices("llama", 0, 1)
    wanted = expected(before, weights(twin), [(piece, 3.0)])
    for name, value in weights(model).items():
        assert torch.equal(value, wanted[name]) if dtype == torch.bfloat16 else torch.allclose(value, wanted[name], rtol=1e-14)


def test_rates_follow_their_heads_through_surgery():
    """Head 2 of layer 0 lies elsewhere once heads before it have left, and its group's key is its own once it is alone."""
    model = fresh("llama")
    optimizer = SGD(model.parameters(), lr=0.1)
    rates = HeadRates(model, {(0, 2): 0.0, (0, 1): 0.0, (1, 5): 0.0}, ANATOMIES["llama"])
    rates.attach(optimizer)
    surgeon = Surgeon(model, anatomy=ANATOMIES["llama"])
    surgeon.attach(optimizer)

    def frozen(step: int) -> dict[str, Tensor]:
        """Which weights of layer 0 did not move."""
        before = weights(model)
        learn(model, optimizer, seed=step)
        at = "model.layers.0.self_attn."
        return {name.removeprefix(at)[0]: value.eq(before[name]) for name, value in weights(model).items() if name.startswith(at)}

    still = frozen(0)
    assert still["q"].all(1).nonzero().flatten().tolist() == list(range(8, 24))
    assert not still["k"].all(1).any()  # head 0 moves, and key and value with it
    surgeon.prune([(0, 0)])
    still = frozen(1)
    assert still["q"].all(1).nonzero().flatten().tolist() == list(range(16))
    assert still["o"].all(0).nonzero().flatten().tolist() == list(range(16))
    assert still["k"].all(1).nonzero().flatten().tolist() == list(range(8))
    surgeon.prune([(0, 1), (0, 2)])
    assert not frozen(2)["q"].all(1).any()
    surgeon.revive([(0, 2)])
    assert frozen(3)["q"].all(1).nonzero().flatten().tolist() == list(range(8))
    surgeon.revive([(0, 0), (0, 1)])
    assert frozen(4)["q"].all(1).nonzero().flatten().tolist() == list(range(8, 24))


def test_a_masked_head_does_not_speak_for_its_group():
    model = fresh("llama")
    Surgeon(model, anatomy=ANATOMIES["llama"]).prune([(0, 0)], mode="mask_forward")
    before, optimizer = weights(model), SGD(model.parameters(), lr=0.1)
    HeadRates(model, {(0, 1): 0.0, (0, 2): 0.0}).attach(optimizer)
    learn(model, optimizer)
    assert torch.equal(model.model.layers[0].self_attn.k_proj.weight[:8], before["model.layers.0.self_attn.k_proj.weight"][:8])


def test_only_slices_are_copied():
    model = fresh("llama")
    optimizer = SGD(model.parameters(), lr=0.1)
    HeadRates(model, {(0, 1): 3.0}, ANATOMIES["llama"]).attach(optimizer)
    learn(model, optimizer)
    (hook,) = optimizer._optimizer_step_pre_hooks.values()
    hook(optimizer, (), {})
    held = next(cell.cell_contents for cell in hook.__closure__ if isinstance(cell.cell_contents, list))
    assert sum(was.numel() for _, was in held) == 2 * 8 * 36


@pytest.mark.parametrize(
    ("rates", "words"),
    [({(9, 0): 2.0}, "no head 9.0"), ({(0, 6): 1.0}, "no head 0.6"), ({(0, 0): -1.0}, "-1.0"), ({(0, 0): float("nan")}, "nan")],
)
def test_rates_that_cannot_be_are_refused(rates, words):
    with pytest.raises(SettingNotUsable, match=words):
        HeadRates(fresh("llama"), rates, ANATOMIES["llama"])


def test_attaching_twice_is_refused():
    model: nn.Module = fresh("llama")
    optimizer, rates = SGD(model.parameters(), lr=0.1), HeadRates(model, {(0, 0): 2.0}, ANATOMIES["llama"])
    rates.attach(optimizer)
    with pytest.raises(SettingNotUsable, match="already"):
        rates.attach(optimizer)
    rates.detach()
    rates.attach(optimizer)
