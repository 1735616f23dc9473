"""The reductions against slow references, piece by piece and on every instruction set of the machine."""

from __future__ import annotations

import itertools
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import _chunkpyramid_reduce as kernels
import numpy as np
import pytest
from helpers.fast_oracles import fast_levels
from helpers.oracles import oracle_levels
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkpyramid.boxes import AxisFootprint
from chunkpyramid.errors import ArgumentError, ChunkPyramidError
from chunkpyramid.reductions import exact_mode
from chunkpyramid.reductions import kernels as reductions
from chunkpyramid.reductions.methods import METHODS, Reduction, State, auto_method, resolve_method

Array = np.ndarray[Any, Any]
Factor = tuple[int, ...]

INTEGERS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
FLOATS = ("float16", "float32", "float64")
NUMBERS = ("bool", *INTEGERS, *FLOATS)
SPARSE_METHODS = ("mean", "mode", "exact_mode")


@pytest.fixture(autouse=True)
def best_variant_afterwards() -> Iterator[None]:
    before = kernels.used()
    yield
    kernels.use(before)


@pytest.fixture(params=kernels.variants())
def variant(request: pytest.FixtureRequest) -> str:
    """One of the instruction sets, for tests whose references take no time."""
    return kernels.use(request.param)


def each_variant() -> Iterator[str]:
    """Use one instruction set after the other, for tests whose references take most of the time."""
    for name in kernels.variants():
        yield kernels.use(name)


