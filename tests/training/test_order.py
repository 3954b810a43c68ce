"""The order of samples: epochs that are permutations, from the seed alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.training.order import Order


@given(n=st.integers(1, 40), batch_size=st.integers(1, 12), seed=st.integers(0, 99), epoch=st.integers(0, 5))
def test_every_batch_of_an_epoch_is_full_and_no_sample_comes_twice(n, batch_size, seed, epoch):
    order = Order(n, batch_size, seed)
    per_epoch = n // min(n, batch_size)
    batches = [order.batch(epoch * per_epoch + k) for k in range(per_epoch)]
    assert all(len(batch) == min(n, batch_size) for batch in batches)
    met = [sample for batch in batches for sample in batch]
    assert len(set(met)) == len(met)
    assert set(met) <= set(range(n))
    assert len(met) > n - batch_size


@given(k=st.integers(0, 500), others=st.lists(st.integers(0, 500), max_size=5))
def test_a_batch_depends_on_its_number_and_on_nothing_asked_before(k, others):
    asked = Order(13, 4, 7)
    for other in others:
        asked.batch(other)
    assert asked.batch(k) == Order(13, 4, 7).batch(k)


def test_epochs_and_seeds_differ_and_the_left_over_ones_too():
    order = Order(50, 8, 0)
    epochs = [[order.batch(6 * epoch + k) for k in range(6)] for epoch in range(4)]
    assert len({str(epoch) for epoch in epochs}) == 4
    assert Order(50, 8, 1).batch(0) != order.batch(0)
    left = {frozenset(range(50)) - {sample for batch in epoch for sample in batch} for epoch in epochs}
    assert len(left) > 1


@pytest.mark.parametrize("arguments", [(0, 1, 0), (1, 0, 0), (1, 1, -1), (2.5, 1, 0)])
def test_what_has_no_order_is_refused(arguments):
    with pytest.raises(SettingNotUsable):
        Order(*arguments)
    with pytest.raises(SettingNotUsable, match="no batch -1"):
        Order(3, 1, 0).batch(-1)
