"""Models by name, and every way in which one can be wrong."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    MambaConfig,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

from neural_plasticity.errors import ModelNotUsable, SettingNotUsable
from neural_plasticity.inputs.models import load_model
from neural_plasticity.inputs.tiny import FOLDER

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def refused(name: object) -> str:
    with pytest.raises(ModelNotUsable) as refusal:
        load_model(str(name), "cpu")
    message = str(refusal.value)
    assert "\n" not in message
    return message


def test_tiny_is_a_ready_decoder_with_its_own_head_width(tiny):
    config = tiny.model.config
    assert config.head_dim * config.num_attention_heads != config.hidden_size
    assert config.hidden_size % 6 == 0
    assert (config.num_hidden_layers, config.num_attention_heads) == (6, 8)
    assert tiny.model.dtype == torch.float32
    assert not tiny.model.training
    assert (FOLDER / "model.safetensors").stat().st_size <= 4_000_000
    assert {tensor.dtype for tensor in load_file(FOLDER / "model.safetensors").values()} == {torch.float16}


@pytest.mark.parametrize("text", ["def f(x):\n    return x\n", "Zwölf Boxkämpfer 🥊 \x00\t\r\n", ""])
def test_tinys_tokenizer_loses_nothing(tiny, text):
    assert tiny.tokenizer.decode(tiny.tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize(
    "model",
    [
        BertForMaskedLM(BertConfig(**SMALL, vocab_size=30)),
        T5ForConditionalGeneration(T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=30)),
        ViTForImageClassification(ViTConfig(**SMALL, image_size=16, patch_size=8)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_local_folder_opens_as_the_class_it_was_saved_from(tmp_path, model):
    model.save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), "cpu")
    assert type(loaded.model) is type(model)
    assert loaded.tokenizer is None
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weight)


def test_dtype_and_device_are_taken_and_checked():
    assert load_model("tiny", "cpu", "bfloat16").model.dtype == torch.bfloat16
    with pytest.raises(SettingNotUsable):
        load_model("tiny", "cpu", "float99")
    with pytest.raises(SettingNotUsable):
        load_model("tiny", "abacus")


def test_what_is_not_there_is_named(tmp_path):
    assert "does not exist" in refused("./nowhere")
    assert "does not exist" in refused(tmp_path / "a" / "b")
    assert "cannot be loaded" in refused("nobody/nothing")
    (tmp_path / "notes.txt").write_text("x")
    assert "notes.txt" in refused(tmp_path)
    assert "is a file" in refused(tmp_path / "notes.txt")


@pytest.fixture
def copy(tmp_path) -> Path:
    return shutil.copytree(FOLDER, tmp_path / "copy")


def test_broken_checkpoints_are_refused_and_not_filled_with_random_weights(copy):
    weights = load_file(copy / "model.safetensors")
    dropped = dict(list(weights.items())[1:])
    save_file(dropped, copy / "model.safetensors", metadata={"format": "pt"})
    assert "lacks 2 of its weights (lm_head.weight, model.embed_tokens.weight" in refused(copy)
    (copy / "model.safetensors").write_bytes(b"nonsense")
    refused(copy)
    (copy / "model.safetensors").unlink()
    refused(copy)


@pytest.mark.parametrize("config", ["", "[]", "{}", '{"model_type": "no_such_family"}', "\xff"])
def test_broken_configs_are_refused(copy, config):
    (copy / "config.json").write_text(config)
    refused(copy)


def test_a_config_that_does_not_fit_its_weights_is_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"num_attention_heads": 6}))
    assert "other shapes than its config" in refused(copy)


def test_a_model_without_attention_still_opens(tmp_path):
    from transformers import MambaForCausalLM

    MambaForCausalLM(MambaConfig(hidden_size=16, num_hidden_layers=1, vocab_size=30)).save_pretrained(tmp_path)
    assert type(load_model(str(tmp_path), "cpu").model).__name__ == "MambaForCausalLM"


def test_no_code_of_a_checkpoint_is_run(copy):
    """Neither python files that its config points to, nor pickles."""
    proof = copy / "it ran"
    config = json.loads((copy / "config.json").read_text())
    (copy / "evil.py").write_text(f"open({str(proof)!r}, 'w')\n")
    (copy / "config.json").write_text(
        json.dumps(config | {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}})
    )
    refused(copy)
    assert not proof.exists()
    (copy / "config.json").write_text(json.dumps(config))
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    assert "safetensors" in refused(copy)


def test_broken_tokenizers_are_refused(copy):
    (copy / "tokenizer.json").write_text("{")
    refused(copy)


def test_weights_that_are_not_used_are_told(copy, caplog):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    load_model(str(copy), "cpu")
    assert "weights of the checkpoint are not used" in caplog.text


@pytest.mark.parametrize("name", ["", "x" * 300, "~nobody-of-this-name/x", "a\0b"])
def test_names_that_name_nothing_are_refused(name):
    refused(name)
