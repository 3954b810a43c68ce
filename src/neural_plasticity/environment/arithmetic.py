"""A matrix product that survives Apple Silicon, and costs one call to torch everywhere else.

On M1 to M3, torch's calls into Apple's BLAS could crash the whole process. There matrices on the CPU go first to
numpy; if numpy fails, small ones to plain Python and large ones to torch with a single thread.
"""

import logging
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import mul
from typing import Any, Literal, get_args, overload

import numpy as np
import torch
from torch import Tensor

from neural_plasticity.environment.host import is_apple_silicon

Tier = Literal["numpy", "python", "torch"]

# Multiplications that plain Python does in about 10 ms: a pause, not a hang. A 64 × 64 by 64 × 64 product has as many.
PYTHON_LIMIT = 2**18

# Types that every tier can compute with, the halves in float32; any other is left to the library it comes from.
HALVES = ("float16", "bfloat16")
NUMBERS = (*HALVES, "float32", "float64", "complex64", "complex128", "int8", "int16", "int32", "int64", "uint8")

_log = logging.getLogger(__name__)
_one_at_a_time = threading.RLock()  # two threads would restore each other's thread count


@overload
def safe_matmul(a: Tensor, b: Tensor, *, tier: Tier | None = None) -> Tensor: ...
@overload
def safe_matmul(a: np.ndarray, b: np.ndarray, *, tier: Tier | None = None) -> np.ndarray: ...
def safe_matmul(a: Any, b: Any, *, tier: Tier | None = None) -> Any:
    """The matrix product of two tensors or two arrays, with the shapes, broadcasting and dtype of `matmul`.

    Tensors of two dtypes are promoted as torch promotes in `a * b`. `tier` forces one way to compute.
    """
    if tier is not None and tier not in get_args(Tier):
        raise ValueError(f"safe_matmul: tier={tier!r} is not known; use one of {', '.join(get_args(Tier))}, or leave it out.")
    guarded = tier is not None or is_apple_silicon()
    try:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return _of_tensors(a, b, tier) if guarded else torch.matmul(*_alike(a, b))
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            return _of_arrays(a, b, tier) if guarded else np.asarray(np.matmul(a, b))
    except (RuntimeError, ValueError):
        _require_product(a.shape, b.shape)
        raise
    raise TypeError(f"safe_matmul takes two tensors or two arrays, not {type(a).__name__} and {type(b).__name__}.")


def matmul_path() -> Tier:
    """The way that safe_matmul takes first here for tensors on the CPU."""
    return "numpy" if is_apple_silicon() else "torch"


def _of_tensors(a: Tensor, b: Tensor, tier: Tier | None) -> Tensor:
    """By the tiers where they can go, else by torch: single-threaded on the CPU, as ever on its devices."""
    _require_product(a.shape, b.shape)
    a, b = _alike(a, b)
    obstacle = _obstacle(a, b)
    if obstacle and tier in ("numpy", "python"):
        raise ValueError(f"safe_matmul: tier='{tier}' cannot take {obstacle}; leave tier out, or use tier='torch'.")
    if a.device.type != "cpu" or b.device.type != "cpu":
        return torch.matmul(a, b)
    if torch.is_autocast_enabled("cpu"):
        return _by_torch(a, b)
    wide = torch.float32 if _name(a) in HALVES else a.dtype
    left, right = a.to(wide), b.to(wide)
    if obstacle or tier == "torch":
        return _by_torch(left, right).to(a.dtype)
    product = _by_tier(left.numpy(force=True), right.numpy(force=True), tier)
    return torch.from_numpy(product).to(a.dtype)


def _of_arrays(a: np.ndarray, b: np.ndarray, tier: Tier | None) -> np.ndarray:
    """By the tiers where they can go, else by numpy, which computes the other types without BLAS."""
    _require_product(a.shape, b.shape)
    common = np.result_type(a.dtype, b.dtype)
    if common.name not in NUMBERS:
        if tier in ("python", "torch"):
            raise ValueError(f"safe_matmul: tier='{tier}' cannot take arrays of {common.name}; leave tier out.")
        return np.asarray(np.matmul(a, b))
    wide = np.dtype(np.float32) if common.name in HALVES else common
    product = _by_tier(a.astype(wide, copy=False), b.astype(wide, copy=False), tier)
    with np.errstate(over="ignore"):  # beyond the largest float16 lies infinity, as in torch
        return product.astype(common, copy=False)


