"""The same results as other programs, where those give what their documentation says.

tinybrain is left out where it does something else: means of sizes that are odd along x or y (it repeats or skips the
edge), pooling of sizes that the factor does not divide (it refuses them), and modes of arrays in C order or, by 2x2x2,
of several channels.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import chunkpyramid as cp

Array = np.ndarray[Any, Any]

EVEN = (32, 48, 64)
ODD_Z = (32, 48, 65)
ODD = (33, 47, 65)
IN_PLANE = (2, 2, 1)
CUBE = (2, 2, 2)


def volume(shape: tuple[int, ...], dtype: str, *, distinct: int | None = None) -> Array:
    """Random voxels or a few labels, of all magnitudes and with empty surroundings, in Fortran order."""
    random = np.random.default_rng(sum(shape))
    if dtype == "float32":
        array = random.normal(0, 100, shape).astype(dtype)
    else:
        limits = np.iinfo(dtype)
        array = random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
        if distinct is not None:
            array = array.ravel()[:distinct][random.integers(0, distinct, shape)]
        array[:8], array[8:12] = limits.max, limits.min
    array[random.random(shape) < 0.3] = 0
    array[:, :10] = 0
    return np.asfortranarray(array)


def assert_levels(actual: list[Array], expected: list[Array], tolerance: float = 0) -> None:
    assert len(actual) == len(expected)
    for level, reference in zip(actual, expected, strict=True):
        assert (level.shape, level.dtype) == (reference.shape, reference.dtype)
        if tolerance:
            np.testing.assert_allclose(level, reference, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(level, reference)


# ------------------------------------------------------------------------------------------------------ tinybrain


@pytest.mark.parametrize("factor", [IN_PLANE, CUBE])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_means_are_those_of_tinybrain(dtype: str, factor: tuple[int, ...]) -> None:
    tinybrain = pytest.importorskip("tinybrain")
    for shape, mips, sparse in itertools.product((EVEN, ODD_Z), (1, 2, 4), (False, True)):
        if sparse and dtype == "float32":
            continue  # not supported there
        image = volume(shape, dtype)
        assert_levels(
            cp.downsample_with_averaging(image, factor, mips, sparse),
            tinybrain.downsample_with_averaging(image, factor, num_mips=mips, sparse=sparse),
            # Sums of floats are float32 there.
            tolerance=1e-4 if dtype == "float32" else 0,
        )


@pytest.mark.parametrize("factor", [IN_PLANE, CUBE])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"])
def test_modes_are_those_of_tinybrain(dtype: str, factor: tuple[int, ...]) -> None:
    tinybrain = pytest.importorskip("tinybrain")
    for shape, mips, sparse in itertools.product((EVEN, ODD_Z, ODD), (1, 3), (False, True)):
        for distinct in (3, 200):
            labels = volume(shape, dtype, distinct=distinct)
            assert_levels(
                cp.downsample_segmentation(labels, factor, num_mips=mips, sparse=sparse),
                tinybrain.downsample_segmentation(labels, factor, num_mips=mips, sparse=sparse),
            )


@pytest.mark.filterwarnings("ignore:Passing more than 2 positional arguments:DeprecationWarning:tinybrain")
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint64", "float32"])
def test_pooling_and_striding_are_those_of_tinybrain(dtype: str) -> None:
    tinybrain = pytest.importorskip("tinybrain.downsample")
    for factor, mips in itertools.product((IN_PLANE, CUBE, (4, 1, 2)), (1, 2)):
        image = volume(EVEN, dtype)
        for name in ("downsample_with_max_pooling", "downsample_with_min_pooling", "downsample_with_striding"):
            ours, theirs = getattr(cp, name), getattr(tinybrain, name)
            assert_levels(ours(image, factor, num_mips=mips), theirs(image, factor, num_mips=mips))
        image = volume(ODD, dtype)
        assert_levels(
            cp.downsample_with_striding(image, factor, mips),
            tinybrain.downsample_with_striding(image, factor, num_mips=mips),
        )


# ---------------------------------------------------------------------------------------------------- tensorstore


def in_tensorstore(array: Array, factor: tuple[int, ...], method: str) -> Array:
    tensorstore = pytest.importorskip("tensorstore")
    level: Array = tensorstore.downsample(tensorstore.array(array), list(factor), method=method).read().result()
    return level


FACTORS = [(2, 2, 2), (1, 2, 2), (3, 3, 1), (4, 4, 4), (5, 5, 5), (1, 8, 8), (3, 1, 2), (40, 2, 1)]


@pytest.mark.parametrize("method", ["mean", "min", "max", "stride"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32"])
def test_levels_are_those_of_tensorstore(dtype: str, method: str) -> None:
    """Of every level from level 0 by the cumulative factor: integers are rounded half to even there, too."""
    for factor, shape in itertools.product(FACTORS, (EVEN, ODD)):
        array = volume(shape, dtype)
        for order in ("C", "F"):
            levels = cp.downsample(np.array(array, order=order), factor, method=method, num_levels=2)
            totals = [factor, tuple(step * step for step in factor)]
            if dtype == "float32" and method == "mean":
                assert_levels(levels, [in_tensorstore(array, total, method) for total in totals], tolerance=1e-3)
            else:
                assert_levels(levels, [in_tensorstore(array, total, method) for total in totals])


@pytest.mark.parametrize("dtype", ["uint8", "uint32", "uint64", "int16"])
def test_modes_without_ties_are_those_of_tensorstore(dtype: str) -> None:
    """Ties may go to another label there. Two labels cannot tie in a footprint of odd size that is not clipped."""
    for factor in ((3, 3, 1), (3, 3, 3), (1, 5, 5), (7, 1, 1)):
        labels = volume((63, 75, 21) if factor[0] != 1 else (9, 75, 80), dtype, distinct=2)
        labels = np.where(labels == labels.max(), labels.max(), 5).astype(dtype)
        shape = tuple(size // step * step for size, step in zip(labels.shape, factor, strict=True))
        labels = labels[tuple(map(slice, shape))]
        for order in ("C", "F"):
            (level,) = cp.downsample(np.array(labels, order=order), factor, method="mode")
            np.testing.assert_array_equal(level, in_tensorstore(labels, factor, "mode"))
