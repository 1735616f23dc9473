"""What can go wrong in compiled loops: lengths around those of vectors and tiles, strides, edges, guards, divisors.

Every case is run on every instruction set, in one step and level by level, into memory with guards around it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import _chunkpyramid_reduce as kernels
import numpy as np
import pytest
from helpers.fast_oracles import fast_levels
from helpers.oracles import oracle_levels

from chunkpyramid.reductions import exact_mode, methods
from chunkpyramid.reductions import kernels as reductions
from chunkpyramid.reductions.downsample import downsample
from chunkpyramid.reductions.methods import Reduction, resolve_method

Array = np.ndarray[Any, Any]
Factor = tuple[int, ...]
Random = np.random.Generator

INTEGERS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
FLOATS = ("float16", "float32", "float64")
NUMBERS = ("bool", *INTEGERS, *FLOATS)
METHODS = tuple(name for name in ("mean", "mode", "exact_mode", "min", "max", "stride") if name in methods.METHODS)
SPARSE_METHODS = ("mean", "mode", "exact_mode")
GUARD = 0xA5


@pytest.fixture(autouse=True)
def best_variant_afterwards() -> Iterator[None]:
    before = kernels.used()
    yield
    kernels.use(before)


# ---------------------------------------------------------------------------------------------------------- data


def extremes(dtype: str) -> list[Any]:
    if dtype == "bool":
        return [False, True]
    if dtype in FLOATS:
        limits = np.finfo(dtype)
        return [0.0, -0.0, 1.0, 0.1, -2.25, limits.max, limits.min, limits.tiny, math.inf, -math.inf, math.nan]
    limits = np.iinfo(dtype)
    return [0, 1, 2, 3, limits.max, limits.max - 1, limits.min, limits.min + 1, limits.max // 2, limits.max // 2 + 1]


def voxels(random: Random, dtype: str, shape: Sequence[int]) -> Array:
    """Noise over many values, some extremes, few labels, or blocks of labels; all of them with some 0."""
    kind = random.integers(3)
    if kind == 0 and dtype in INTEGERS:
        limits = np.iinfo(dtype)
        array = random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    elif kind == 0 and dtype in FLOATS:
        array = random.normal(0, 1000, shape).astype(dtype)
    elif kind == 1:
        pool = np.array(random.permutation(np.array(extremes(dtype), object))[: random.integers(1, 8)].tolist(), dtype)
        array = pool[random.integers(0, len(pool), shape)]
    else:
        side = int(random.integers(1, 4))
        labels = random.integers(0, 2 if dtype == "bool" else 5, [-(-size // side) for size in shape])
        for axis, size in enumerate(shape):
            labels = labels.repeat(side, axis).take(range(size), axis)
        array = labels.astype(dtype)
    array[random.random(shape) < 0.2] = 0
    return array


def contiguous_axis_reversed(array: Array) -> Array:
    return array[..., ::-1].copy()[..., ::-1]


def slow_axes_reversed(array: Array) -> Array:
    turn = (*[slice(None, None, -1)] * (array.ndim - 1), slice(None))
    return array[turn].copy()[turn]


def every_other(array: Array) -> Array:
    return array.repeat(2, axis=array.ndim - 1)[..., ::2]


def with_gaps(array: Array) -> Array:
    """Rows that are contiguous, but far from each other."""
    return np.pad(array, [(1, 2)] * array.ndim)[(slice(1, -2),) * array.ndim]


def unaligned(array: Array) -> Array:
    data = bytearray(array.nbytes + 1)
    copy = np.frombuffer(data, array.dtype, array.size, offset=1).reshape(array.shape)
    copy[...] = array
    copy.flags.writeable = False
    return copy


def permuted(array: Array) -> Array:
    order = np.roll(range(array.ndim), 1)
    return array.transpose(order).copy().transpose(np.argsort(order))


def swapped(array: Array) -> Array:
    return array.astype(array.dtype.newbyteorder())


LAYOUTS: tuple[Callable[[Array], Array], ...] = (
    np.ascontiguousarray,
    np.asfortranarray,
    slow_axes_reversed,
    contiguous_axis_reversed,
    every_other,
    with_gaps,
    unaligned,
    permuted,
    swapped,
    lambda array: with_gaps(array.T).T,
    lambda array: unaligned(array.T).T,
    lambda array: slow_axes_reversed(array.T).T,
)


# --------------------------------------------------------------------------------------------------- comparisons


def tidy(array: Array) -> Array:
    """Values that are compared: floats as bits, but all NaN alike, and both zeros."""
    if array.dtype.kind != "f":
        return array
    return np.where(np.isnan(array), np.array(math.nan, array.dtype), array + array.dtype.type(0)).view(
        f"u{array.dtype.itemsize}"
    )


def assert_same(actual: Array, expected: Array, *what: Any) -> None:
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), what
    if not np.array_equal(tidy(actual), tidy(expected)):
        where = np.argwhere(tidy(actual) != tidy(expected))
        first = tuple(where[0])
        raise AssertionError(
            f"{what}: {len(where)} of {actual.size} voxels of level {actual.shape} differ, the first at "
            f"{tuple(map(int, first))}: {actual[first]!r}, not {expected[first]!r}"
        )


class Guarded:
    """An output array in the midst of memory that nobody may write to."""

    def __init__(self, shape: Sequence[int], dtype: np.dtype[Any], order: Any, unaligned: bool) -> None:
        element = np.dtype(f"u{dtype.itemsize}")
        outer = [size + 2 for size in shape]
        memory = np.full(math.prod(outer) * dtype.itemsize + 1, GUARD, np.uint8)
        self._inside = (slice(1, -1),) * len(shape)
        self._memory = np.ndarray(outer, element, memory, offset=int(unaligned), order=order)
        self._before = self._memory.copy()
        self.array = self._memory[self._inside].view(dtype)

    def assert_intact(self, *what: Any) -> None:
        after = self._memory.copy()
        after[self._inside] = self._before[self._inside]
        assert np.array_equal(after, self._before), f"{what}: written beyond the output"


def step_by_step(random: Random, reduction: Reduction, array: Array, factors: Sequence[Factor]) -> Iterator[Array]:
    state = reduction.lift(array)
    for index, factor in enumerate(factors):
        last = index + 1 == len(factors)
        shape = [-(-size // step) for size, step in zip(state.shape, factor, strict=True)]
        guarded = Guarded(shape, reduction.dtype, random.choice(["C", "F"]), bool(random.integers(2)))
        if random.integers(4) == 0:
            following = reduction.fold(state, factor)
            level = reduction.render(following, guarded.array)
        else:
            kept, level = reduction.step(
                state, factor, keep_state=not last or bool(random.integers(2)), out=guarded.array
            )
            following = state if kept is None else kept
        assert level is guarded.array
        guarded.assert_intact(reduction, array.shape, array.strides, factors)
        state = following
        yield level


def check(
    random: Random, array: Array, factors: Sequence[Factor], method: str, variants: Sequence[str] = (), **rules: Any
) -> None:
    if method == "exact_mode" and (array.dtype.kind == "f" or np.unique(array).size * array.size > 3_000_000):
        return  # no NaN is the smallest label, and the reference looks at the whole array for every label
    expected = fast_levels(array, factors, method, **rules)
    before = array.copy()
    reduction = resolve_method(method, array.dtype, **rules)
    for variant in variants or kernels.variants():
        kernels.use(variant)
        what = (variant, method, array.dtype, array.shape, array.strides, factors, rules)
        for actual, level in zip(step_by_step(random, reduction, array, factors), expected, strict=True):
            assert_same(actual, level, "step", *what)
        if len(set(factors)) == 1:
            levels = downsample(array, factors[0], num_levels=len(factors), method=method, **rules)
            for actual, level in zip(levels, expected, strict=True):
                assert_same(actual, level, "downsample", *what)
    assert array.tobytes() == before.tobytes()


def rules_for(random: Random, method: str, dtype: str) -> dict[str, Any]:
    rules: dict[str, Any] = {}
    if method == "mean":
        rules["rounding"] = str(random.choice(["nearest", "truncate"]))
    if method in SPARSE_METHODS and random.integers(2):
        pool = extremes(dtype)
        rules |= {"sparse": True, "background": pool[random.integers(len(pool))] if random.integers(2) else 0}
    return rules


def test_the_fast_references_are_the_slow_ones() -> None:
    random = np.random.default_rng(0)
    for _ in range(400):
        method, dtype = str(random.choice(METHODS)), str(random.choice(NUMBERS))
        if method == "exact_mode" and dtype in FLOATS:
            continue
        ndim = int(random.integers(1, 4))
        array = voxels(random, dtype, random.integers(1, 7, ndim))
        factors = [tuple(map(int, random.integers(1, 4, ndim))) for _ in range(random.integers(1, 4))]
        rules = rules_for(random, method, dtype)
        for fast, slow in zip(
            fast_levels(array, factors, method, **rules), oracle_levels(array, factors, method, **rules), strict=True
        ):
            assert_same(fast, slow, method, array, factors, rules)


# --------------------------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("method", METHODS)
def test_any_layout_shape_and_factor(method: str, dtype: str) -> None:
    random = np.random.default_rng(1)
    for number in range(3 * len(LAYOUTS)):
        ndim = int(random.integers(1, 6))
        longest = {1: 300, 2: 40, 3: 18, 4: 8, 5: 5}[ndim]
        steps = [(1, 2), (1, 2, 3), (2,), (1, 2, 3, 4, 5, 16)][random.integers(4)]
        factor = tuple(map(int, random.choice(steps, ndim)))
        while math.prod(factor) > 150:  # references look at all pairs of votes
            factor = tuple(map(int, random.choice(steps, ndim)))
        array = voxels(random, dtype, random.integers(1, longest, ndim, endpoint=True))
        levels = int(random.integers(1, 4))
        check(
            random, LAYOUTS[number % len(LAYOUTS)](array), [factor] * levels, method, **rules_for(random, method, dtype)
        )


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("method", METHODS)
def test_many_short_rows(method: str, dtype: str) -> None:
    random = np.random.default_rng(2)
    factors = [(1, 2, 2), (2, 2, 1), (2, 1, 2), (2, 2, 2), (1, 1, 2), (1, 2, 1), (3, 3, 1), (1, 1, 3), (2, 1, 1)]
    for length in (*range(1, 71), 127, 128, 129, 130, 255, 256, 257):
        shape = (*random.integers(1, 7, 2), length)
        array = voxels(random, dtype, shape)
        factor = factors[random.integers(len(factors))]
        rules = rules_for(random, method, dtype)
        variant = kernels.variants()[length % len(kernels.variants())]
        check(random, array, [factor], method, [variant], **rules)
        check(random, array.T, [factor[::-1]], method, [variant], **rules)


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("method", METHODS)
def test_rows_around_the_length_of_a_tile(method: str, dtype: str) -> None:
    random = np.random.default_rng(3)
    for factor in [(1, 2), (2, 2), (2, 1), (1, 3), (3, 1)]:
        tiles = int(random.choice([64, 256, 512, 1024, 2048, 4096]))
        length = tiles * factor[1] + int(random.integers(-3, 4))
        array = voxels(random, dtype, (3, length))
        check(random, array, [factor] * 2, method, **rules_for(random, method, dtype))
        check(random, array.T, [factor[::-1]] * 2, method, **rules_for(random, method, dtype))


@pytest.mark.parametrize("ndim", [2, 3, 4])
@pytest.mark.parametrize("method", ["mean", "mode", "max"])
def test_two_by_two_on_every_pair_of_axes(method: str, ndim: int) -> None:
    random = np.random.default_rng(4)
    for first, second in itertools.combinations(range(ndim), 2):
        factor = tuple(2 if axis in (first, second) else 1 for axis in range(ndim))
        for dtype in ("uint8", "int16", "uint64", "float32"):
            array = voxels(random, dtype, (5, 7, 6, 35)[-ndim:])
            for layout in (np.ascontiguousarray, np.asfortranarray, permuted):
                check(random, layout(array), [factor] * 2, method, **rules_for(random, method, dtype))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_means_of_several_levels_of_odd_sizes(dtype: str, sparse: bool) -> None:
    random = np.random.default_rng(5)
    sizes = (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 33, 47)
    for number in range(16):
        shape = random.choice(sizes, 3)
        if number % 2:
            shape[number // 2 % 3] = random.integers(60, 140)
        factor = [(2, 2, 2), (1, 2, 2), (2, 2, 1), (2, 1, 2), (2, 2, 2), (4, 2, 2), (3, 3, 3), (1, 1, 2)][number % 8]
        array = voxels(random, dtype, shape)
        rounding = ("nearest", "truncate")[number // 8]
        rules = {"sparse": True, "background": random.choice(array.ravel()).item()} if sparse else {}
        for oriented, steps in ((array, factor), (array.T, factor[::-1])):
            check(random, oriented, [steps] * int(random.integers(2, 6)), "mean", rounding=rounding, **rules)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_several_boxes(order: Any) -> None:
    random = np.random.default_rng(7)
    array = np.array(random.integers(0, 2**32, (39, 371, 317), np.uint32), order=order)  # 17 MiB
    array[array < 2**30] = 0
    for method, factor, rules in (
        ("mean", (2, 2, 2), {"rounding": "truncate"}),
        ("mean", (1, 2, 2), {"sparse": True}),
        ("mode", (2, 2, 1), {}),
    ):
        expected = fast_levels(array, [factor] * 3, method, **rules)
        for actual, level in zip(
            downsample(array, factor, method=method, num_levels=3, **rules), expected, strict=True
        ):
            assert_same(actual, level, method, factor, rules)
            assert actual.flags.c_contiguous if order == "C" else actual.flags.f_contiguous


@pytest.mark.parametrize("shape", [(8, 8, 1024), (2, 2, 16384)])
@pytest.mark.parametrize("method", METHODS)
def test_the_last_box_may_be_one_column(
    method: str, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reductions, "BOX_BYTES", math.prod(shape))
    monkeypatch.setattr(exact_mode, "BOX_VOXELS", math.prod(shape) // 4)
    random = np.random.default_rng(11)
    for rest in (1, 2, 4):
        array = random.integers(0, 3, (*shape[:2], shape[2] + rest), np.uint8)
        for factor in ((2, 2, 2), (2, 2, 1)):
            whole = downsample(array, factor, method=method, num_levels=3)
            turned = downsample(array.T, factor[::-1], method=method, num_levels=3)
            # the columns near the end, which begin where a footprint of the last level does
            begin = (array.shape[2] - 64) // 64 * 64
            part = downsample(array[..., begin:], factor, method=method, num_levels=3)
            for level, other, tail in zip(whole, turned, part, strict=True):
                np.testing.assert_array_equal(level[..., -tail.shape[2] :], tail)
                if method != "mode":  # whose ties depend on the order of the axes
                    np.testing.assert_array_equal(other.T, level)


@pytest.mark.parametrize("method", METHODS)
def test_broadcast_arrays(method: str) -> None:
    random = np.random.default_rng(8)
    for dtype in NUMBERS:
        for repeated in itertools.product([False, True], repeat=3):
            shape = (6, 5, 37)
            small = [1 if again else size for again, size in zip(repeated, shape, strict=True)]
            array = np.broadcast_to(voxels(random, dtype, small), shape)
            factor = tuple(map(int, random.choice([1, 2, 3], 3)))
            check(random, array, [factor] * 2, method, **rules_for(random, method, dtype))


# --------------------------------------------------------------------------------------------------------- values


def every_sum(dtype: str, divisor: int) -> Array:
    """Rows of voxels with every sum that so many voxels can have, or the sums near extremes and halves."""
    limits = np.iinfo(dtype)
    low, high = limits.min * divisor, limits.max * divisor
    if limits.bits == 8:
        sums = list(range(low, high + 1))
    else:
        centres = (low, -divisor // 2, 0, divisor // 2, high // 2, high)
        sums = [s for c in centres for s in range(c - 2 * divisor, c + 2 * divisor + 1) if low <= s <= high]
    rows = np.empty((len(sums), divisor), dtype)
    for row, total in zip(rows, sums, strict=True):
        row[:] = total // divisor
        row[: total % divisor] += row.dtype.type(1)
    return rows


@pytest.mark.parametrize("rounding", ["nearest", "truncate"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_every_sum_is_rounded_as_it_should(dtype: str, rounding: str) -> None:
    random = np.random.default_rng(9)
    for footprint in ((2, 1), (1, 2), (2, 2), (1, 3), (5, 1), (2, 4), (3, 4), (4, 4), (1, 1, 7), (2, 2, 2), (3, 3, 3)):
        rows = every_sum(dtype, math.prod(footprint))
        # Footprints one after the other along the first axis, and along the last one.
        blocks = rows.reshape(-1, *footprint)
        tall = blocks.reshape(-1, *footprint[1:])
        wide = np.concatenate([*blocks], axis=len(footprint) - 1)
        for array in (tall, wide, np.asfortranarray(tall), np.asfortranarray(wide)):
            check(random, array, [footprint], "mean", rounding=rounding)


@pytest.mark.parametrize("rounding", ["nearest", "truncate"])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_sparse_means_of_every_count(dtype: str, rounding: str) -> None:
    random = np.random.default_rng(10)
    limits = np.iinfo(dtype)
    for footprint in ((2, 2), (1, 2, 2), (2, 2, 2), (3, 3, 1)):
        divisor = math.prod(footprint)
        for background in (0, limits.max, limits.min, 1):
            rows = random.integers(limits.min, limits.max, (400, divisor), dtype, endpoint=True)
            rows[::2] = limits.max - random.integers(0, 3, rows[::2].shape).astype(dtype)
            rows[::3] = limits.min + random.integers(0, 3, rows[::3].shape).astype(dtype)
            for row, count in zip(rows, itertools.cycle(range(divisor + 1))):
                row[random.permutation(divisor)[:count]] = background
            array = np.concatenate([*rows.reshape(-1, *footprint)], axis=len(footprint) - 1)
            for levels in (1, 2):
                check(
                    random, array, [footprint] * levels, "mean", rounding=rounding, sparse=True, background=background
                )


@pytest.mark.parametrize("dtype", INTEGERS)
def test_extremes_all_over(dtype: str) -> None:
    limits = np.iinfo(dtype)
    for variant, value in itertools.product(kernels.variants(), (limits.min, limits.max)):
        kernels.use(variant)
        array = np.full((17, 33, 70), value, dtype)
        array[:, 3::5, 1::2] = 7
        everywhere = np.full_like(array, value)
        for factor in ((2, 2, 2), (1, 2, 2), (16, 16, 16), (3, 5, 7), (17, 33, 70)):
            options: dict[str, Any] = {"num_levels": 4, "sparse": True, "background": 7}
            for level in downsample(everywhere, factor, num_levels=4) + downsample(array, factor, **options)[1:]:
                assert (level == value).all(), (variant, factor)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"])
def test_every_pattern_of_eight_labels(dtype: str) -> None:
    """All ways in which eight voxels can be equal to each other or to the background, up to names of labels."""
    names = np.array([0, 1] if dtype == "bool" else [0, 1, 2, 3]).astype(dtype)
    digits = np.array(list(itertools.product(range(len(names)), repeat=8)))
    random = np.random.default_rng(12)
    footprints = names[digits[random.permutation(len(digits))[:4096]]].reshape(-1, 2, 2, 2)
    wide = np.concatenate([*footprints], axis=2)
    high = np.concatenate([*footprints], axis=0)
    for rules in ({}, {"sparse": True}, {"sparse": True, "background": names[1].item()}):
        for factor in ((2, 2, 2), (1, 2, 2), (2, 1, 2), (2, 2, 1)):
            for array in (wide, np.asfortranarray(wide), np.asfortranarray(high)):
                check(random, array, [factor], "mode", **rules)
