"""Whoever is killed while saving, and whatever fails on the disk, leaves the old model or the new one."""

import errno
import json
import os
import subprocess
import sys
import textwrap
from itertools import count
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from neural_plasticity.errors import SurgeryError
from neural_plasticity.surgery import saving
from neural_plasticity.surgery.saving import load
from neural_plasticity.surgery.surgeon import Surgeon
from tests.anatomy.models import llama
from tests.surgery.test_saving import alike, keep, pruned, state


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


class Disk:
    """Fails at one of the acts on it, before it is done or after, and from then on for good or just this once."""

    def __init__(self, patch, act, when, for_good):
        self.done, self.act, self.when, self.for_good = -1, act, when, for_good
        acts = ((os, "fsync"), (os, "open"), (os, "link"), (Path, "mkdir"), (Path, "iterdir"), (Path, "read_bytes"), (Path, "stat"))
        for where, name in (*acts, (Path, "replace"), (Path, "unlink"), (Path, "write_bytes"), (saving, "save_file")):
            patch.setattr(where, name, self.failing(getattr(where, name)))

    def failing(self, act):
        def acts(*arguments, **options):
            self.done += 1
            fails = self.done == self.act or (self.for_good and self.done > self.act)
            if fails and self.when == "before":
                raise OSError(errno.EIO, "Input/output error")
            found = act(*arguments, **options)
            if fails:
                raise OSError(errno.EIO, "Input/output error")
            return found

        return acts


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_whichever_act_on_the_disk_fails_the_folder_opens_as_what_the_sentence_says(when, for_good, tmp_path, monkeypatch):
    old, new = (pruned(mode=mode, model=llama(num_hidden_layers=2)) for mode in ("zero_weights", "remove"))
    states = {"old": [state(old.model)], "new": [state(new.model)]}
    possible = {"": states["new"], "before is kept": states["old"], "is saved to": states["new"]}
    possible["open the folder to see"] = [*states["old"], *states["new"]]
    heard, act = set(), 0
    while True:
        keep(old, tmp_path)
        with monkeypatch.context() as patch:
            disk = Disk(patch, act, when, for_good)
            sentence = refusal_of(lambda: keep(new, tmp_path))
        if disk.done < act:
            break
        (word,) = {word for word in possible if word and word in sentence} or {""}
        assert any(alike(state(load(tmp_path, "cpu")), each) for each in possible[word]), (act, sentence)
        heard.add(word)
        act += 1
    assert heard >= {"before is kept", "is saved to"}
    assert ("open the folder to see" in heard) == for_good
    assert act > 30


def refusal_of(operate):
    """What a surgeon says to it, if it refuses."""
    try:
        operate()
    except SurgeryError as refusal:
        return str(refusal)
    return ""


def test_what_a_failed_save_has_written_goes_again(tmp_path, monkeypatch):
    keep(pruned([(1, 1)]), tmp_path)
    files = sorted(tmp_path.iterdir())

    def fails(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(SurgeryError, match=r"Input/output error.*What was saved there before is kept\.$"):
        keep(pruned(), tmp_path)
    assert sorted(tmp_path.iterdir()) == files


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
