"""safe_matmul against float64 sums that use no BLAS, tier by tier, and the order in which it falls through the tiers."""

import logging
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as shapes

from neural_plasticity.environment import arithmetic
from neural_plasticity.environment.arithmetic import matmul_path, safe_matmul

TIERS = ["numpy", "python", "torch"]
WAYS = [None, *TIERS]
FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
COMPLEX = [torch.complex64, torch.complex128]
INTEGERS = [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8]
PRODUCTS = shapes.mutually_broadcastable_shapes(signature=np.matmul.signature, min_side=0, max_side=4, max_dims=3)
FIFTY = settings(max_examples=50)
LAYOUTS = st.sampled_from(["contiguous", "transposed", "every other"])


@pytest.fixture
def apple(monkeypatch):
    """An M-series Mac, as far as safe_matmul can tell."""
    monkeypatch.setattr(arithmetic, "is_apple_silicon", lambda: True)


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def exact(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The product as a plain sum over a broadcast axis, in the widest type of its kind."""
    wide = torch.complex128 if a.is_complex() else torch.float64 if a.is_floating_point() else torch.int64
    left, right = a.to(wide), b.to(wide)
    left = left if a.dim() > 1 else left[None, :]
    right = right if b.dim() > 1 else right[:, None]
    product = (left[..., :, :, None] * right[..., None, :, :]).sum(-2)
    product = product if b.dim() > 1 else product.squeeze(-1)
    return product if a.dim() > 1 else product.squeeze(-1 if b.dim() == 1 else -2)


def laid_out(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    if layout == "transposed" and tensor.dim() > 1:
        return tensor.mT.contiguous().mT
    return torch.stack([tensor, tensor], -1)[..., 0] if layout == "every other" else tensor


def assert_product(found: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    """Not finite in the same places as the exact product, and elsewhere as near as the dtype allows."""
    expected = exact(a, b)
    assert found.shape == expected.shape
    if not found.is_floating_point() and not found.is_complex():
        assert torch.equal(found, expected.to(found.dtype))
        return
    wide = found.to(expected.dtype)
    finite = torch.isfinite(expected)
    assert torch.equal(torch.nan_to_num(wide[~finite], nan=7.0), torch.nan_to_num(expected[~finite], nan=7.0))
    bound = torch.finfo(found.dtype).eps * (a.shape[-1] + 1) * exact(a.abs(), b.abs())
    assert ((wide - expected).abs()[finite] <= bound[finite]).all()


@st.composite
def factors(draw, dtypes, unusual=False):
    """Two tensors that have a product, of any such shapes and any layout in memory."""
    sides = draw(PRODUCTS).input_shapes
    dtype = draw(st.sampled_from(dtypes))
    if dtype in INTEGERS:
        span = torch.iinfo(dtype)
        values = st.integers(span.min, span.max)
    else:
        values = st.integers(-90, 90).map(lambda whole: whole / 8)
        values = st.builds(complex, values, values) if dtype in COMPLEX else values
        values = st.one_of(values, st.sampled_from([float("nan"), float("inf"), float("-inf")])) if unusual else values
    tensors = []
    for side in sides:
        flat = draw(st.lists(values, min_size=int(np.prod(side)), max_size=int(np.prod(side))))
        tensors.append(laid_out(torch.tensor(flat, dtype=dtype).reshape(side), draw(LAYOUTS)))
    return tuple(tensors)


@pytest.mark.parametrize("tier", WAYS)
@FIFTY
@given(pair=factors([*FLOATS, *COMPLEX, *INTEGERS]))
def test_every_tier_gives_the_exact_product_with_the_shape_and_dtype_of_torch(tier, pair):
    a, b = pair
    product = safe_matmul(a, b, tier=tier)
    assert_product(product, a, b)
    assert product.dtype == a.dtype
    assert product.shape == torch.matmul(a, b).shape


@pytest.mark.parametrize("tier", WAYS)
@FIFTY
@given(pair=factors(FLOATS, unusual=True))
def test_nan_and_infinity_pass_through_every_tier_as_arithmetic_says(tier, pair):
    a, b = pair
    assert_product(safe_matmul(a, b, tier=tier), a, b)


@pytest.mark.parametrize("tier", WAYS)
@FIFTY
@given(pair=factors([torch.float16, torch.float32, torch.float64, *COMPLEX, *INTEGERS]))
def test_arrays_give_arrays_of_the_same_dtype(tier, pair):
    a, b = pair
    product = safe_matmul(a.numpy(), b.numpy(), tier=tier)
    assert type(product) is np.ndarray
    assert product.dtype == a.numpy().dtype
    assert_product(torch.from_numpy(product), a, b)


@pytest.mark.parametrize("tier", WAYS)
@FIFTY
@given(left=st.lists(st.integers(0, 3), max_size=4), right=st.lists(st.integers(0, 3), max_size=4))
def test_shapes_are_refused_exactly_where_torch_refuses_them_and_both_are_told(tier, left, right):
    a, b = torch.zeros(left), torch.zeros(right)
    try:
        torch.matmul(a, b)
    except (RuntimeError, IndexError):
        for x, y in ((a, b), (a.numpy(), b.numpy())):
            with pytest.raises(ValueError, match="cannot multiply shapes") as refusal:
                safe_matmul(x, y, tier=tier)
            assert f"shapes {tuple(left)} and {tuple(right)}:" in str(refusal.value)
    else:
        assert safe_matmul(a, b, tier=tier).shape == torch.matmul(a, b).shape


@pytest.mark.parametrize("tier", WAYS)
@pytest.mark.parametrize(
    ("left", "right", "reason"),
    [
        ((2, 3), (2, 3), "the first ends in 3 columns and the second has 2 rows"),
        ((2, 3, 4), (5, 4, 3), r"the batch dimensions \(2,\) and \(5,\) do not broadcast"),
        ((), (2, 3), "both need at least one dimension"),
    ],
)
def test_a_refused_shape_is_told_with_its_reason(tier, left, right, reason):
    with pytest.raises(ValueError, match=reason):
        safe_matmul(torch.zeros(left), torch.zeros(right), tier=tier)


@pytest.mark.parametrize("tier", WAYS)
@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (torch.float32, torch.float64, torch.float64),
        (torch.float16, torch.bfloat16, torch.float32),
        (torch.int64, torch.float16, torch.float16),
        (torch.int8, torch.uint8, torch.int16),
        (torch.float64, torch.complex64, torch.complex128),
    ],
)
def test_two_dtypes_are_promoted_as_torch_promotes_in_a_sum(tier, left, right, expected):
    a, b = torch.arange(6).reshape(2, 3).to(left), torch.arange(6).reshape(3, 2).to(right)
    product = safe_matmul(a, b, tier=tier)
    assert product.dtype == (a + b.mT).dtype == expected
    assert product.to(torch.complex128).real.tolist() == [[10, 13], [28, 40]]


@pytest.mark.parametrize("tier", TIERS)
def test_matrices_of_a_real_size_agree_with_float64(tier):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(2, 96, 96, generator=generator) for _ in range(2))
    assert_product(safe_matmul(a, b, tier=tier), a, b)


@pytest.mark.parametrize("tier", TIERS)
def test_a_sum_beyond_the_dtype_is_infinite_and_raises_no_warning(tier):
    large = torch.tensor([[3e38, 3e38]])
    assert safe_matmul(large, torch.ones(2, 1), tier=tier).item() == float("inf")
    half = torch.full((1, 2), 6e4, dtype=torch.float16)
    assert safe_matmul(half, torch.ones(2, 1, dtype=torch.float16), tier=tier).item() == float("inf")
    assert safe_matmul(half.numpy(), np.ones((2, 1), np.float16), tier=tier).item() == float("inf")


@pytest.mark.parametrize("tier", WAYS)
def test_arrays_that_torch_would_not_take_are_multiplied_all_the_same(tier):
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    fixed = a.copy()
    fixed.flags.writeable = False
    for same in (fixed, np.flip(np.flip(a).copy()), a.astype(">f4")):
        product = safe_matmul(same, a.T.astype(same.dtype), tier=tier)
        assert product.tolist() == [[5, 14], [14, 50]]
        assert product.dtype == np.dtype("=f4")


def test_arrays_of_other_types_are_left_to_numpy(apple):
    truth = np.array([[True, False]])
    assert safe_matmul(truth, truth.T).tolist() == [[True]]
    fractions = np.array([[10**30, 1]], dtype=object)
    assert safe_matmul(fractions, fractions.T).tolist() == [[10**60 + 1]]
    with pytest.raises(ValueError, match="tier='python' cannot take arrays of bool"):
        safe_matmul(truth, truth.T, tier="python")


@pytest.mark.parametrize(
    ("a", "b"), [(torch.ones(1, 1), np.ones((1, 1))), ([[1.0]], [[1.0]]), (torch.ones(1, 1), 2.0)], ids=["mixed", "lists", "number"]
)
def test_anything_but_two_tensors_or_two_arrays_is_a_type_error(a, b):
    with pytest.raises(TypeError, match="two tensors or two arrays, not"):
        safe_matmul(a, b)


def test_an_unknown_tier_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="tier='blas' is not known; use one of numpy, python, torch"):
        safe_matmul(torch.ones(1, 1), torch.ones(1, 1), tier="blas")


# Which way is taken.


def forbid(monkeypatch: pytest.MonkeyPatch, where: object, name: str) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError(f"{name} was called")

    monkeypatch.setattr(where, name, forbidden)


def numpy_fails(monkeypatch: pytest.MonkeyPatch, failure: Exception | None) -> None:
    """numpy raises `failure`, or without one answers with NaN where no NaN belongs."""

    def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if failure:
            raise failure
        return np.full((*a.shape[:-1], b.shape[-1]), np.nan, dtype=a.dtype)

    monkeypatch.setattr(arithmetic.np, "matmul", matmul)


FAILURES = [FloatingPointError("divide by zero"), MemoryError("too large"), None]


def test_elsewhere_it_is_torchs_own_product_and_numpys_own_for_arrays(monkeypatch):
    monkeypatch.setattr(arithmetic, "is_apple_silicon", lambda: False)
    monkeypatch.setattr(torch, "matmul", lambda a, b: "torch's own")
    forbid(monkeypatch, arithmetic.np, "matmul")
    assert safe_matmul(torch.ones(1, 1), torch.ones(1, 1)) == "torch's own"
    assert matmul_path() == "torch"
    monkeypatch.undo()
    forbid(monkeypatch, torch, "matmul")
    assert safe_matmul(np.ones((1, 2)), np.ones((2, 1))).tolist() == [[2.0]]


def test_an_error_that_is_not_about_shapes_stays_what_it_is(monkeypatch):
    with pytest.raises(NotImplementedError):
        safe_matmul(torch.ones(2, 2, dtype=torch.bool), torch.ones(2, 2, dtype=torch.bool))


def test_the_mac_is_recognised_by_the_platform(monkeypatch):
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert matmul_path() == "numpy"


@pytest.mark.parametrize("dtype", [*FLOATS, *COMPLEX, *INTEGERS])
def test_on_a_mac_torch_never_multiplies_where_numpy_can(apple, monkeypatch, dtype):
    forbid(monkeypatch, torch, "matmul")
    a = torch.arange(6).reshape(2, 3).to(dtype)
    assert safe_matmul(a, a.mT).to(torch.complex128).real.tolist() == [[5, 14], [14, 50]]


def test_on_a_mac_nan_in_is_no_failure_of_numpy(apple, monkeypatch):
    forbid(monkeypatch, arithmetic, "_by_python")
    forbid(monkeypatch, torch, "matmul")
    assert safe_matmul(torch.tensor([[float("nan")]]), torch.ones(1, 1)).isnan().all()


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_when_numpy_fails_small_matrices_are_multiplied_in_python(apple, monkeypatch, caplog, failure):
    numpy_fails(monkeypatch, failure)
    forbid(monkeypatch, torch, "matmul")
    a = torch.arange(6.0).reshape(2, 3)
    with caplog.at_level(logging.INFO, logger="neural_plasticity"):
        assert safe_matmul(a, a.mT).tolist() == [[5, 14], [14, 50]]
    assert "numpy failed on the product of (2, 3) and (3, 2)" in caplog.text
    assert "computed by python" in caplog.text


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_when_numpy_fails_large_matrices_go_to_torch_with_one_thread(apple, monkeypatch, three_threads, failure):
    numpy_fails(monkeypatch, failure)
    forbid(monkeypatch, arithmetic, "_by_python")
    seen = []
    original = torch.matmul

    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return original(a, b)

    monkeypatch.setattr(torch, "matmul", matmul)
    side = round(arithmetic.PYTHON_LIMIT ** (1 / 3)) + 1
    assert torch.equal(safe_matmul(torch.ones(side, side), torch.eye(side)), torch.ones(side, side))
    assert seen == [1]
    assert torch.get_num_threads() == 3


def test_the_bound_counts_multiplications_over_the_whole_batch(apple, monkeypatch):
    calls = []
    numpy_fails(monkeypatch, MemoryError())
    monkeypatch.setattr(arithmetic, "PYTHON_LIMIT", 24)
    monkeypatch.setattr(arithmetic, "_by_python", lambda a, b: calls.append(a.shape) or np.zeros(1))
    safe_matmul(torch.ones(2, 2, 3), torch.ones(3, 2))  # 2 · 2 · 3 · 2 = 24
    safe_matmul(torch.ones(2, 2, 3), torch.ones(3, 3))
    assert calls == [(2, 2, 3)]


def test_a_product_that_truly_overflows_is_infinite_on_a_mac_too(apple):
    assert safe_matmul(torch.tensor([[1e30]]), torch.tensor([[1e30]])).item() == float("inf")


def test_the_thread_count_comes_back_when_torch_fails(monkeypatch, three_threads):
    def matmul(a: torch.Tensor, b: torch.Tensor) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(torch, "matmul", matmul)
    with pytest.raises(RuntimeError, match="out of luck"):
        safe_matmul(torch.ones(1, 1), torch.ones(1, 1), tier="torch")
    assert torch.get_num_threads() == 3


def test_two_threads_never_change_the_thread_count_at_once(monkeypatch, three_threads):
    inside, most = [], []
    original = torch.matmul

    def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        inside.append(None)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        return original(a, b)

    monkeypatch.setattr(torch, "matmul", matmul)
    workers = [threading.Thread(target=safe_matmul, args=(torch.eye(2), torch.eye(2)), kwargs={"tier": "torch"}) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert most == [1, 1, 1, 1]
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("dtype", FLOATS)
def test_gradients_flow_on_a_mac_as_the_closed_form_says(apple, monkeypatch, dtype):
    forbid(monkeypatch, arithmetic.np, "matmul")
    a = torch.arange(6).reshape(2, 3).to(dtype).requires_grad_()
    b = torch.arange(6).reshape(3, 2).to(dtype).requires_grad_()
    product = safe_matmul(a, b)
    assert product.dtype == dtype
    product.sum().backward()
    assert a.grad.tolist() == [[1, 5, 9]] * 2  # ones @ b.T
    assert b.grad.tolist() == [[3, 3], [5, 5], [7, 7]]  # a.T @ ones


def test_a_parameter_goes_to_numpy_when_no_gradient_is_wanted(apple, monkeypatch):
    forbid(monkeypatch, torch, "matmul")
    weight = torch.nn.Parameter(torch.eye(2))
    with torch.no_grad():
        assert safe_matmul(weight, weight).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("tier", ["numpy", "python"])
def test_a_forced_tier_is_refused_rather_than_cutting_gradients_or_leaving_a_device(tier):
    weight = torch.eye(2, requires_grad=True)
    with pytest.raises(ValueError, match="cannot take tensors that need gradients"):
        safe_matmul(weight, weight, tier=tier)
    with pytest.raises(ValueError, match="cannot take tensors on meta and meta"):
        safe_matmul(torch.eye(2, device="meta"), torch.eye(2, device="meta"), tier=tier)
    sparse = torch.eye(2).to_sparse()
    with pytest.raises(ValueError, match=r"cannot take tensors of float32 with layouts torch\.sparse_coo"):
        safe_matmul(sparse, torch.eye(2), tier=tier)
    with torch.autocast("cpu"), pytest.raises(ValueError, match="cannot take tensors under autocast"):
        safe_matmul(torch.eye(2), torch.eye(2), tier=tier)


def test_tensors_on_another_device_stay_there(apple, monkeypatch):
    forbid(monkeypatch, arithmetic, "_single_threaded")
    product = safe_matmul(torch.ones(4, 2, 3, device="meta"), torch.ones(3, 5, device="meta"))
    assert (product.device.type, product.shape) == ("meta", (4, 2, 5))


def test_autocast_and_sparse_tensors_are_left_to_torch_on_a_mac(apple):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert safe_matmul(torch.eye(2), torch.eye(2)).dtype is torch.bfloat16
    assert safe_matmul(torch.eye(2).to_sparse(), torch.ones(2, 2)).tolist() == [[1, 1], [1, 1]]
