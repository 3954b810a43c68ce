"""A stranger's signal, through an installed package and its entry point, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.plugins import load_plugins
from neural_plasticity.signals import base

ROOT = Path(__file__).parents[2]

SIGNALS = '''
from neural_plasticity.signals.base import Needs, signal

@signal("squareness", needs=Needs.ATTENTION | Needs.EVERY_WEIGHT, unit="weight²")
def squareness(attended):
    """Mean of the sum of squared weights."""
    import torch
    return torch.cat([weights.square().sum(-1) for _, _, weights in attended.weights()], -1)

@signal("loudness", needs=Needs.OUTPUT, unit="activation")
def loudness(heard):
    """Mean of the largest entry of the head's output."""
    return heard.output.abs().amax(-1).transpose(1, 2)

@signal("slant", needs=Needs.GATES, unit="nats")
def slant(slopes):
    """Mean slope of the head's gate."""
    return slopes

@signal("tallest", needs=Needs.WEIGHTS, unit="weight")
def tallest(pieces):
    """The largest weight."""
    import torch
    return torch.stack([piece.abs().max().double() for piece in pieces]).max()
'''

MEASURING = """
import torch
from neural_plasticity.signals.base import signals
from neural_plasticity.signals.measure import measure
from neural_plasticity.anatomy.dissect import dissect
from tests.anatomy.models import ids, llama

model, batch = llama(attn_implementation="eager"), {"input_ids": ids(2, 6), "labels": ids(2, 6)}
anatomy, passes = dissect(model), []
model.register_forward_hook(lambda *_: passes.append(1) and None)
theirs = ["squareness", "loudness", "slant", "tallest"]
assert signals()["squareness"].says == "Mean of the sum of squared weights."
found = measure(model, [batch] * 3, ["entropy", *theirs, "taylor", "gradient"], anatomy=anatomy)
assert len(passes) == 3, passes
weights = model(**batch, output_attentions=True).attentions
expected = torch.stack([each.detach().square().sum(-1).mean((0, 2)) for each in weights]).double()
assert torch.allclose(torch.tensor(found["squareness"].values), expected, rtol=1e-5), found["squareness"]
assert found["squareness"].label == "squareness (weight²)"
assert (found["loudness"].values > 0).all()
assert (abs(found["slant"].values) <= found["taylor"].values + 1e-9).all()
largest = model.model.layers[1].self_attn
group = [largest.q_proj.weight[8:16], largest.k_proj.weight[:8], largest.v_proj.weight[:8], largest.o_proj.weight[:, 8:16]]
assert abs(found["tallest"][1, 1] - max(float(each.abs().max()) for each in group)) < 1e-7
print("measured")
"""


def installed(folder: Path, code: str, entry: str = "stranger_signals") -> None:
    """A package as pip leaves it behind."""
    (folder / "stranger_signals.py").write_text(code, encoding="utf-8")
    described = folder / "stranger-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text(f"[neural_plasticity.signals]\ntheirs = {entry}\n")


def run(folder: Path, code: str) -> str:
    paths = os.pathsep.join([str(folder), str(ROOT), str(ROOT / "src")])
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_strangers_signals_get_the_same_pass_as_ours(tmp_path):
    installed(tmp_path, SIGNALS)
    assert run(tmp_path, MEASURING) == "measured"


@pytest.fixture
def unread():
    """Entry points not looked at yet, and afterwards again as they were."""
    known = dict(base.SIGNALS)
    load_plugins.cache_clear()
    yield
    load_plugins.cache_clear()
    base.SIGNALS.clear()
    base.SIGNALS.update(known)
    sys.modules.pop("stranger_signals", None)


def test_a_plugin_that_loads_is_found_at_its_entry_point(tmp_path, monkeypatch, unread):
    installed(tmp_path, SIGNALS)
    monkeypatch.syspath_prepend(tmp_path)
    assert base.signals()["squareness"].unit == "weight²"


def test_a_plugin_that_does_not_load_is_named_in_one_sentence(tmp_path, monkeypatch, unread, broken):
    code, entry, seen = broken
    installed(tmp_path, code, entry)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SettingNotUsable) as raised:
        base.chosen(["entropy"])
    assert "stranger" in str(raised.value)
    assert seen in str(raised.value)
    assert "\n" not in str(raised.value)


BROKEN = {
    "import": ("import no_such_module", "stranger_signals", "no_such_module"),
    "attribute": ("def f(): pass", "stranger_signals:missing", "missing"),
    "module": ("", "no_such_signals", "no_such_signals"),
    "raises": ("1 / 0", "stranger_signals", "division"),
    "syntax": ("def broken(:", "stranger_signals", "syntax"),
}


@pytest.fixture(params=BROKEN)
def broken(request) -> tuple[str, str, str]:
    return BROKEN[request.param]
