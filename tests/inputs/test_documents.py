"""The split into learned and held-out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_plasticity.inputs.documents import Document, is_held_out, of_split

names = st.lists(st.text(min_size=1), unique=True, max_size=60)


@given(names, st.randoms())
def test_a_document_stays_on_its_side_whatever_else_is_there(names, order):
    documents = [Document(name, "text") for name in names]
    shuffled = order.sample(documents, len(documents))
    if len(documents) >= 20:
        assert set(of_split(documents, "held_out")) == set(of_split(shuffled, "held_out"))
        assert set(of_split(documents, "held_out")).isdisjoint(of_split(documents, "train"))
        assert len(of_split(documents, "held_out")) + len(of_split(documents, "train")) == len(documents)
    assert of_split(documents, "all") == documents


def test_known_names_stand_on_their_known_sides():
    """Fixed here, so that nobody moves the line by accident: the embedded model was trained on one side of it."""
    assert is_held_out("stdlib/json/__init__.py")
    assert is_held_out("stdlib/ipaddress.py")
    assert not is_held_out("stdlib/json/decoder.py")
    assert not is_held_out("stdlib/os.py")


def test_about_a_tenth_is_held_out():
    share = sum(is_held_out(f"file-{number}.txt") for number in range(20_000)) / 20_000
    assert abs(share - 0.1) < 0.01


@given(st.text(alphabet="ab \n", min_size=30, max_size=400))
def test_few_documents_are_cut_in_two_and_nothing_is_lost(text):
    documents = [Document("one", text)]
    train = "".join(part.text for part in of_split(documents, "train"))
    held_out = "".join(part.text for part in of_split(documents, "held_out"))
    assert (train + held_out).split() == text.split()
    assert not train or text.startswith(train)


def test_many_documents_that_all_fall_on_one_side_are_cut_too():
    names = [name for number in range(400) if not is_held_out(name := f"row {number}")][:25]
    documents = [Document(name, "words " * 20) for name in names]
    assert len(of_split(documents, "held_out")) == len(of_split(documents, "train")) == 25


def test_a_short_title_does_not_take_the_place_of_the_learned_side():
    (train,) = of_split([Document("one", "Title\n" + "x" * 10_000)], "train")
    assert len(train.text) == pytest.approx(9_000, abs=20)


@given(names, st.text(min_size=1))
def test_another_document_moves_none_across_the_line(names, newcomer):
    documents = [Document(name, "text") for name in {*names, *(f"file {number}" for number in range(30))} - {newcomer}]
    before, after = of_split(documents, "held_out"), of_split([*documents, Document(newcomer, "text")], "held_out")
    assert {each.name for each in after} - {newcomer} == {each.name for each in before}


def test_a_cut_falls_between_lines():
    text = "".join(f"line {number}\n" for number in range(100))
    (held_out,) = of_split([Document("one", text)], "held_out")
    assert held_out.text.splitlines()[0] in text.splitlines()
    assert 5 <= len(held_out.text.splitlines()) <= 15
