"""What cannot be saved or opened is refused in one sentence, and nothing is lost by it."""

import hashlib
import json

import pytest
import torch

from neural_plasticity.anatomy.past import past_of
from neural_plasticity.errors import ModelNotUsable, SettingNotUsable, SurgeryError
from neural_plasticity.surgery import saving, skeleton
from neural_plasticity.surgery.saving import load, load_into
from neural_plasticity.surgery.surgeon import Surgeon
from tests.anatomy.models import llama
from tests.anatomy.test_dissect import same
from tests.surgery.models import seen
from tests.surgery.test_saving import keep, pruned


def test_a_class_of_the_users_own_is_refused_before_anything_is_written(tmp_path):
    class Own(type(llama())):
        """Not in transformers."""

    with torch.random.fork_rng():
        surgeon = Surgeon(Own(llama().config))
    with pytest.raises(SurgeryError, match=r"Own is not a class of transformers, so .* save model\.state_dict"):
        keep(surgeon, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_somebody_else_is_not_written_over(tmp_path):
    llama().save_pretrained(tmp_path)
    with pytest.raises(SurgeryError, match="holds a checkpoint that no surgeon saved; name another folder"):
        keep(pruned(), tmp_path)
    with pytest.raises(ModelNotUsable, match=r"holds a plain checkpoint, without plasticity\.json; open it by .*load_model"):
        load(tmp_path)


def test_a_model_that_its_config_does_not_describe_is_refused_before_anything_is_written(tmp_path):
    surgeon = pruned()
    surgeon.model.lm_head = torch.nn.Linear(36, 7, bias=False)
    with pytest.raises(SurgeryError, match=r"cannot be built again from its config, which leaves lm_head\.weight otherwise"):
        keep(surgeon, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_cannot_save_to_a_folder_at_once(tmp_path):
    with saving._held(tmp_path), pytest.raises(SurgeryError, match="Another process is saving"):
        keep(pruned(), tmp_path)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "zero\0byte"):
        with pytest.raises(SurgeryError, match="cannot be saved"):
            keep(pruned(), place)


@pytest.mark.parametrize("name", ["plasticity.json", "config.json", "model.safetensors", "generation_config.json"])
def test_a_folder_where_a_file_goes_is_refused_before_anything_is_written(name, tmp_path):
    (tmp_path / name).mkdir()
    with pytest.raises(SurgeryError, match=f"holds a folder named {name}, where a file of the model goes; name another folder"):
        keep(pruned(), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {name, ".saving.lock"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    keep(pruned(), folder)
    return folder


@pytest.fixture
def folder(sound, tmp_path):
    for path in sound.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def manifest_with(folder, **changes):
    path = folder / "plasticity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_folders_without_a_model_are_named_as_what_they_are(tmp_path):
    with pytest.raises(ModelNotUsable, match="does not exist"):
        load(tmp_path / "none")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ModelNotUsable, match="is a file"):
        load(tmp_path / "notes.txt")
    with pytest.raises(ModelNotUsable, match=r"holds no saved model: no plasticity\.json, but notes\.txt"):
        load(tmp_path)


@pytest.mark.parametrize("role", ["weights", "bank", "buffers"])
def test_weights_that_are_cut_short_changed_or_missing_are_refused(role, folder):
    (path,) = folder.glob(f"{role}-*")
    content = path.read_bytes()
    path.write_bytes(content[:-7])
    with pytest.raises(ModelNotUsable, match=rf"{role}-.* is {len(content) - 7} bytes long and was {len(content)} when saved"):
        load(folder, "cpu")
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelNotUsable, match=r"checksum differs; restore it from a copy\.$"):
        load(folder, "cpu")
    path.unlink()
    with pytest.raises(ModelNotUsable, match=rf"lacks {role}-\w+\.safetensors, which holds weights"):
        load(folder, "cpu")


@pytest.mark.parametrize("left", [0, 7, 8, 100, 1000])
def test_weights_that_are_no_safetensors_are_refused_even_where_the_manifest_swears_to_them(left, folder):
    (path,) = folder.glob("weights-*")
    content = path.read_bytes()[:left]
    path.write_bytes(content)
    files = json.loads((folder / "plasticity.json").read_text())["files"]
    files["weights"] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest_with(folder, files=files)
    with pytest.raises(
        ModelNotUsable, match=r"weights-\w+\.safetensors cannot be read \(SafetensorError: .*restore it from a copy"
    ):
        load(folder, "cpu")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema": true}', '{"schema": 1}', '{"schema": 1, "files": {}}'])
def test_a_manifest_that_is_none_is_refused(content, folder):
    (folder / "plasticity.json").write_text(content)
    with pytest.raises(ModelNotUsable, match=r"plasticity\.json cannot be understood"):
        load(folder, "cpu")


@pytest.mark.parametrize(
    "changes",
    [
        {"modes": {"remove": [[9, 0]]}},
        {"modes": {"sleep": [[0, 0]]}},
        {"kept": 3},
        {"kept": [{"parameter": "lm_head.weight", "axis": 7, "places": "0:5"}]},
        {"bank": [{"parameter": "x", "axis": 0, "indices": "0:1"}] * 99},
        {"anatomy": {}},
        {"config": {"hidden_size": "wide"}},
        {"tied": {"lm_head.weight": "none"}},
        {"frozen": ["lm_head.wait"]},
        {"kept": [{"parameter": "lm_head.weight", "axis": 0, "places": "0:99999999999999"}]},
        {"switches": {"trust_remote_code": True}},
        {"files": {"weights": {"name": "../weights.safetensors", "bytes": 1, "sha256": ""}}},
    ],
)
def test_a_manifest_that_says_nonsense_is_refused(changes, folder):
    manifest_with(folder, **changes)
    with pytest.raises(ModelNotUsable, match=r"cannot be understood"):
        load(folder, "cpu")


def test_weights_of_another_structure_are_refused(folder):
    manifest_with(folder, kept=[])
    with pytest.raises(ModelNotUsable, match=r"hold in another shape model\.layers\.0"):
        load(folder, "cpu")
    config = json.loads((folder / "plasticity.json").read_text())["config"]
    manifest_with(folder, config=config | {"attention_bias": True})
    with pytest.raises(ModelNotUsable, match=r"The weights in .* lack model\.layers\.0\.\S+\.bias, .* and \d+ more"):
        load(folder, "cpu")


def with_other_positions():
    model = llama()
    model.model.rotary_emb.register_buffer("inv_freq", torch.ones(3), persistent=False)
    return model


@pytest.mark.parametrize(
    ("build", "changes", "why"),
    [
        (lambda: llama(num_hidden_layers=2), {}, r"have, and the model does not, model\.layers\.2"),
        (lambda: llama(vocab_size=51), {}, r"hold in another shape lm_head\.weight"),
        (lambda: llama(attention_bias=True), {}, r"lack model\.layers\.0\.\S+\.bias"),
        (with_other_positions, {}, r"hold in another shape model\.rotary_emb\.inv_freq"),
        (llama, {"frozen": ["lm_head.wait"]}, "cannot be understood"),
        (llama, {"forms": 3}, "cannot be understood"),
        (llama, {"switches": {"trust_remote_code": True}}, "cannot be understood"),
    ],
    ids=["layers", "words", "biases", "positions", "frozen", "forms", "switches"],
)
def test_a_model_that_does_not_become_what_was_saved_stays_what_it_is(build, changes, why, folder):
    manifest_with(folder, **changes)
    model = build()
    before = seen(model)
    with pytest.raises(ModelNotUsable, match=why):
        load_into(model, folder)
    assert same(before, seen(model))
    assert past_of(model) is None


def test_an_operated_model_does_not_become_another(folder):
    surgeon = pruned([(1, 1)])
    with pytest.raises(SurgeryError, match="has been operated on, so nothing can be loaded into it; make it anew"):
        load_into(surgeon.model, folder)


def test_a_fault_of_ours_is_not_taken_for_one_of_the_model(tmp_path, monkeypatch):
    """Only what its class raises while it is built says that it cannot be built."""

    def fails(*_):
        raise RuntimeError("ours")

    surgeon = pruned()
    monkeypatch.setattr(skeleton, "shapes_of", fails)
    with pytest.raises(RuntimeError, match="ours"):
        keep(surgeon, tmp_path)


def test_what_a_class_raises_as_it_is_built_is_the_cause_of_the_refusal(tmp_path, monkeypatch):
    surgeon, faults = pruned(), [RuntimeError("first"), RuntimeError("second")]

    def fails(*_):
        raise faults.pop(0)

    monkeypatch.setattr(skeleton, "_settings", lambda usual: [{}, {}])
    monkeypatch.setattr(skeleton, "constructed", fails)
    with pytest.raises(SurgeryError, match="cannot be built again from its config, where it raises RuntimeError: first") as refusal:
        keep(surgeon, tmp_path / "out")
    assert str(refusal.value.__cause__) == "first"
    assert not (tmp_path / "out").exists()


def test_what_is_no_path_is_refused_in_one_sentence():
    for odd in (3, None, "", "~nobody-of-this-name/model"):
        with pytest.raises(SettingNotUsable, match=r"names no folder .*; pass a path"):
            load(odd, "cpu")
        with pytest.raises(SettingNotUsable, match=r"names no folder .*; pass a path"):
            pruned().save(odd)


def test_what_a_newer_version_saved_is_refused(folder):
    manifest_with(folder, schema=2)
    with pytest.raises(ModelNotUsable, match="was saved in schema 2 and this version reads up to 1; run: pip install --upgrade"):
        load(folder, "cpu")


def test_a_class_that_transformers_does_not_have_is_refused(folder):
    manifest_with(folder, **{"class": "TomorrowForCausalLM"})
    with pytest.raises(ModelNotUsable, match=r"has no class TomorrowForCausalLM; install transformers \d"):
        load(folder, "cpu")
    manifest_with(folder, **{"class": "AutoConfig"})
    with pytest.raises(ModelNotUsable, match="has no class AutoConfig"):
        load(folder, "cpu")


def test_devices_and_dtypes_are_checked_first(folder):
    with pytest.raises(SettingNotUsable, match="device"):
        load(folder, "nowhere")
    with pytest.raises(SettingNotUsable, match="dtype"):
        load(folder, "cpu", "int3")
