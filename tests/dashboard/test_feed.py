"""The feed: what stands in the record, and nothing else."""

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_plasticity import record
from neural_plasticity.dashboard.feed import MOST_BYTES, described, item_json, items
from neural_plasticity.heads import HeadId
from neural_plasticity.record import Attention, Entry, HeadsMeasured, Run, Writer
from neural_plasticity.record.coding import decode
from tests.dashboard.conftest import GRIDS
from tests.record.examples import EXAMPLES


def strict(text):
    return json.loads(text, parse_constant=lambda name: 1 / 0)


def test_each_item_is_its_line_with_arrays_beside_it(runs):
    run = Run(runs / "first")
    lines = [strict(line) for line in (run.folder / "events.jsonl").read_bytes().splitlines()]
    found = list(items(run, run.entries()))
    assert [{name: value for name, value in item.items() if name != "arrays"} for item in found] == lines
    assert [item["kind"] for item in found if "arrays" in item] == ["heads", "attention"]


def test_grids_travel_as_float32_bit_for_bit(runs):
    run = Run(runs / "first")
    (item,) = [item for item in items(run, run.entries()) if item["kind"] == "heads"]
    for name, grid in GRIDS.items():
        packed = item["arrays"][name]
        assert (packed["type"], packed["shape"]) == ("f4", [2, 2])
        assert base64.b64decode(packed["b64"]) == grid.astype("<f4").tobytes()


def test_attention_travels_as_256_shades(runs):
    run = Run(runs / "first")
    (item,) = [item for item in items(run, run.entries()) if item["kind"] == "attention"]
    packed = item["arrays"]["1.2"]
    assert (packed["type"], packed["shape"]) == ("u1", [2, 2])
    assert list(base64.b64decode(packed["b64"])) == [255, 0, 64, 191]


@pytest.mark.parametrize("wrong", [np.nan, 1.5, -0.2, np.inf])
def test_attention_that_is_no_share_travels_as_it_is(tmp_path, wrong):
    maps = {"0.0": np.array([[1.0, 0.0], [0.5, wrong]], dtype=np.float32)}
    with Writer(tmp_path / "run", {}) as writer:
        entry = writer.write(Attention(heads=(HeadId(0, 0),), tokens=("a", "b"), stage="x"), maps)
    (item,) = items(Run(tmp_path / "run"), [entry])
    assert item["arrays"]["0.0"]["type"] == "f4"
    assert base64.b64decode(item["arrays"]["0.0"]["b64"]) == maps["0.0"].tobytes()


def test_the_description_has_names_and_neither_nan_nor_who_wrote_it(tmp_path):
    Writer(tmp_path / "run", {"name": "told"}).close()
    path = tmp_path / "run" / "run.json"
    path.write_text('{"schema": 1, "name": "told", "writer": {"host": "machine"}, "x": [NaN, 1e999, -Infinity]}')
    found = described(Run(tmp_path / "run"))
    assert found == {"schema": 1, "name": "told", "folder": "run", "x": ["NaN", "Infinity", "-Infinity"]}


@pytest.mark.parametrize("name", ["gone.safetensors", "../run.json", "/etc/passwd", "a\0b", "a\0/b", "x" * 5000, "", ".."])
def test_arrays_that_cannot_be_had_are_missing_for_a_reason(runs, name):
    run = Run(runs / "first")
    (item,) = items(run, [Entry(0, 0.0, HeadsMeasured(signals=("a",), tensors=name))])
    assert "arrays" not in item
    assert item["missing"].endswith(".")
    assert str(runs) not in item["missing"]


def test_arrays_too_large_for_a_page_are_not_even_read(runs, monkeypatch):
    run = Run(runs / "first")
    path = run.folder / "tensors" / "large.safetensors"
    with path.open("wb") as file:
        file.truncate(MOST_BYTES + 1)  # sparse
    monkeypatch.setattr(Run, "tensors", lambda self, event: 1 / 0)
    (item,) = items(run, [Entry(0, 0.0, HeadsMeasured(signals=("a",), tensors=path.name))])
    assert "more than a page can show" in item["missing"]


@pytest.mark.parametrize(
    "array", [np.array([1 + 2j], dtype=np.complex64), np.zeros((3, 0), np.float32), np.array(True), np.array([2**60])]
)
def test_arrays_of_any_type_come_or_are_missing(tmp_path, array):
    with Writer(tmp_path / "run", {}) as writer:
        entry = writer.write(HeadsMeasured(signals=("a",)), {"a": array})
    (item,) = items(Run(tmp_path / "run"), [entry])
    assert ("missing" in item) == (array.dtype.kind == "c")
    if "arrays" in item:
        assert item["arrays"]["a"]["shape"] == list(array.shape)


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
TEXT = st.text(st.characters())  # surrogates too
EVENTS = st.one_of(
    st.builds(record.Metrics, step=st.integers(0, 2**53), values=st.dictionaries(TEXT, NUMBERS, max_size=4)),
    st.builds(record.Sample, prompt=TEXT, text=TEXT, seed=st.integers(), stage=TEXT),
    st.builds(record.Notice, message=TEXT, cycle=st.none() | st.integers()),
    st.builds(
        record.Request,
        name=TEXT,
        wish=st.dictionaries(TEXT, st.lists(st.floats(allow_nan=False, allow_infinity=False)) | TEXT),
        granted=st.booleans(),
        answer=TEXT,
    ),
    st.sampled_from(list(EXAMPLES.values())),
)


@given(st.lists(EVENTS, max_size=6), st.floats(0, 2e9))
def test_what_the_page_gets_always_parses_back_to_the_events(tmp_path_factory, events, time):
    folder = tmp_path_factory.getbasetemp() / "plain"
    if not folder.exists():
        Writer(folder, {}).close()
    run = Run(folder)
    for seq, event in enumerate(events):
        line = item_json(run, Entry(seq, time, event))
        assert line.isascii()
        assert b"\n" not in line
        strict(line)
        again = decode(line)
        assert again[:2] == (seq, time)
        assert repr(again[2]) == repr(event)  # repr, since NaN is not itself
