"""The ``factor`` and ``levels`` arguments, spelled out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chunkpyramid.boxes import Shape
from chunkpyramid.errors import ArgumentError
from chunkpyramid.pyramid.factors import cumulative_factors, resolve_factors

AXES = "tczyx"


def resolve(
    factor: Any,
    levels: int | None = None,
    *,
    shape: Shape = (640, 640, 640),
    axes: str | None = None,
    scale: tuple[float, ...] | None = None,
    chunks: Shape | None = None,
) -> list[Shape]:
    axes = axes or AXES[-len(shape) :]
    spatial = [axis not in "tc" for axis in axes]
    return resolve_factors(factor, levels, shape, axes, spatial, scale, chunks or (64,) * len(shape))


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (2, (1, 1, 2, 2, 2)),
        (np.int64(3), (1, 1, 3, 3, 3)),
        ((1, 1, 1, 2, 2), (1, 1, 1, 2, 2)),
        ([2, 2, 2, 2, 2], (2, 2, 2, 2, 2)),
        (2.0, (1, 1, 2, 2, 2)),
        (np.array([1, 1, 2, 2, 2]), (1, 1, 2, 2, 2)),
        ((1, 2, 2), (1, 1, 1, 2, 2)),
        ({"y": 2, "x": 2}, (1, 1, 1, 2, 2)),
        ({"t": 2}, (2, 1, 1, 1, 1)),
        ({}, (1, 1, 1, 1, 1)),
        (1, (1, 1, 1, 1, 1)),
    ],
    ids=str,
)
def test_one_factor_for_all_levels(factor: Any, expected: Shape) -> None:
    shape = (9, 3, 70, 80, 90)
    assert resolve(factor, 3, shape=shape, chunks=(1, 1, 8, 8, 8)) == [expected] * 3
    if np.iterable(factor):
        assert resolve([factor] * 2, shape=shape) == [expected] * 2


def test_a_list_of_tuples_is_one_per_level() -> None:
    factors = [(1, 2, 2), (2, 2, 2), (3, 1, 1)]
    assert resolve(factors) == resolve(factors, 3) == resolve(np.array(factors)) == resolve(tuple(factors)) == factors
    assert resolve([{"x": 2}, {"y": 3}]) == [(1, 1, 2), (1, 3, 1)]
    assert resolve([(1, 2)], shape=(3, 50, 50), axes="cyx") == [(1, 1, 2)]


@given(st.data(), st.integers(2, 5))
def test_default_levels_end_when_a_level_fits_in_a_chunk(data: st.DataObject, ndim: int) -> None:
    """No level is missing, and none could be left out."""
    shape = data.draw(st.tuples(*[st.integers(1, 3000)] * ndim))
    chunks = data.draw(st.tuples(*[st.integers(1, 100)] * ndim))
    factor = data.draw(st.tuples(*[st.integers(1, 3)] * ndim))
    factors = resolve(factor, shape=shape, chunks=chunks)
    sizes = [tuple(math.ceil(n / f**level) for n, f in zip(shape, factor, strict=True)) for level in range(60)]
    fits = [all(n <= c for n, f, c in zip(size, factor, chunks, strict=True) if f > 1) for size in sizes]
    assert factors == [factor] * fits.index(True)


def test_default_levels_of_volumes_that_fit_already() -> None:
    assert resolve(2, shape=(64, 64, 64)) == []
    assert resolve(2, shape=(1, 1, 65)) == [(2, 2, 2)]
    assert resolve((1, 2, 2), shape=(10**9, 64, 64)) == []


def nearer_by_doubling(scale: tuple[float, ...]) -> Shape:
    """The rule of "isotropic" as it is told: the finest axis doubles, and so does all that comes nearer by it."""
    goal = 2 * min(scale)
    return tuple(2 if size == min(scale) or abs(2 * size - goal) < abs(size - goal) else 1 for size in scale)


@given(st.lists(st.integers(1, 300), min_size=2, max_size=3), st.integers(0, 8))
def test_isotropic_follows_its_rule(sizes: list[int], levels: int) -> None:
    scale = tuple(map(float, sizes))
    factors = resolve("isotropic", levels, shape=(64,) * len(sizes), scale=scale)
    assert len(factors) == levels
    for factor in factors:
        assert factor == nearer_by_doubling(scale)
        scale = tuple(s * f for s, f in zip(scale, factor, strict=True))


@example([1.0, 257.0, 1.5])  # two axes that take turns
@given(st.lists(st.floats(1, 1000), min_size=2, max_size=3))
def test_isotropic_ends_in_voxels_that_are_nearly_cubes(sizes: list[float]) -> None:
    scale = np.array(sizes)
    for factor in resolve("isotropic", 32, shape=(64,) * len(sizes), scale=tuple(sizes)):
        before = scale.max() / scale.min()
        scale = scale * factor
        assert scale.max() / scale.min() <= max(before, 2) * (1 + 1e-9)
    assert scale.max() / scale.min() <= 2


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        ((40, 4, 4), [(1, 2, 2), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2)]),
        ((30, 8, 8), [(1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2)]),
        ((1, 1, 1), [(2, 2, 2)] * 5),
        ((0.1, 0.1, 0.1 + 1e-17), [(2, 2, 2)] * 5),
        ((45, 16, 16), [(1, 2, 2), (1, 2, 2), (2, 1, 1), (1, 2, 2), (2, 1, 1)]),
    ],
)
def test_isotropic_of_real_voxel_sizes(scale: tuple[float, ...], expected: list[Shape]) -> None:
    assert resolve("isotropic", 5, scale=scale) == expected


def test_isotropic_leaves_time_and_channel_alone() -> None:
    shape, scale = (5, 3, 64, 640, 640), (0.001, 1.0, 40.0, 4.0, 4.0)
    factors = resolve("isotropic", 2, shape=shape, scale=scale)
    assert factors == [(1, 1, 1, 2, 2)] * 2


@pytest.mark.parametrize(
    ("sizes", "shape"), [((40, 4, 4), (300, 5000, 5000)), ((1, 1, 50), (70, 70, 1000)), ((1e6, 1, 1), (100, 100, 100))]
)
def test_isotropic_ends_by_default_when_all_fits_in_a_chunk(sizes: tuple[float, ...], shape: Shape) -> None:
    factors = resolve("isotropic", shape=shape, scale=sizes)
    *_, before, last = (
        [math.ceil(n / f) for n, f in zip(shape, total, strict=True)] for total in cumulative_factors(factors, 3)
    )
    assert max(last) <= 64 < max(before)


@given(st.lists(st.tuples(*[st.integers(1, 4)] * 3), max_size=12))
def test_cumulative_factors_are_the_products_so_far(factors: list[Shape]) -> None:
    cumulative = cumulative_factors(factors, 3)
    assert cumulative == [
        tuple(math.prod(f[axis] for f in factors[:n]) for axis in range(3)) for n in range(len(factors) + 1)
    ]


def test_cumulative_factors_do_not_overflow() -> None:
    assert cumulative_factors([(2,)] * 64, 1)[-1] == (2**64,)


@pytest.mark.parametrize(
    ("factor", "levels", "message"),
    [
        (0, None, "at least 1"),
        (-2, None, "at least 1"),
        (2.5, None, "at least 1"),
        ([1, 2, 2], None, r"factor=\(1, 2, 2\)"),
        (True, None, "at least 1"),
        (None, None, "at least 1"),
        ((2, 2), None, "one entry per axis"),
        ((2, 2, 2, 2), None, "one entry per axis"),
        ((1, 2, 0), None, "at least 1"),
        ((1, 2, 1.5), None, "at least 1"),
        ({"q": 2}, None, "'q'"),
        ({"x": "2"}, None, "'x'"),
        ("cubic", None, "'cubic'"),
        ("isotropic", None, "voxel_size="),
        ([(1, 2, 2), (2, 2)], None, "one entry per axis"),
        ([], None, "empty"),
        ([(1, 2, 2)], 2, "levels=2 does not match the 1"),
        (2, -1, "at least 0"),
        (2, 1.5, "at least 0"),
        (2, True, "at least 0"),
        (2, 65, "at most 64"),
    ],
    ids=str,
)
def test_bad_factors_and_levels_are_told(factor: Any, levels: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        resolve(factor, levels)
