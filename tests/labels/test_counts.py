"""Counts, bounding boxes and centroids of labels are those that counting voxel by voxel gives."""

from __future__ import annotations

from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import chunkpyramid as cp
from chunkpyramid.boxes import Box, tile
from chunkpyramid.labels.counts import LabelCounts, count_labels, merge_counts

Array = npt.NDArray[Any]

DTYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "?", ">u4", ">i8"]


def assert_right(counts: LabelCounts, volume: Array, start: tuple[int, ...], interior: Box | None = None) -> None:
    """Compare with an oracle that looks at one voxel after the other."""
    inner = Box.at(start, volume.shape) if interior is None else interior
    voxels: dict[int, list[tuple[int, ...]]] = {}
    for index in np.ndindex(volume.shape):
        voxels.setdefault(volume[index].item(), []).append(tuple(i + s for i, s in zip(index, start, strict=True)))
    assert counts.label.tolist() == sorted(voxels)
    assert counts.label.dtype == volume.dtype.newbyteorder("=")
    for at, label in enumerate(sorted(voxels)):
        axes = list(zip(*voxels[label], strict=True))
        assert counts.count[at] == len(voxels[label])
        assert counts.border_count[at] == sum(
            any(not a <= x < b for x, a, b in zip(voxel, inner.start, inner.stop, strict=True))
            for voxel in voxels[label]
        )
        assert counts.start[at].tolist() == [min(axis) for axis in axes]
        assert counts.stop[at].tolist() == [max(axis) + 1 for axis in axes]
        sums = [(int(h) << 32) + int(w) for h, w in zip(counts.sum_high[at], counts.sum_low[at], strict=True)]
        assert sums == [sum(axis) for axis in axes]
        means = [Fraction(total, len(voxels[label])) for total in sums]
        np.testing.assert_allclose(counts.centroid[at], [float(mean) for mean in means], rtol=1e-15, atol=0)


@st.composite
def volumes(draw: st.DrawFn) -> Array:
    """Arrays of few labels, extreme ones too, of any order in memory."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(npst.array_shapes(min_dims=1, max_dims=5, min_side=1, max_side=5))
    if dtype.kind == "b":
        palette = [False, True]
    else:
        limits = np.iinfo(dtype)
        palette = [limits.min, limits.max, 0, 1, 64, draw(st.integers(limits.min, limits.max))]
    picks = draw(npst.arrays(np.intp, shape, elements=st.integers(0, len(palette) - 1)))
    volume = np.array(palette, dtype)[picks]
    volume = np.asarray(volume, order=draw(st.sampled_from("CF")))
    steps = draw(st.tuples(*[st.sampled_from([1, -1, 2])] * volume.ndim))
    return volume[tuple(slice(None, None, step) for step in steps)].transpose(draw(st.permutations(range(volume.ndim))))


@given(volumes(), st.sampled_from([0, 7, 2**40]), st.none() | st.integers(1, 3), st.data())
def test_labels_are_counted_as_voxel_by_voxel(
    volume: Array, offset: int, most: int | None, data: st.DataObject
) -> None:
    start = tuple(offset + axis for axis in range(volume.ndim))
    low, high = data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    # of small axes it has nothing
    interior = Box(tuple(s + low for s in start), tuple(s + n - high for s, n in zip(start, volume.shape, strict=True)))
    parts = list(count_labels(volume, start, interior=interior, most=most))
    assert most is not None or len(parts) == 1
    assert all(len(part.label) <= most for part in parts if most is not None)
    assert_right(reduce(merge_counts, parts), volume, start, interior)
    alone = reduce(merge_counts, count_labels(volume, start, with_boxes=False, most=most))
    labels, numbers = np.unique(volume, return_counts=True)
    assert (alone.label.tolist(), alone.count.tolist()) == (labels.tolist(), numbers.tolist())
    assert alone.start.shape == (len(labels), 0)


@given(volumes(), st.data())
def test_parts_in_any_order_are_the_whole(volume: Array, data: st.DataObject) -> None:
    whole = Box((0,) * volume.ndim, volume.shape)
    shape = data.draw(st.tuples(*[st.integers(1, 4)] * volume.ndim))
    boxes = data.draw(st.permutations([cell.clip(volume.shape) for cell in tile(whole, shape)]))
    interior = Box((1,) * volume.ndim, tuple(n - 1 for n in volume.shape))
    parts = [next(count_labels(volume[box.slices], box.start, interior=interior)) for box in boxes]
    assert_right(reduce(merge_counts, parts), volume, whole.start, interior)


@pytest.mark.parametrize("step", [2**32, 2**12, 0x9E3779B97F4A7C15])
def test_labels_that_agree_in_many_bits(step: int) -> None:
    labels = np.arange(5000, dtype=np.uint64) * np.uint64(step)
    (counts,) = count_labels(np.concatenate([labels, labels[::-1]]), (0,))
    np.testing.assert_array_equal(counts.label, np.sort(labels))
    assert (counts.count == 2).all()


def test_empty_and_read_only_arrays_and_scalars() -> None:
    (counts,) = count_labels(np.zeros((3, 0, 2), np.uint16), (0, 0, 0))
    assert (counts.label.size, counts.start.shape, counts.label.dtype) == (0, (0, 3), np.uint16)
    (counts,) = count_labels(np.array(5), ())
    assert (counts.label.tolist(), counts.count.tolist(), counts.start.shape) == ([5], [1], (1, 0))
    volume = np.ones((2, 2), np.uint8)
    volume.flags.writeable = False
    (counts,) = count_labels(volume, (0, 0))
    assert counts.count.tolist() == [4]


def test_sums_of_coordinates_beyond_64_bits_are_exact() -> None:
    far = 2**62
    (part,) = count_labels(np.ones(1, np.uint8), (far,))
    for _ in range(3):
        part = merge_counts(part, part)
    assert (int(part.sum_high[0, 0]) << 32) + int(part.sum_low[0, 0]) == 8 * far
    assert part.centroid[0, 0] == far


@pytest.mark.parametrize(("start", "voxels"), [(10**12, 10**7), (10**15, 10**5), (2**40, 2**24), (2**62, 3)])
def test_sums_of_one_block_far_from_the_origin_are_exact(start: int, voxels: int) -> None:
    (part,) = count_labels(np.ones(voxels, np.uint8), (start,))
    exact = voxels * start + voxels * (voxels - 1) // 2
    assert (int(part.sum_high[0, 0]) << 32) + int(part.sum_low[0, 0]) == exact
    assert 0 <= part.sum_low[0, 0] < 2**32
    assert part.centroid[0, 0] == pytest.approx(exact / voxels, rel=1e-15)


def test_what_is_no_label_is_refused() -> None:
    with pytest.raises(cp.ArgumentError, match="integers or bool"):
        next(count_labels(np.zeros(3), (0,)))


def test_counts_agree_with_other_libraries() -> None:
    cc3d = pytest.importorskip("cc3d")
    fastremap = pytest.importorskip("fastremap")
    volume = np.random.default_rng(0).integers(0, 9, (20, 30, 40)).astype(np.uint32)
    (counts,) = count_labels(volume, (0, 0, 0))
    theirs = cc3d.statistics(volume)
    np.testing.assert_array_equal(counts.count, theirs["voxel_counts"])
    np.testing.assert_allclose(counts.centroid, theirs["centroids"], rtol=1e-6)
    labels, numbers = fastremap.unique(volume, return_counts=True)
    np.testing.assert_array_equal(counts.label, labels)
    np.testing.assert_array_equal(counts.count, numbers)