def _by_tier(a: np.ndarray, b: np.ndarray, tier: Tier | None) -> np.ndarray:
    """The forced tier, else numpy, and where numpy fails the next one that is fast enough."""
    if tier == "python":
        return _by_python(a, b)
    if tier == "torch":
        return _by_torch(_tensor(a), _tensor(b)).numpy()
    if tier == "numpy":
        return _by_numpy(a, b)
    try:
        product = _by_numpy(a, b)
    except (FloatingPointError, MemoryError) as failure:
        reason = repr(failure)
    else:
        if np.isfinite(product).all() or not (np.isfinite(a).all() and np.isfinite(b).all()):
            return product
        reason = "values that are not finite, from finite ones"
    following = "python" if _multiplications(a.shape, b.shape) <= PYTHON_LIMIT else "torch"
    _log.info("numpy failed on the product of %s and %s (%s): it is computed by %s", a.shape, b.shape, reason, following)
    return _by_tier(a, b, following)


def _by_numpy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    # Apple's BLAS raises floating point flags without cause, so the values are judged and not the flags.
    with np.errstate(all="ignore"):
        return np.asarray(np.matmul(a, b))


def _by_python(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row times column, one by one, in Python's own numbers; numpy only shapes the matrices."""
    batch, rows, inner, columns = _sizes(a.shape, b.shape)
    count = math.prod(batch)
    left = a if a.ndim > 1 else a[None, :]
    right = b.swapaxes(-1, -2) if b.ndim > 1 else b[None, :]
    lefts = np.broadcast_to(left, (*batch, rows, inner)).reshape(count, rows, inner).tolist()
    rights = np.broadcast_to(right, (*batch, columns, inner)).reshape(count, columns, inner).tolist()
    sums = [
        sum(map(mul, row, column))
        for matrix, transposed in zip(lefts, rights, strict=True)
        for row in matrix
        for column in transposed
    ]
    shape = (*batch, *((rows,) if a.ndim > 1 else ()), *((columns,) if b.ndim > 1 else ()))
    return _narrowed(sums, a.dtype).reshape(shape)


def _narrowed(values: list[Any], dtype: np.dtype) -> np.ndarray:
    """Python's numbers in `dtype`: integers wrap around, floats too large become infinite."""
    if dtype.kind in "iu":
        return np.array([value % 2**64 for value in values], dtype=np.uint64).astype(dtype)
    with np.errstate(over="ignore"):
        return np.array(values, dtype=np.result_type(dtype, np.float64)).astype(dtype)


def _by_torch(a: Tensor, b: Tensor) -> Tensor:
    with _single_threaded():
        return torch.matmul(a, b)


@contextmanager
def _single_threaded() -> Iterator[None]:
    with _one_at_a_time:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _alike(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one dtype, which torch.matmul asks for and does not bring about."""
    if a.dtype == b.dtype:
        return a, b
    common = torch.promote_types(a.dtype, b.dtype)
    return a.to(common), b.to(common)


def _obstacle(a: Tensor, b: Tensor) -> str | None:
    """Why these tensors cannot leave torch, None if they can."""
    if a.device.type != "cpu" or b.device.type != "cpu":
        return f"tensors on {a.device} and {b.device}"
    if torch.is_grad_enabled() and (a.requires_grad or b.requires_grad):
        return "tensors that need gradients, which end where torch is left"
    if torch.is_autocast_enabled("cpu"):
        return "tensors under autocast, which picks dtypes inside torch"
    if a.layout != torch.strided or b.layout != torch.strided or _name(a) not in NUMBERS:
        return f"tensors of {_name(a)} with layouts {a.layout} and {b.layout}"
    return None


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _tensor(array: np.ndarray) -> Tensor:
    """A copy, since torch takes neither read-only arrays nor negative strides."""
    return torch.from_numpy(np.array(array))


def _sizes(a: Sequence[int], b: Sequence[int]) -> tuple[tuple[int, ...], int, int, int]:
    """Batch, rows, inner size and columns of a product; a vector is one row on the left, one column on the right."""
    batch = np.broadcast_shapes(tuple(a[:-2]), tuple(b[:-2]))
    return batch, a[-2] if len(a) > 1 else 1, a[-1], b[-1] if len(b) > 1 else 1


def _multiplications(a: Sequence[int], b: Sequence[int]) -> int:
    batch, *sizes = _sizes(a, b)
    return math.prod(batch) * math.prod(sizes)


def _require_product(a: Sequence[int], b: Sequence[int]) -> None:
    """Refuse two shapes that have no product, and say which dimensions do not fit."""
    shapes = f"safe_matmul cannot multiply shapes {tuple(a)} and {tuple(b)}"
    if not a or not b:
        raise ValueError(f"{shapes}: both need at least one dimension; multiply by a single number with *.")
    rows = b[-2] if len(b) > 1 else b[0]
    if a[-1] != rows:
        raise ValueError(f"{shapes}: the first ends in {a[-1]} columns and the second has {rows} rows; transpose one of them.")
    if any(m != n and 1 not in (m, n) for m, n in zip(a[-3::-1], b[-3::-1], strict=False)):
        raise ValueError(
            f"{shapes}: the batch dimensions {tuple(a[:-2])} and {tuple(b[:-2])} do not broadcast; make them equal, or 1."
        )
