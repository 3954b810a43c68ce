"""What a run reads: the same from any place, as often as it is asked."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, TensorDataset

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.experiment.material import Given, Passages
from neural_plasticity.inputs.documents import Document


def stacked(rows) -> dict:
    return {"x": torch.stack([row[0] for row in rows])}


def loader(**more) -> DataLoader:
    """Nine numbers in batches of two."""
    return DataLoader(TensorDataset(torch.arange(9)), batch_size=2, collate_fn=stacked, **more)


def material(given, **more) -> Given:
    return Given(given, **{"what": "train", "seed": 0, "batch_tokens": 4, **more})


def seen(batch) -> list:
    return batch["x"].tolist()


LOADERS = {
    "shuffled": lambda: loader(shuffle=True),
    "with a generator": lambda: loader(shuffle=True, generator=torch.Generator().manual_seed(int(torch.randint(99, ())))),
    "with a sampler": lambda: loader(sampler=RandomSampler(range(9), replacement=True, num_samples=9, generator=torch.Generator())),
    "with a sampler that draws as it goes": lambda: loader(
        sampler=RandomSampler(range(9), replacement=True, num_samples=70, generator=torch.Generator())
    ),
    "with batches of its own": lambda: DataLoader(
        TensorDataset(torch.arange(9)),
        batch_sampler=BatchSampler(RandomSampler(range(9), generator=torch.Generator()), 2, drop_last=False),
        collate_fn=stacked,
    ),
    "with a sampler that looks at its pass as it goes": lambda: loader(sampler=Turning()),
    "with workers that stay": lambda: loader(shuffle=True, num_workers=1, persistent_workers=True),
}


class Turning:
    """A sampler that asks which pass it is at every number."""

    epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 9

    def __iter__(self):
        return ((place + self.epoch) % 9 for place in range(9))


@pytest.mark.parametrize("kind", [kind for kind in LOADERS if "workers" not in kind])  # which take their time
@settings(max_examples=20)
@given(asked=st.lists(st.integers(0, 30), min_size=1, max_size=8), draws=st.integers(0, 99))
def test_a_batch_depends_on_its_number_and_the_seed_and_on_nothing_that_was_read_before(kind, asked, draws):
    torch.manual_seed(draws)
    whole = material(LOADERS[kind]())
    expected = [seen(whole.at(number)) for number in range(31)]
    other = material(LOADERS[kind]())
    for number in asked:
        torch.rand(draws)
        list(other.parts())
        other.first(8)
        assert seen(other.at(number)) == expected[number]


@pytest.mark.parametrize("kind", LOADERS)
def test_a_pass_that_is_underway_goes_on_as_if_nothing_else_were_read(kind):
    given = LOADERS[kind]()
    alone, beside, other = material(given), material(LOADERS[kind]()), None
    numbers = range(2 * len(alone))
    expected = [seen(alone.at(number)) for number in numbers]
    if kind not in ("with workers that stay", "with a sampler that looks at its pass as it goes"):
        other = material(beside._given, what="eval", seed=7)  # the same loader, given twice
    found = []
    for number in numbers:
        found.append(seen(beside.at(number)))
        for reading in filter(None, (beside, other)):
            reading.first(4)
            list(reading.parts())
    assert found == expected


def test_a_loader_that_is_given_twice_is_read_by_its_first_pass_where_it_is_to_be():
    given = loader(sampler=Turning())
    learned, judged = material(given), material(given, what="eval")
    learned.at(5)
    assert [seen(batch)[0] for _, batch in judged.parts()] == [0, 2, 4, 6, 8]


def test_a_loaders_own_generator_is_left_as_it_was():
    own = torch.Generator().manual_seed(3)
    read = material(loader(shuffle=True, generator=own))
    before = own.get_state()
    read.at(0)
    list(read.parts())
    assert torch.equal(own.get_state(), before)


def test_each_pass_has_an_order_of_its_own_and_meets_everything_once():
    read = material(loader(shuffle=True))
    passes = [[x for place in range(5) for x in seen(read.at(turn * 5 + place))] for turn in range(3)]
    assert all(sorted(each) == list(range(9)) for each in passes)
    assert len({tuple(each) for each in passes}) == 3
    other = material(loader(shuffle=True), seed=1)
    assert [x for place in range(5) for x in seen(other.at(place))] != passes[0]


def test_held_out_batches_come_in_one_order_every_time():
    read = material(loader(shuffle=True))
    first, second = ([seen(batch) for _, batch in read.parts()] for _ in range(2))
    assert first == second
    assert [places for places, _ in read.parts()] == [[0], [1], [2], [3], [4]]


def test_reading_leaves_the_callers_chance_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    read = material(loader(shuffle=True))
    read.at(7)
    list(read.parts())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


def test_a_sampler_that_wants_to_know_the_pass_is_told():
    class Sampler(list):
        def set_epoch(self, epoch):
            self[:] = [(epoch + place) % 9 for place in range(9)]

    read = material(loader(sampler=Sampler(range(9))))
    assert [seen(read.at(number)) for number in (0, 5, 11)] == [[0, 1], [1, 2], [4, 5]]


class Stream(IterableDataset):
    """Rows that nobody has counted."""

    def __iter__(self):
        return iter(torch.arange(5))


def test_a_loader_of_a_stream_without_a_length_is_counted():
    read = material(DataLoader(Stream(), batch_size=2, collate_fn=lambda rows: {"x": torch.stack(rows)}))
    assert (len(read), read.per_pass) == (3, 3)
    assert [seen(read.at(number)) for number in (2, 3)] == [[4], [0, 1]]


def test_what_becomes_shorter_is_refused():
    class Shrinks:
        left = 5

        def __iter__(self):
            type(self).left -= 1
            return iter([{"x": torch.zeros(1)}] * type(self).left)

    read = material(Shrinks())
    with pytest.raises(SettingNotUsable, match="given as train= ended after 2 of 4; give what is as long every time"):
        list(read.parts())


@pytest.mark.parametrize(("tokens", "batches"), [(1, 1), (4, 1), (5, 2), (400, 5)])
def test_as_many_first_batches_are_given_as_hold_the_tokens_of_text(tokens, batches):
    assert len(material(loader()).first(tokens)) == batches


@pytest.mark.parametrize(("tokens", "batches"), [(1, 1), (5, 1), (6, 2), (14, 3), (99, 4)])
def test_padding_is_not_counted_among_the_tokens_of_the_first_batches(tokens, batches):
    """Five real tokens a batch, of which the mask speaks; eight where there is no mask."""
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0]])
    masked = {"input_ids": torch.ones(2, 4, dtype=torch.long), "attention_mask": mask}
    bare = {"input_ids": torch.ones(2, 4, dtype=torch.long)}
    assert len(material([masked, bare, masked, bare]).first(tokens)) == batches


def test_passages_are_counted_by_full_batches_and_the_first_ones_hold_what_is_asked(tiny):
    texts = [Document(str(number), "def f(x):\n    return x\n" * 5) for number in range(5)]
    read = Passages(tiny.tokenizer, texts, length=8, tokens=10**6, batch_size=4, seed=0)
    count = sum(len(places) for places, _ in read.parts())
    assert len(read) == -(-count // 4)
    assert read.per_pass == count // 4
    held = sum(int(batch["attention_mask"].sum()) for batch in read.first(40))
    assert 32 <= held <= 48
