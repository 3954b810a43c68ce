"""Whoever is killed while saving leaves the old model or the new one, and what cannot be opened is refused in one sentence."""

import json
import os
import subprocess
import sys
import textwrap
from itertools import count
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from neural_plasticity.errors import ModelNotUsable, SettingNotUsable, SurgeryError
from neural_plasticity.surgery import saving
from neural_plasticity.surgery.saving import load
from neural_plasticity.surgery.surgeon import Surgeon
from tests.anatomy.models import llama
from tests.surgery.test_saving import alike, keep, pruned, state

# --- crashes -------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


def stops_at(patch, step):
    """The process ends before this one of the steps that it takes on the disk."""
    done = count()

    def counting(act):
        def acts(*arguments, **options):
            if next(done) == step:
                raise Killed
            return act(*arguments, **options)

        return acts

    for where, name in ((os, "fsync"), (os, "link"), (Path, "replace"), (Path, "unlink"), (Path, "write_bytes")):
        patch.setattr(where, name, counting(getattr(where, name)))
    patch.setattr(saving, "save_file", counting(saving.save_file))


def is_killed(surgeon, folder, step, monkeypatch):
    with monkeypatch.context() as patch:
        stops_at(patch, step)
        try:
            keep(surgeon, folder)
        except Killed:
            return True
    return False


def test_a_crash_at_any_step_leaves_the_old_model_or_the_new_one(tmp_path, monkeypatch):
    """Between every two steps on the disk, for every sort of model before and after."""
    sorts = [Surgeon(llama()), pruned(mode="zero_weights"), pruned()]
    states = [state(each.model) for each in sorts]
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # a crash of the process is at issue, not one of the machine

    for old, new in ((0, 2), (2, 0), (0, 1)):
        step = 0
        keep(sorts[old], tmp_path)
        while is_killed(sorts[new], tmp_path, step, monkeypatch):
            left = [state(load(tmp_path, "cpu"))]
            if (tmp_path / "config.json").read_bytes() != saving._REFUSAL:
                left.append(state(AutoModelForCausalLM.from_pretrained(tmp_path)))
            assert all(any(alike(each, states[one]) for one in (old, new)) for each in left), (old, new, step)
            keep(sorts[old], tmp_path)
            step += 1
        assert step > 10
    keep(sorts[2], tmp_path)
    assert len(list(tmp_path.glob("*.safetensors*"))) == 3
    assert not list(tmp_path.glob("*.partial"))


LOOP = textwrap.dedent("""
    import os, random, signal, sys, time
    import torch
    from neural_plasticity.anatomy.past import past_of
    from neural_plasticity.surgery.saving import load, save
    from neural_plasticity.surgery.surgeon import Surgeon
    from tests.anatomy.models import llama

    folder, kills, chance = sys.argv[1], int(sys.argv[2]), random.Random(int(sys.argv[3]))
    models = []
    for heads, mode in (([(0, 0), (1, 1)], "remove"), ([(2, 3)], "zero_weights")):
        models.append(llama())
        Surgeon(models[-1]).prune(heads, mode)
    states = [{name: tensor.clone() for name, tensor in model.state_dict().items()} for model in models]
    save(models[0], past_of(models[0]), folder)
    seen = [0, 0]
    for _ in range(kills):
        child = os.fork()
        if not child:
            while True:
                for model in reversed(models):
                    save(model, past_of(model), folder)
        until = time.monotonic() + chance.uniform(0.01, 0.15)
        try:
            while time.monotonic() < until:
                load(folder, "cpu")  # while it is being saved
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        found = load(folder, "cpu").state_dict()
        which = [own.keys() == found.keys() and all(torch.equal(own[name], found[name]) for name in own) for own in states]
        assert sum(which) == 1, which
        seen[which.index(True)] += 1
    save(models[0], past_of(models[0]), folder)
    print(seen)
""")


def survived(folder, kills):
    """How often either state was found after a kill."""
    command = [sys.executable, "-W", "error", "-c", LOOP, str(folder), str(kills), "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0, done.stderr
    assert len(list(folder.glob("*.safetensors"))) == 3
    return json.loads(done.stdout)


def test_a_kill_leaves_one_of_two_models(tmp_path):
    assert sum(survived(tmp_path, 10)) == 10


@pytest.mark.soak
def test_two_hundred_kills_leave_one_of_two_models(tmp_path):
    seen = survived(tmp_path, 200)
    print(f"\n200 kills: {seen[0]} times the one model, {seen[1]} times the other")
    assert min(seen) > 0


def test_a_full_disk_keeps_what_was_saved_before(tmp_path, monkeypatch):
    keep(pruned([(1, 1)]), tmp_path)
    files = sorted(tmp_path.iterdir())

    def full(tensors, path, metadata):
        path.write_bytes(b"some")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "save_file", full)
    with pytest.raises(SurgeryError, match=r"cannot be saved .* No space left .* free some space"):
        keep(pruned(), tmp_path)
    assert sorted(tmp_path.iterdir()) == files
    assert alike(state(load(tmp_path, "cpu")), state(pruned([(1, 1)]).model))


# --- refusals ------------------------------------------------------------------------------------------------------


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
