"""Windows and batches keep every token, in order, and say whose it is."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neural_plasticity.errors import TextNotUsable
from neural_plasticity.inputs.batches import IGNORED, Window, batches, padded, sampled, spread, windows
from neural_plasticity.inputs.documents import Document


@given(st.lists(st.text(alphabet="abc def\n", max_size=80), min_size=1, max_size=6), st.integers(2, 9))
def test_windows_hold_every_token_that_can_be_predicted_from(tiny, texts, length):
    ids = [tiny.tokenizer(text)["input_ids"] for text in texts]
    if not any(len(each) >= 2 for each in ids):
        return
    found = windows(tiny.tokenizer, [Document(str(number), text) for number, text in enumerate(texts)], length)
    for number, each in enumerate(ids):
        joined = [token for window in found if window.document == number for token in window.ids]
        assert joined == each[: len(joined)]
        assert len(each) - len(joined) <= 1
    assert all(2 <= len(window.ids) <= length for window in found)


def test_text_too_short_to_predict_is_refused(tiny):
    with pytest.raises(TextNotUsable, match="too short"):
        windows(tiny.tokenizer, [Document("a", ""), Document("b", "a")], 8)


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=7), min_size=1, max_size=5))
def test_padding_is_masked_and_has_no_label(rows):
    batch = padded(rows, pad=5)
    for row, ids, mask, labels in zip(rows, batch["input_ids"], batch["attention_mask"], batch["labels"], strict=True):
        assert ids[: len(row)].tolist() == labels[: len(row)].tolist() == row
        assert mask.tolist() == [1] * len(row) + [0] * (len(mask) - len(row))
        assert torch.all(labels[len(row) :] == IGNORED)


def test_batches_cover_all_windows_in_order():
    found = [Window(number, (number, number)) for number in range(7)]
    taken = list(batches(found, 3, pad=0))
    assert [window for chosen, _ in taken for window in chosen] == found
    assert [batch["input_ids"].shape[0] for _, batch in taken] == [3, 3, 1]


@given(st.lists(st.integers(2, 50), min_size=1, max_size=200), st.integers(2, 2000))
def test_a_spread_holds_the_tokens_asked_for_evenly_over_all(lengths, tokens):
    found = [Window(number, (0,) * length) for number, length in enumerate(lengths)]
    chosen = spread(found, tokens)
    total = sum(lengths)
    if tokens >= total:
        assert chosen == found
        return
    assert abs(sum(len(window.ids) for window in chosen) - tokens) <= max(lengths)
    half = found[: len(found) // 2]
    share = sum(len(window.ids) for window in half) / total
    in_half = sum(len(window.ids) for window in chosen if window in half)
    assert abs(in_half - share * tokens) <= max(lengths)


def test_enough_documents_are_sampled_evenly_and_all_where_they_are_few():
    documents = [Document(str(number), "word " * (10 + number % 7)) for number in range(500)]
    few = sampled(documents, 20)
    places = [int(document.name) for document in few]
    assert 32 * 20 <= sum(len(document.text) for document in few) < 32 * 20 + 200
    assert places == sorted(places)
    assert max(places) > 400
    assert sampled(documents, 100_000) == documents