def special_values(dtype: str) -> list[Any]:
    if dtype == "bool":
        return [False, True]
    if dtype in FLOATS:
        largest = float(np.finfo(dtype).max)
        return [0.0, -0.0, 1.0, 1.5, -2.25, 0.1, largest, -largest, math.inf, -math.inf, math.nan]
    limits = np.iinfo(dtype)
    return [0, 1, 2, 3, 7, limits.min, limits.max, limits.max - 1, limits.max // 2]


def as_bits(array: Array) -> Array:
    """Floats as integers, all NaN alike and -0.0 as 0.0."""
    if array.dtype.kind != "f":
        return array
    tidy = np.where(np.isnan(array), np.array(math.nan, array.dtype), array + np.array(0, array.dtype))
    return tidy.view(f"u{array.dtype.itemsize}")


def assert_same(actual: Array, expected: Array) -> None:
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(as_bits(actual), as_bits(expected))


def run(reduction: Reduction, array: Array, factors: list[Factor]) -> list[Array]:
    state: State | None = reduction.lift(array)
    levels = []
    for factor in factors:
        assert state is not None
        state, level = reduction.step(state, factor)
        levels.append(level)
    return levels


@st.composite
def arrays(draw: st.DrawFn, dtype: str, max_dims: int = 5) -> Array:
    """Few distinct values, extremes among them, in any memory layout."""
    ndim = draw(st.integers(1, max_dims))
    largest = {1: 70, 2: 13, 3: 9, 4: 5, 5: 3}[ndim]
    shape = tuple(draw(st.lists(st.integers(1, largest), min_size=ndim, max_size=ndim)))
    pool = draw(st.lists(st.sampled_from(special_values(dtype)), min_size=1, max_size=6))
    seed = draw(st.integers(0, 2**32 - 1))
    with np.errstate(over="ignore"):
        values = np.array(pool).astype(dtype) if dtype == "bool" or dtype in FLOATS else np.array(pool, dtype)
    array = values[np.random.default_rng(seed).integers(0, len(pool), shape)]
    layout = draw(st.sampled_from(["C", "F", "padded", "reversed", "permuted", "readonly", "swapped"]))
    if layout == "F":
        array = np.asfortranarray(array)
    elif layout == "padded":
        array = np.pad(array, 1)[(slice(1, -1),) * ndim]
    elif layout == "reversed":
        array = array[::-1, ...][..., ::-1]
    elif layout == "permuted":
        array = np.ascontiguousarray(array.transpose(np.roll(range(ndim), 1))).transpose(np.roll(range(ndim), -1))
    elif layout == "readonly":
        array.flags.writeable = False
    elif layout == "swapped":
        array = array.astype(array.dtype.newbyteorder())
    return array


@st.composite
def cases(draw: st.DrawFn, method: str) -> tuple[Array, list[Factor], dict[str, Any]]:
    dtype = draw(st.sampled_from(NUMBERS))
    array = draw(arrays(dtype))
    steps = st.sampled_from([1, 2, 2, 2, 3])
    one_factor = st.lists(steps, min_size=array.ndim, max_size=array.ndim).map(tuple)
    factors = draw(st.lists(one_factor, min_size=1, max_size=3))
    rules: dict[str, Any] = {"rounding": draw(st.sampled_from(["nearest", "truncate"]))}
    if method in SPARSE_METHODS and draw(st.booleans()):
        rules |= {"sparse": True, "background": draw(st.sampled_from(special_values(dtype)))}
    return array, factors, rules


def check(method: str, case: tuple[Array, list[Factor], dict[str, Any]]) -> None:
    array, factors, rules = case
    before = array.copy()
    reduction = resolve_method(method, array.dtype, **rules)
    expected = oracle_levels(array, factors, method, **rules)
    for _ in each_variant():
        for actual, level in zip(run(reduction, array, factors), expected, strict=True):
            assert_same(actual, level)
    assert_same(array.astype(reduction.dtype), before.astype(reduction.dtype))


# ------------------------------------------------------------------------------------------------ the definitions


@pytest.mark.parametrize("method", METHODS)
def test_levels_are_those_of_the_definition(method: str) -> None:
    @settings(max_examples=300 if method in SPARSE_METHODS else 150, deadline=None, database=None)
    @given(cases(method))
    def holds(case: tuple[Array, list[Factor], dict[str, Any]]) -> None:
        check(method, case)

    holds()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("method", SPARSE_METHODS)
def test_rows_long_enough_for_vectors(method: str, dtype: str, sparse: bool, order: Any) -> None:
    random = np.random.default_rng(5)
    pool = np.array([0, 0, 1, 1, 2, 3] if dtype == "bool" else [0, 0, 1, 5, 17, 100]).astype(dtype)
    array = np.array(pool[random.integers(0, 6, (3, 5, 299))], order=order)
    if order == "F":
        array = np.asfortranarray(array.T)
    for factor in [(1, 2, 2), (2, 2, 1), (2, 1, 2), (2, 2, 2), (1, 1, 2)]:
        factors = [factor if order == "C" else factor[::-1]]
        reduction = resolve_method(method, dtype, sparse=sparse)
        (expected,) = oracle_levels(array, factors, method, sparse)
        for _ in each_variant():
            (actual,) = run(reduction, array, factors)
            assert_same(actual, expected)
            assert actual.flags.c_contiguous if order == "C" else actual.flags.f_contiguous


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("method", METHODS)
def test_every_footprint_of_special_floats(method: str, dtype: str) -> None:
    large = 1e4 if dtype == "float16" else 1e16
    values = [math.nan, math.inf, 0.0, -0.0, 1.0, large, -large]
    footprints = np.array(list(itertools.product(values, repeat=4))).astype(dtype)
    side_by_side = np.concatenate(list(footprints.reshape(-1, 2, 2)), axis=1)
    rules: list[dict[str, Any]] = [{}]
    if method in SPARSE_METHODS:
        rules += [{"sparse": True, "background": background} for background in (0.0, math.nan, 1.0)]
    for rule in rules:
        reduction = resolve_method(method, dtype, **rule)
        for array, factor in (
            (footprints.T.copy(), (4, 1)),
            (footprints, (1, 4)),
            (side_by_side, (2, 2)),
            (np.asfortranarray(side_by_side.T), (2, 2)),
        ):
            (expected,) = oracle_levels(array, [factor], method, **rule)
            for _ in each_variant():
                (actual,) = run(reduction, array, [factor])
                assert_same(actual, expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_rows_longer_than_a_tile(method: str, dtype: str) -> None:
    array = np.random.default_rng(6).integers(0, 4, (3, 9001)).astype(dtype)
    for sparse in (False, True) if method in SPARSE_METHODS else (False,):
        reduction = resolve_method(method, dtype, sparse=sparse)
        for factors in ([(2, 2), (2, 2)], [(1, 3), (3, 2)], [(1, 1), (2, 1)]):
            levels = fast_levels(array, factors, method, sparse)
            for _ in each_variant():
                for actual, expected in zip(run(reduction, array, factors), levels, strict=True):
                    assert_same(actual, expected)


def test_every_sum_of_few_bits_is_rounded_correctly(variant: str) -> None:
    for rounding, divisor in itertools.product(["nearest", "truncate"], [1, 2, 3, 5, 7, 8, 12, 27, 125, 256]):
        for dtype in ("uint8", "int8"):
            reduction = resolve_method("mean", dtype, rounding=rounding)
            limits = np.iinfo(dtype)
            sums = np.arange(limits.min * divisor, limits.max * divisor + 1)
            kept = reduction.carry_dtypes(divisor)["sum"]
            footprints = (AxisFootprint(divisor, divisor), AxisFootprint(1, 1))
            state = reduction.from_carry({"sum": sums[None].astype(kept)}, footprints)
            quotients, rests = np.divmod(sums, divisor)
            up = 2 * rests > divisor
            up |= (2 * rests == divisor) & (quotients % 2 == 1)
            expected = quotients + (up if rounding == "nearest" else (sums < 0) & (rests > 0))
            np.testing.assert_array_equal(reduction.render(state)[0], expected.astype(dtype))


def test_large_sums_are_rounded_exactly(variant: str) -> None:
    for dtype, divisor in (("uint32", 3 * 2**20 + 1), ("int32", 5**11), ("uint16", 3**20), ("uint64", 2**40 + 1)):
        reduction = resolve_method("mean", dtype)
        quotients = [np.iinfo(dtype).max - i for i in range(1, 6)]
        for above in (divisor // 2, divisor // 2 + 1):
            expected = np.array(quotients, dtype) + np.array(2 * above > divisor, dtype)
            sums = [q * divisor + above for q in quotients]
            if dtype == "uint64":
                fields = {
                    "sum_low": np.array([s % 2**64 for s in sums], np.uint64),
                    "sum_high": np.array([s >> 64 for s in sums], np.uint64),
                }
            else:
                fields = {"sum": np.array(sums, reduction.carry_dtypes(divisor)["sum"])}
            state = reduction.from_carry(fields, (AxisFootprint(divisor, divisor),))
            np.testing.assert_array_equal(reduction.render(state), expected)


def test_half_floats_are_rounded_like_numpy(variant: str) -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)]
    pairs = np.stack([every, np.random.default_rng(0).permutation(every)], axis=1)
    reduction = resolve_method("mean", "float16")
    _, actual = reduction.step(reduction.lift(pairs), (1, 2))
    expected = (pairs.astype(np.float64).sum(axis=1, keepdims=True) / 2).astype(np.float16)
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(np.signbit(actual), np.signbit(expected))


@pytest.mark.parametrize("factor", [(8, 8, 1), (5, 5, 5), (1, 1, 7), (4, 1, 1), (20, 20)])
def test_mode_of_large_footprints(factor: Factor) -> None:
    array = np.random.default_rng(1).integers(0, 9, (17, 23, 31)[: len(factor)]).astype(np.uint32)
    for sparse in (False, True):
        (expected,) = oracle_levels(array, [factor], "mode", sparse)
        for _ in each_variant():
            (actual,) = run(resolve_method("mode", "uint32", sparse=sparse), array, [factor])
            assert_same(actual, expected)


def test_sums_never_overflow(variant: str) -> None:
    for dtype in INTEGERS:
        limits = np.iinfo(dtype)
        for extreme in (limits.min, limits.max):
            array = np.full((33, 40, 41), extreme, dtype)
            for factors in ([(2, 2, 2)] * 5, [(20, 20, 20)], [(1, 1, 41), (7, 3, 1)]):
                for level in run(resolve_method("mean", dtype), array, factors):
                    assert (level == extreme).all()


def test_datetimes() -> None:
    times = np.array(["2020-01-03", "2020-01-01", "NaT", "2020-01-02", "2020-01-05"], "datetime64[D]")
    for method in ("min", "max", "stride"):
        for array in (times, times - times[0]):
            (actual,) = run(resolve_method(method, array.dtype), array, [(2,)])
            np.testing.assert_array_equal(actual, oracle_levels(array, [(2,)], method)[0])


# -------------------------------------------------------------------------------------------- pieces and the whole


@pytest.mark.parametrize("method", METHODS)
def test_pieces_agree_with_the_whole(method: str) -> None:
    @settings(max_examples=60, deadline=None, database=None)
    @given(cases(method), st.data())
    def holds(case: tuple[Array, list[Factor], dict[str, Any]], data: st.DataObject) -> None:
        array, factors, rules = case
        reduction = resolve_method(method, array.dtype, **rules)
        cut = [math.prod(steps) for steps in zip(*factors, strict=True)]
        whole = run(reduction, array, factors)[-1]
        assembled = np.empty_like(whole)
        steps = [step * data.draw(st.integers(1, 2)) for step in cut]
        pieces = [range(0, size, step) for size, step in zip(array.shape, steps, strict=True)]
        for corner in itertools.product(*pieces):
            box = tuple(slice(begin, begin + p.step) for begin, p in zip(corner, pieces, strict=True))
            level = run(reduction, array[box], factors)[-1]
            start = [begin // step for begin, step in zip(corner, cut, strict=True)]
            target = tuple(slice(b, b + n) for b, n in zip(start, level.shape, strict=True))
            assembled[target] = level
        assert_same(assembled, whole)

    holds()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64"])
@pytest.mark.parametrize("method", METHODS)
def test_levels_at_once_are_levels_one_by_one(
    method: str, dtype: str, order: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several levels of arrays that are large are made box by box."""
    monkeypatch.setattr(reductions, "BOX_BYTES", 2**17)
    monkeypatch.setattr(exact_mode, "BOX_VOXELS", 2**17)
    array = np.random.default_rng(7).integers(0, 3, (35, 46, 301)).astype(dtype)
    assert array.nbytes > 3 * reductions.BOX_BYTES
    if order == "F":
        array = np.asfortranarray(array.T)
    for factors in ([(1, 2, 2), (2, 2, 2), (2, 2, 2)], [(2, 1, 3), (1, 1, 1), (5, 2, 1), (2, 2, 2)]):
        for sparse in (False, True) if method in SPARSE_METHODS else (False,):
            reduction = resolve_method(method, dtype, sparse=sparse)
            one_by_one = run(reduction, array, factors)
            for keep_state in (False, True):
                state, levels = reduction.steps(reduction.lift(array), factors, keep_state=keep_state)
                assert state is not None or not keep_state
                for level, expected in zip(levels, one_by_one, strict=True):
                    assert_same(level, expected)
                if state is not None:
                    assert_same(reduction.render(state), one_by_one[-1])


@settings(max_examples=100, deadline=None, database=None)
@given(cases("mean"))
def test_the_carry_is_the_state(case: tuple[Array, list[Factor], dict[str, Any]]) -> None:
    array, factors, rules = case
    reduction = resolve_method("mean", array.dtype, **rules)
    state = reduction.lift(array)
    restored = state
    reached = 1
    for factor in factors:
        state = reduction.fold(state, factor)
        reached *= math.prod(factor)
        assert state.footprints is not None
        assert state.nbytes <= math.prod(state.shape) * reduction.state_itemsize(reached)
        restored = reduction.fold(restored, factor)
        fields = reduction.to_carry(restored, reached)
        assert {name: field.dtype for name, field in fields.items()} == reduction.carry_dtypes(reached)
        restored = reduction.from_carry(fields, state.footprints)
        assert_same(reduction.render(restored), reduction.render(state))
        for name, field in reduction.to_carry(state).items():
            assert field.dtype.kind in "biuf"
            np.testing.assert_array_equal(field, reduction.to_carry(restored)[name])


@pytest.mark.parametrize("dtype", NUMBERS)
def test_level_zero_can_be_carried(dtype: str) -> None:
    array = np.array([[0, 1, 2, 3, 0, 0, 5]]).astype(dtype)
    ones = (AxisFootprint(1, 1),) * array.ndim
    for sparse in (False, True):
        reduction = resolve_method("mean", dtype, sparse=sparse)
        fields = reduction.to_carry(reduction.lift(array))
        assert {name: field.dtype for name, field in fields.items()} == reduction.carry_dtypes(1)
        restored = reduction.from_carry(fields, ones)
        assert_same(reduction.render(restored), array)
        assert_same(reduction.step(restored, (1, 2))[1], oracle_levels(array, [(1, 2)], "mean", sparse)[0])


def test_sparse_carries_negative_numbers_of_64_bits() -> None:
    array = np.array([-5, 3, 0, 2**62, -(2**63), -(2**63)])
    reduction = resolve_method("mean", "int64", sparse=True)
    restored = reduction.from_carry(reduction.to_carry(reduction.lift(array)), (AxisFootprint(1, 1),))
    np.testing.assert_array_equal(reduction.step(restored, (2,))[1], [-1, 2**62, -(2**63)])


@pytest.mark.parametrize("method", METHODS)
def test_results_go_where_they_are_wanted(method: str) -> None:
    array = np.random.default_rng(0).integers(0, 9, (6, 7, 70)).astype(np.uint16)
    reduction = resolve_method(method, array.dtype)
    state = reduction.lift(array)
    expected = run(reduction, array, [(2, 2, 2)])[0]
    for order in ("C", "F"):
        buffer = np.full((5, 6, 40), 77, np.uint16, order=order)
        window = buffer[1:4, 1:5, 2:37]
        kept, rendered = reduction.step(state, (2, 2, 2), keep_state=True, out=window)
        assert rendered is window
        assert kept is not None
        np.testing.assert_array_equal(window, expected)
        np.testing.assert_array_equal(reduction.render(kept, out=np.empty_like(expected)), expected)
        buffer[1:4, 1:5, 2:37] = 77
        assert (buffer == 77).all()
    with pytest.raises((ArgumentError, ValueError)):
        reduction.step(state, (2, 2, 2), out=np.empty((3, 4, 34), np.uint16))


def test_sizes_of_one_and_broadcast_arrays() -> None:
    row = np.arange(64, dtype=np.uint8)
    array = np.broadcast_to(row, (4, 1, 6, 64))
    for method in METHODS:
        reduction = resolve_method(method, array.dtype)
        actual = run(reduction, array, [(2, 2, 2, 2), (2, 1, 1, 2)])
        for level, expected in zip(actual, oracle_levels(array, [(2, 2, 2, 2), (2, 1, 1, 2)], method), strict=True):
            assert_same(level, expected)


# ------------------------------------------------------------------------------------------------------- look-ups


def test_auto_method() -> None:
    assert [d for d in NUMBERS if auto_method(d) == "mode"] == ["bool", "uint32", "uint64", "int32", "int64"]


@pytest.mark.parametrize(
    ("name", "dtype", "rules", "said"),
    [
        ("median", "uint8", {}, "mean, mode, exact_mode, min, max, stride"),
        ("auto", "uint8", {}, "mean, mode, exact_mode, min, max, stride"),
        ("mean", "complex64", {}, "float64"),
        ("mean", "datetime64[s]", {}, "min, max, stride"),
        ("stride", "O", {}, "without objects"),
        ("mode", "nonsense", {}, "nonsense"),
        ("mean", "uint8", {"rounding": "up"}, "'nearest', 'truncate'"),
        ("max", "uint8", {"sparse": True}, "mean, mode, exact_mode"),
        ("mean", "uint8", {"background": -1}, "uint8"),
        ("mean", "uint8", {"background": 0.5}, "uint8"),
        ("mode", "int64", {"background": math.nan}, "int64"),
        ("mode", "bool", {"background": 2}, "bool"),
        ("mean", "float16", {"background": 1e6}, "float16"),
        ("mean", "float32", {"background": "0"}, "background"),
        ("mean", "uint8", {"background": None}, "background"),
    ],
)
def test_what_is_not_supported_is_said(name: str, dtype: str, rules: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentError, match=said) as caught:
        resolve_method(name, dtype, **rules)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, ChunkPyramidError)


def test_bad_arrays_and_factors() -> None:
    reduction = resolve_method("mean", "uint8")
    state = reduction.lift(np.zeros((4, 4), np.uint8))
    for bad in (np.zeros((), np.uint8), np.zeros((0, 3), np.uint8), np.zeros((2, 2), np.uint16)):
        with pytest.raises(ArgumentError):
            reduction.lift(bad)
    for factor in ((2,), (2, 0), (2, 2, 2)):
        with pytest.raises(ArgumentError, match="factor"):
            reduction.step(state, factor)
    with pytest.raises(ArgumentError, match="fewer levels"):
        reduction.carry_dtypes(2**60)
    with pytest.raises(ArgumentError, match="carries nothing"):
        resolve_method("mode", "uint8").from_carry({}, ())


def test_reductions_travel_between_processes() -> None:
    for method in METHODS:
        reduction = resolve_method(method, ">u4")
        assert pickle.loads(pickle.dumps(reduction)) == reduction
        assert reduction.dtype.isnative


def test_the_environment_chooses_the_kernels() -> None:
    program = "import _chunkpyramid_reduce as k; print(k.used())"
    for name in kernels.variants():
        environment = {**os.environ, "CHUNKPYRAMID_KERNELS": name}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert done.stdout.strip() == name
    environment = {**os.environ, "CHUNKPYRAMID_KERNELS": "abacus"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert "abacus" in done.stderr
    assert "baseline" in done.stderr
