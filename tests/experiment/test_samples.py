"""What models write."""

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from neural_plasticity.errors import ModelNotUsable, SettingNotUsable
from neural_plasticity.experiment.samples import write_text


def test_the_same_seed_writes_the_same_and_the_stream_is_the_text(tiny):
    pieces: list[str] = []
    first = write_text(tiny.model, tiny.tokenizer, "class ", tokens=12, seed=3, on_text=pieces.append)
    again = write_text(tiny.model, tiny.tokenizer, "class ", tokens=12, seed=3)
    other = write_text(tiny.model, tiny.tokenizer, "class ", tokens=12, seed=4)
    assert first == again == "".join(pieces)
    assert first != other


def test_temperature_zero_takes_the_likeliest_token(tiny):
    ids = tiny.tokenizer("import ", return_tensors="pt")["input_ids"]
    likeliest = tiny.model(input_ids=ids).logits[0, -1].argmax()
    written = write_text(tiny.model, tiny.tokenizer, "import ", tokens=1, seed=0, temperature=0)
    assert written == tiny.tokenizer.decode(likeliest)


def test_all_tokens_may_be_sampled_where_nothing_limits_them(tiny, monkeypatch):
    """transformers' own defaults would keep the 50 likeliest only."""
    seen: list[int] = []
    multinomial = torch.multinomial

    def counting(probabilities, *arguments, **options):
        seen.append(int((probabilities > 0).sum()))
        return multinomial(probabilities, *arguments, **options)

    monkeypatch.setattr(torch, "multinomial", counting)
    write_text(tiny.model, tiny.tokenizer, "a", tokens=1, seed=0, temperature=2.0, top_p=1.0)
    assert seen == [tiny.model.config.vocab_size]


def test_writing_leaves_the_global_generator_alone(tiny):
    before = torch.random.get_rng_state()
    write_text(tiny.model, tiny.tokenizer, "a", tokens=2, seed=0)
    assert torch.equal(before, torch.random.get_rng_state())


def test_nothing_asked_nothing_written_and_an_empty_prompt_starts_a_text(tiny):
    assert write_text(tiny.model, tiny.tokenizer, "a", tokens=0, seed=0) == ""
    assert write_text(tiny.model, tiny.tokenizer, "", tokens=8, seed=0)


def test_what_cannot_be_done_is_said(tiny):
    with pytest.raises(SettingNotUsable, match="takes 1024 at most"):
        write_text(tiny.model, tiny.tokenizer, "a b " * 2000, tokens=1, seed=0)
    with pytest.raises(ModelNotUsable, match="tokenizer"):
        write_text(tiny.model, None, "a", tokens=1, seed=0)
    encoder = BertForMaskedLM(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16))
    with pytest.raises(ModelNotUsable, match="BertForMaskedLM"):
        write_text(encoder, tiny.tokenizer, "a", tokens=1, seed=0)
