"""Whatever holds numbers becomes the same grid."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from neural_plasticity.errors import SettingNotUsable
from neural_plasticity.figures.coerce import array_of, grid_of, heads_of, series_of
from neural_plasticity.heads import HeadGrid, HeadId

VALUES = np.array([[1.0, 2.5, -3.0], [0.5, 0.0, 8.0]])  # all of them exact in bfloat16
AS = {
    "numpy": lambda v: v,
    "float16": lambda v: v.astype(np.float16),
    "integers": lambda v: v,
    "torch": torch.tensor,
    "bfloat16": lambda v: torch.tensor(v, dtype=torch.bfloat16),
    "half": lambda v: torch.tensor(v).half(),
    "with gradient": lambda v: torch.tensor(v, requires_grad=True),
    "sparse": lambda v: torch.tensor(v).to_sparse(),
    "not contiguous": lambda v: torch.tensor(v.T.copy()).T,
    "HeadGrid": HeadGrid,
    "lists": lambda v: v.tolist(),
    "tuples": lambda v: tuple(map(tuple, v.tolist())),
    "list of arrays": list,
    "list of tensors": lambda v: [torch.tensor(row, dtype=torch.bfloat16) for row in v],
    "dict": lambda v: dict(enumerate(v)),
    "dict by text": lambda v: {"1": v[1], "0": v[0]},
    "dict by numpy's numbers": lambda v: {np.int64(1): v[1], np.uint8(0): v[0]},
    "dict by numbers of a table": lambda v: {1.0: v[1], np.float64(0.0): v[0]},
    "dict by modules": lambda v: {f"model.layers.{layer}.self_attn": row for layer, row in enumerate(v)},
    "dict by name, in no order": lambda v: {"layer_1": v[1].tolist(), "layer_0": torch.tensor(v[0])},
}


@pytest.mark.parametrize("kind", AS)
def test_every_kind_of_numbers_becomes_the_same_float64_grid(kind):
    grid = grid_of(AS[kind](VALUES), "x")
    assert grid.values.dtype == np.float64
    np.testing.assert_array_equal(grid.values, VALUES)
    assert grid.layers == (0, 1)


def test_uneven_rows_end_in_nan_and_named_layers_keep_their_numbers():
    np.testing.assert_array_equal(grid_of([[1, 2], [3]], "x").values, [[1, 2], [3, np.nan]])
    grid = grid_of({7: [1.0], 3: [2.0, 5.0]}, "x")
    assert grid.layers == (3, 7)
    assert grid[HeadId(3, 1)] == 5
    assert HeadId(4, 0) not in grid


@pytest.mark.parametrize("name", [str, "layer_{}".format, int, np.int32, float])
def test_layers_stand_in_the_order_of_their_numbers_not_of_their_letters(name):
    grid = grid_of({name(layer): [float(layer)] for layer in (10, 2, 0, 100)}, "x")
    assert grid.layers == (0, 2, 10, 100)
    np.testing.assert_array_equal(grid.values[:, 0], [0, 2, 10, 100])


@pytest.mark.parametrize(
    "key", ["layer_3.head_2", "-1", -1, 1.5, "1.5", True, np.True_, None, (0, 1), float("inf"), float("nan"), "0x1f2"]
)
def test_a_key_that_names_no_layer_clearly_is_refused(key):
    with pytest.raises(SettingNotUsable, match="x has a key"):
        grid_of({key: [1.0]}, "x")


def test_two_keys_for_one_layer_are_refused():
    with pytest.raises(SettingNotUsable, match="two keys for layer 0, of which 'layer_0' is one"):
        grid_of({0: [1.0], "layer_0": [2.0]}, "x")


class Faulty:
    """Numbers whose own code is wrong."""

    def __array__(self, dtype=None, copy=None):
        raise AttributeError("a slip of the pen")


def test_a_bug_is_not_called_bad_input():
    with pytest.raises(AttributeError, match="slip"):
        array_of(Faulty(), "x")


def test_numbers_in_one_row_are_one_layer():
    for row in ([1.0, 2.0], np.array([1.0, 2.0]), torch.tensor([1.0, 2.0]), [torch.tensor(1.0), np.float32(2)]):
        np.testing.assert_array_equal(grid_of(row, "x").values, [[1, 2]])


def test_what_came_in_is_not_changed_by_what_is_made_of_it():
    grid = HeadGrid(VALUES)
    array_of(grid, "x")[:] = 0
    np.testing.assert_array_equal(grid.values, VALUES)


@pytest.mark.parametrize(
    ("wrong", "seen"),
    [
        (np.zeros((2, 3, 4)), "2 × 3 × 4"),
        (np.zeros((0, 3)), "0 × 3"),
        (5.0, "()"),
        ([], "0 × 0"),
        ({}, "0 × 0"),
        ("text", "numbers"),
        ([["a"]], "numbers"),
        (np.array([[1j]]), "numbers"),
        (torch.ones(2, 2, dtype=torch.complex64), "tensor"),
        (torch.empty(2, 2, device="meta"), "tensor"),
        ([[[1.0], [2.0]]], "2 × 1"),
        ({"first": [1.0]}, "key"),
        (None, "()"),
    ],
)
def test_what_is_no_grid_is_refused_with_what_was_seen_and_wanted(wrong, seen):
    with pytest.raises(SettingNotUsable) as refused:
        grid_of(wrong, "grad_norms")
    assert "grad_norms" in str(refused.value)
    assert seen in str(refused.value)


@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(allow_nan=True, width=16)))
def test_lists_dicts_and_tensors_agree_with_numpy(values):
    for kind in ("lists", "dict", "torch", "HeadGrid", "half"):
        np.testing.assert_array_equal(grid_of(AS[kind](values) if kind != "tensor" else values, "x").values, values)


def test_numbers_that_no_axis_can_hold_count_as_infinite_or_0():
    np.testing.assert_array_equal(array_of([1e300, -1e300, 1e-300, 1e38, 1e-38], "x"), [np.inf, -np.inf, 0, 1e38, 1e-38])


def test_heads_are_named_in_pairs_or_by_a_mask():
    grid = grid_of(VALUES, "x")
    wanted = [HeadId(0, 1), HeadId(1, 2)]
    mask = np.array([[False, True, False], [False, False, True]])
    for heads in ([(0, 1), (1, 2)], {(1, 2), (0, 1)}, [[0, 1], [1, 2]], np.array([[0, 1], [1, 2]]), torch.tensor([[0, 1], [1, 2]])):
        assert heads_of(heads, "h", grid) == wanted
    for heads in (mask, mask.tolist(), torch.tensor(mask), iter(wanted), wanted + wanted):
        assert heads_of(heads, "h", grid) == wanted
    for none in (None, [], (), np.zeros((0, 2)), np.zeros_like(mask)):
        assert heads_of(none, "h", grid) == []


def test_pairs_are_not_mistaken_for_a_mask_where_the_grid_has_two_columns():
    grid = grid_of([[1.0, 2.0], [3.0, 4.0]], "x")
    assert heads_of([(0, 1), (1, 1)], "h", grid) == [HeadId(0, 1), HeadId(1, 1)]
    assert heads_of(np.array([[False, True], [True, True]]), "h", grid) == [HeadId(0, 1), HeadId(1, 0), HeadId(1, 1)]


@pytest.mark.parametrize(
    "wrong", [[(2, 0)], [(0, 3)], [(-1, 0)], [(0, 1, 2)], [(0.5, 1)], [(np.inf, 0)], [(np.nan, 0)], {(0, 1), "a"}, 7, "01", [3, 4]]
)
def test_heads_that_are_not_there_are_refused(wrong):
    with pytest.raises(SettingNotUsable, match="pruned_heads"):
        heads_of(wrong, "pruned_heads", grid_of(VALUES, "x"))


def test_a_series_takes_none_for_what_was_not_recorded():
    np.testing.assert_array_equal(series_of([1, None, torch.tensor(2.0), np.float32(3)], "x"), [1, np.nan, 2, 3])
    np.testing.assert_array_equal(series_of(torch.tensor([1.0, 2.0], dtype=torch.bfloat16), "x"), [1, 2])
    for wrong in ([[1.0], [2.0]], ["a"], [np.str_("a")], [10**400], [torch.empty((), device="meta")], np.zeros((2, 2)), "text"):
        with pytest.raises(SettingNotUsable):
            series_of(wrong, "x")
