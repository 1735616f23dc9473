"""The phantom: the same voxels in whichever box they are made, and statistics like those of real data."""

from __future__ import annotations

import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from numcodecs import Blosc  # type: ignore[import-untyped]

from chunkpyramid.errors import ArgumentError
from chunkpyramid.sources.phantom import phantom_image_and_labels, phantom_labels

WHOLE = (3, 1001, 509), (40, 150, 170)


@pytest.fixture(scope="module")
def whole() -> tuple[Any, Any]:
    return phantom_image_and_labels(*WHOLE, seed=5)


@pytest.fixture(scope="module")
def cube() -> tuple[Any, Any]:
    return phantom_image_and_labels((0, 0, 0), (96, 128, 192))


def ratio(array: Any) -> float:
    codec = Blosc("zstd", clevel=5, shuffle=Blosc.BITSHUFFLE)
    return float(array.nbytes / len(codec.encode(np.ascontiguousarray(array))))


@pytest.mark.parametrize(
    ("offset", "shape"),
    [
        ((0, 0, 0), (40, 150, 170)),
        ((0, 0, 0), (1, 1, 1)),
        ((39, 149, 169), (1, 1, 1)),
        ((7, 3, 2), (1, 147, 1)),
        ((5, 64, 10), (2, 8, 131)),
        ((13, 11, 23), (16, 16, 16)),
        ((1, 2, 3), (39, 148, 167)),
        ((20, 0, 85), (20, 150, 85)),
    ],
)
def test_a_box_is_the_same_part_of_a_larger_box(
    whole: tuple[Any, Any], offset: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    start = [a + b for a, b in zip(WHOLE[0], offset, strict=True)]
    part = tuple(slice(a, a + n) for a, n in zip(offset, shape, strict=True))
    image, labels = phantom_image_and_labels(start, shape, seed=5)
    np.testing.assert_array_equal(image, whole[0][part])
    np.testing.assert_array_equal(labels, whole[1][part])


def test_random_boxes_fit_seamlessly(whole: tuple[Any, Any]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        low, high = np.sort(rng.integers(0, np.add(WHOLE[1], 1), (2, 3)), axis=0)
        image, labels = phantom_image_and_labels(low + WHOLE[0], high - low, seed=5)
        part = tuple(map(slice, low, high))
        np.testing.assert_array_equal(image, whole[0][part])
        np.testing.assert_array_equal(labels, whole[1][part])


def test_voxels_do_not_depend_on_the_machine(whole: tuple[Any, Any]) -> None:
    checksums = [zlib.crc32(array.astype(array.dtype.newbyteorder("<"))) for array in whole]
    assert checksums == [1202009527, 537031295]


def test_labels_alone_are_those_of_the_pair(whole: tuple[Any, Any]) -> None:
    np.testing.assert_array_equal(phantom_labels(*WHOLE, seed=5), whole[1])


def test_far_from_the_origin() -> None:
    start = (10**9 + 1, 2 * 10**9 + 3, 3 * 10**9 + 5)
    image, labels = phantom_image_and_labels(start, (12, 40, 40))
    again, same = phantom_image_and_labels([n + 4 for n in start], (8, 36, 36))
    np.testing.assert_array_equal(image[4:, 4:, 4:], again)
    np.testing.assert_array_equal(labels[4:, 4:, 4:], same)
    assert image.std() > 5


@pytest.mark.parametrize("seed", [1, 6, 5 + 2**32, 2**64 - 1])
def test_seeds_make_different_volumes(whole: tuple[Any, Any], seed: int) -> None:
    image, labels = phantom_image_and_labels(*WHOLE, seed=seed)
    assert (image != whole[0]).mean() > 0.9
    assert (labels != whole[1]).mean() > 0.9


def test_dtypes_shapes_and_empty_boxes() -> None:
    image, labels = phantom_image_and_labels((0, 1, 2), (3, 5, 7))
    assert image.dtype == np.uint8
    assert labels.dtype == np.uint64
    assert image.shape == labels.shape == (3, 5, 7)
    assert image.flags.c_contiguous
    assert labels.flags.c_contiguous
    assert phantom_labels((0, 0, 0), (0, 5, 7), dtype="uint32").shape == (0, 5, 7)


def test_both_dtypes_label_the_same_regions(whole: tuple[Any, Any]) -> None:
    small = phantom_labels(*WHOLE, seed=5, dtype=np.uint32)
    assert small.dtype == np.uint32
    pairs = np.unique(np.stack([small.ravel().astype(np.uint64), whole[1].ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


def test_identifiers_are_large_and_scattered(cube: tuple[Any, Any]) -> None:
    ids = np.unique(cube[1])
    ids = ids[ids != 0]
    assert ids.min() > 1 << 48
    assert 0.3 < (ids > 1 << 63).mean() < 0.7
    assert 0.3 < (ids % 2 == 1).mean() < 0.7


def test_cells_vary_widely_in_size(cube: tuple[Any, Any]) -> None:
    ids, sizes = np.unique(cube[1], return_counts=True)
    assert 40 < len(ids) < 300
    assert sizes.max() < cube[1].size / 3
    assert np.percentile(sizes, 90) > 10 * np.percentile(sizes, 10)


def test_cells_cross_sections_more_often_than_pixels(cube: tuple[Any, Any]) -> None:
    z, y, x = ((np.diff(cube[1], axis=axis) != 0).mean() for axis in range(3))
    assert 0.03 < z < 0.12
    assert 0.01 < y < 0.06
    assert 0.01 < x < 0.06


def test_membranes_are_background_on_request(cube: tuple[Any, Any]) -> None:
    labels = phantom_labels((0, 0, 0), (96, 128, 192), membranes=True)
    kept = labels != 0
    assert 0.04 < (~kept).mean() - (cube[1] == 0).mean() < 0.2
    np.testing.assert_array_equal(labels[kept], cube[1][kept])


def test_borders_are_dark_and_insides_bright(cube: tuple[Any, Any]) -> None:
    image, labels = cube
    border = np.zeros(image.shape, bool)
    border[..., 1:] |= labels[..., 1:] != labels[..., :-1]
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    assert image[border].mean() < 90
    assert np.median(image) > 140
    assert 0.05 < (image < 100).mean() < 0.3


def test_image_is_neither_constant_nor_white_noise(cube: tuple[Any, Any]) -> None:
    image = cube[0].astype(np.float32)
    assert 20 < image.std() < 60
    assert np.percentile(image, 99) - np.percentile(image, 1) > 100
    inside = np.abs(np.diff(image, axis=2))
    assert 1 < np.median(inside) < 8
    noise = image[1:] - image[:-1]
    assert 4 < np.median(np.abs(noise - np.median(noise))) < 20


def test_compressibility_is_realistic(cube: tuple[Any, Any]) -> None:
    image, labels = cube
    assert 1.15 < ratio(image) < 2.5
    assert 15 < ratio(labels) < 100


@pytest.mark.parametrize("period", [8, 64])
def test_no_grid_shows(cube: tuple[Any, Any], period: int) -> None:
    steps = np.abs(np.diff(cube[0].astype(np.float32), axis=2)).mean((0, 1))
    on_grid = np.arange(1, len(steps) + 1) % period == 0
    assert steps[on_grid].mean() == pytest.approx(steps[~on_grid].mean(), rel=0.15)


def test_memory_is_a_few_bytes_per_voxel() -> None:
    tracemalloc.start()
    try:
        image, labels = phantom_image_and_labels((0, 0, 0), (64, 256, 256))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - image.nbytes - labels.nbytes < 6 * image.size


@pytest.mark.parametrize(
    ("start", "shape", "options"),
    [
        ((0, 0), (4, 4, 4), {}),
        ((0, 0, 0), (4, 4), {}),
        ((0, 0, 0, 0), (4, 4, 4, 4), {}),
        ((0, -1, 0), (4, 4, 4), {}),
        ((0, 0, 0), (4, -4, 4), {}),
        ((0, 0, 0), (4, 4, 4), {"seed": -1}),
        ((0, 0, 0), (4, 4, 4), {"seed": 2**64}),
        ((0, 0, 0), (4, 4, 4), {"dtype": np.int64}),
        ((0, 0, 0), (4, 4, 4), {"dtype": np.uint8}),
        ((0, 0, 0), (4, 4, 4), {"dtype": np.float32}),
    ],
)
def test_bad_arguments(start: tuple[int, ...], shape: tuple[int, ...], options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="must be"):
        phantom_labels(start, shape, **options)
    with pytest.raises(ArgumentError, match="must be"):
        phantom_image_and_labels(start, shape, **options)


def test_fractions_of_voxels_are_type_errors() -> None:
    with pytest.raises(TypeError):
        phantom_labels((0, 0, 0.5), (4, 4, 4))  # type: ignore[arg-type]
