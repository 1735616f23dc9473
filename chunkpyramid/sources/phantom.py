"""A procedural volume that looks like electron microscopy, and its segmentation.

A voxel is a function of its global coordinate and the seed only: any box of an unbounded volume can be made
alone, on any worker, and neighbouring boxes fit together. To keep that true to the last bit on every machine,
voxels come only from operations that IEEE 754 rounds correctly (no sine, no exponential) and from a matrix
product of integers small enough that the order of its sums does not matter.

Cells are the regions of an additively weighted Voronoi diagram in warped space, joined into branching
processes. Distances to its seeds are worked out at the corners of small blocks of voxels and interpolated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import product
from math import prod
from operator import index
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from chunkpyramid.errors import ArgumentError

__all__ = ["phantom_image_and_labels", "phantom_labels"]

Array = NDArray[Any]
Slices = tuple[slice, ...]

PITCH = (15.0, 36.0, 36.0)  # voxels per cell of the grid of seeds; sections are thicker than pixels are wide
PARENT = 3  # such cells per cell of the grid of processes
BLOCK = (2, 8, 8)
TILE = (8, 64, 128)  # a multiple of BLOCK whose temporaries stay in the processor's cache
CANDIDATES = 8  # seeds a block chooses from: a rank has three bits
MEMBRANE = 0.05  # what half a membrane is in difference of distances

AROUND = np.array(list(product((-1, 0, 1), repeat=3)))
# Weights of the corners of a block at its voxels, times its volume: integers.
RAMPS = [np.array([n - np.arange(n), np.arange(n)], np.float32) for n in BLOCK]
LERP = np.einsum("az,by,cx->abczyx", *RAMPS).reshape(8, -1)
# float32 has the integers up to 2**24: distances from -0.5 to 3.5 are spread over all of them.
STEPS = float((1 << 22) // prod(BLOCK))
UNIT = np.float32(2.0**-22)
NOTHING = np.int32(1 << 30)  # beyond all distances as `_tile` packs them


class _Seeds(NamedTuple):
    """Seeds of a box of grid cells, in C order."""

    low: Array
    strides: Array
    offset: Array
    radius: Array
    process: Array
    label: Array
    grey: Array
    mitochondrion: Array


class _Tile(NamedTuple):
    """Some whole blocks. Per block and voxel: its seed, the distance to it, what the next cell is farther."""

    low: Sequence[int]
    blocks: Sequence[int]
    seed: Array
    distance: Array
    margin: Array


def phantom_labels(
    start: Sequence[int],
    shape: Sequence[int],
    *,
    seed: int = 0,
    dtype: DTypeLike = np.uint64,
    membranes: bool = False,
) -> Array:
    """Return the segmentation of a box of the phantom.

    Parameters
    ----------
    start, shape : sequence of int
        First voxel and lengths of the box, in the order z, y, x.
    seed : int
        Which phantom, from 0 to ``2**64 - 1``.
    dtype : dtype
        ``uint64`` or ``uint32``. Regions are the same; the identifiers are unique in a volume of any size,
        or within 15,000 x 36,000 x 36,000 voxels.
    membranes : bool
        Whether voxels on the border of a cell are 0 too. About one cell in fifty is 0, untraced, anyway.

    Returns
    -------
    ndarray
        Labels, C-ordered.

    Raises
    ------
    ArgumentError
        If the box does not have three axes, starts below 0 or has a negative length, or if the seed or the
        dtype is not one of those above.

    Examples
    --------
    >>> whole = phantom_labels((0, 0, 0), (8, 64, 64))
    >>> part = phantom_labels((4, 16, 0), (4, 48, 64))
    >>> bool((whole[4:, 16:] == part).all())
    True
    """
    labels = _allocate(start, shape, seed, dtype)
    for target, source, tile, seeds in _tiles(start, labels, seed):
        found = seeds.label[_unblock(tile.seed, tile.blocks)[source]]
        if membranes:
            found[_unblock(tile.margin, tile.blocks)[source] < MEMBRANE] = 0
        labels[target] = found
    return labels


def phantom_image_and_labels(
    start: Sequence[int], shape: Sequence[int], *, seed: int = 0, dtype: DTypeLike = np.uint64
) -> tuple[NDArray[np.uint8], Array]:
    """Return the image and the segmentation of a box of the phantom.

    The image has bright cytoplasm, dark membranes and mitochondria, and noise that is blurred within sections
    and independent between them. Parameters and errors are those of `phantom_labels`.

    Returns
    -------
    image : ndarray of uint8
    labels : ndarray of `dtype`
    """
    labels = _allocate(start, shape, seed, dtype)
    image = np.empty(labels.shape, np.uint8)
    for target, source, tile, seeds in _tiles(start, labels, seed):
        labels[target] = seeds.label[_unblock(tile.seed, tile.blocks)[source]]
        grey = _unblock(_shade(tile, seeds, seed), tile.blocks)
        grey += _noise(tile.low, grey.shape, seed)
        image[target] = grey.clip(0, 255)[source]
    return image, labels


def _allocate(start: Sequence[int], shape: Sequence[int], seed: int, dtype: DTypeLike) -> Array:
    if len(start) != 3 or len(shape) != 3 or min(map(index, (*start, *shape))) < 0:
        raise ArgumentError(f"start and shape must be three integers from 0 each: {start}, {shape}")
    if not 0 <= index(seed) < 1 << 64:
        raise ArgumentError(f"seed must be from 0 to 2**64 - 1, but is {seed}")
    if np.dtype(dtype) not in (np.uint32, np.uint64):
        raise ArgumentError(f"dtype must be uint32 or uint64, but is {np.dtype(dtype)}")
    return np.empty(tuple(shape), dtype)


def _hash(seed: int, *coordinates: Array) -> Array:
    """Hash broadcast coordinates, slow axes first: only the last one costs a full array."""
    low, high = np.array([[seed & 0xFFFFFFFF], [seed >> 32]], np.uint32)
    value: Array = low ^ high * np.uint32(0x27D4EB2F)
    for coordinate in coordinates:
        value = (value ^ coordinate.astype(np.uint32)) * np.uint32(0x9E3779B1)
        value ^= value >> np.uint32(15)
        value *= np.uint32(0x85EBCA77)
        value ^= value >> np.uint32(13)
    return value


def _uniform(seed: int, stream: int, channels: int, axes: Sequence[Array]) -> Array:
    """Independent numbers in [0, 1), some channels of them at every point of a grid."""
    channel, z, y, x = np.ix_(np.arange(channels), *axes)
    return _hash(seed, np.array([stream]), channel, z, y, x) * 2.0**-32


def _smooth(seed: int, stream: int, axes: Sequence[Array], scale: float) -> Array:
    """Three channels of smooth noise in (-1, 1) on a grid: cubic B-splines with random knots."""
    knots, places, weights = [], [], []
    for axis, pitch in zip(axes, PITCH, strict=True):
        t = axis / (scale * pitch)
        place = np.floor(t).astype(np.int64)
        t -= place
        u = 1 - t
        knots.append(np.arange(place[0] - 1, place[-1] + 3))
        places.append(place - place[0])
        weights.append((u * u * u, (3 * t - 6) * t * t + 4, (3 * u - 6) * u * u + 4, t * t * t))
    values = (2 * _uniform(seed, stream, 3, knots) - 1) / 6**3
    for k in range(3):
        terms = (
            values.take(places[k] + j, k + 1) * np.expand_dims(weight, tuple(range(1, 3 - k)))
            for j, weight in enumerate(weights[k])
        )
        values = reduce(np.add, terms)
    return values


def _sow(low: Array, high: Array, seed: int, dtype: np.dtype[Any]) -> _Seeds:
    """Make the seeds of the grid cells from `low` to `high`, exclusive."""
    axes = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
    cells = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    u = _uniform(seed, 1, 8, axes).reshape(8, -1)
    offset, radius = 0.15 + 0.7 * u[:3], 0.25 * u[3]

    # A process is the seeds nearest to a random stroke, less some that stay cells of their own.
    home = cells // PARENT
    axes_of_parents = [np.arange(a - 1, b + 2) for a, b in zip(home.min(1), home.max(1), strict=True)]
    parents = np.stack(np.meshgrid(*axes_of_parents, indexing="ij")).reshape(3, -1)
    v = _uniform(seed, 2, 8, axes_of_parents)
    strides, v = _strides(v.shape[1:]), v.reshape(8, -1)
    nearest, process = np.full(home.shape[1], np.inf), np.zeros(home.shape[1], np.int64)
    for step in AROUND:
        parent = strides @ (home + step[:, None] - parents[:, :1])
        gap = cells + offset - (parents[:, parent] + v[:3, parent]) * PARENT
        stroke = (v[3:6, parent] - 0.5) * (2.6 * PARENT) + 1e-9
        gap -= stroke * ((gap * stroke).sum(0) / (stroke * stroke).sum(0)).clip(-1, 1)
        distance = (gap * gap).sum(0) - 1.5 * PARENT * v[6, parent] * v[6, parent]
        process = np.where(distance < nearest, parent, process)
        nearest = np.minimum(nearest, distance)
    alone = u[4] < 0.2
    label = _identify(alone, np.where(alone, cells, parents[:, process]), seed, dtype)
    label[u[4] < 0.02] = 0
    return _Seeds(
        low=low,
        strides=_strides([len(axis) for axis in axes]),
        offset=offset.astype(np.float32),
        radius=radius.astype(np.float32),
        process=np.where(alone, parents.shape[1] + np.arange(len(alone)), process),
        label=label,
        grey=(134 + 46 * np.sqrt(np.where(alone, u[5], v[7, process]))).astype(np.float32),
        mitochondrion=np.where(u[6] < 0.35, 0.25 + 0.3 * u[7] - radius, -9).astype(np.float32),
    )


def _strides(shape: Sequence[int]) -> Array:
    return np.array([shape[1] * shape[2], shape[2], 1])


def _identify(alone: Array, cells: Array, seed: int, dtype: np.dtype[Any]) -> Array:
    """Scatter cells over the integers of a dtype, one to one, none of them to 0."""
    bits = dtype.itemsize * 8
    width = (bits - 1) // 3
    label: Array = alone.astype(dtype)
    for field in cells & ((1 << width) - 1):
        label = label << dtype.type(width) | field.astype(dtype)
    label += dtype.type(1)
    for odd in (2 * seed + 1, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB):
        label *= dtype.type(odd & ((1 << bits) - 1))
        label ^= label >> dtype.type(bits // 2)
    return label


def _tiles(start: Sequence[int], labels: Array, seed: int) -> Iterator[tuple[Slices, Slices, _Tile, _Seeds]]:
    """Yield the tiles of a box: where each goes, which part of it, the tile, and the seeds of the box."""
    if labels.size == 0:
        return
    begin, block = np.array(start), np.array(BLOCK)
    end, low = begin + labels.shape, begin // block * block
    axes = [np.arange(a, b + n, n) for a, b, n in zip(low, end + -end % block, BLOCK, strict=True)]
    warped = 2.6 * _smooth(seed, 3, axes, 4.0)
    warped += 0.9 * _smooth(seed, 4, axes, 1.1)
    warped += 0.3 * _smooth(seed, 5, axes, 0.45)
    warped += np.stack(np.meshgrid(*(a / p for a, p in zip(axes, PITCH, strict=True)), indexing="ij"))
    cells = np.floor([warped.min((1, 2, 3)), warped.max((1, 2, 3))]).astype(np.int64)
    seeds = _sow(cells[0] - 1, cells[1] + 2, seed, labels.dtype)
    for corner in product(*map(range, low, end, TILE)):
        first, last = np.maximum(corner, begin), np.minimum(np.add(corner, TILE), end)
        part = (corner - low) // block
        z, y, x = map(slice, part, part + np.array(TILE) // block + 1)
        target, source = (tuple(map(slice, first - origin, last - origin)) for origin in (begin, corner))
        yield target, source, _tile(corner, warped[:, z, y, x], seeds), seeds


def _tile(low: Sequence[int], warped: Array, seeds: _Seeds) -> _Tile:
    """Find the nearest two cells of every voxel, given where the corners of blocks are in warped space."""
    blocks = [n - 1 for n in warped.shape[1:]]
    corners = _corners(warped)
    centre = (corners[:, 0] + corners[:, -1]) * 0.5
    cell = np.floor(centre)

    # With its number in the low bits, a distance is sorted together with its seed, and there are no ties.
    at = seeds.strides @ (cell.astype(np.int64) - seeds.low[:, None]) + (AROUND @ seeds.strides)[:, None]
    far = _distance(seeds, at, AROUND.T[:, :, None], (centre - cell).astype(np.float32))
    order = ((far + 1) * np.float32(1 << 20)).astype(np.int32) << 5 | np.arange(27, dtype=np.int32)[:, None]
    order.partition(CANDIDATES - 1, axis=0)
    chosen = np.sort(order[:CANDIDATES], axis=0) & 31
    at = np.take_along_axis(at, chosen, 0)
    points = (corners - cell[:, None]).astype(np.float32)[:, None]
    far = _distance(seeds, at[:, None], AROUND.T[:, chosen][:, :, None], points)
    far = np.rint((far + np.float32(0.5)) * np.float32(STEPS)).clip(0, 4 * STEPS - 1)

    # A distance, the first rank of its process and its own rank are one integer: minima carry them along.
    process = seeds.process[at]
    slot = (process[:, None] == process).argmax(1).astype(np.int32)
    best = np.full((at.shape[1], prod(BLOCK)), NOTHING)
    second = best.copy()
    for rank in range(CANDIDATES):
        found = _interpolate(far[rank], blocks[0]).astype(np.int32)
        found <<= 6
        found |= slot[rank][:, None] << 3 | rank
        loser = np.maximum(best, found)
        loser |= (((best ^ found) & 0o70) == 0) * NOTHING
        np.minimum(best, found, out=best)
        np.minimum(second, loser, out=second)
    winner = at.T.astype(np.int32).reshape(-1)[(best & 7) + CANDIDATES * np.arange(at.shape[1])[:, None]]
    best >>= 6
    second >>= 6
    return _Tile(low, blocks, winner, best * UNIT - np.float32(0.5), (second - best) * UNIT)


def _distance(seeds: _Seeds, at: Array, step: Array, point: Array) -> Array:
    """Weighted distances of points to seeds; the points, and the cells of the seeds, relative to a cell."""
    gaps = (point[k] - (seeds.offset[k].take(at) + step[k].astype(np.float32)) for k in range(3))
    distance: Array = np.sqrt(reduce(np.add, (gap * gap for gap in gaps)))
    return distance - seeds.radius.take(at)


def _corners(lattice: Array) -> Array:
    """For each channel, values at the eight corners of every block."""
    z, y, x = (n - 1 for n in lattice.shape[1:])
    views = (lattice[:, i : i + z, j : j + y, k : k + x] for i, j, k in product((0, 1), repeat=3))
    return np.stack([view.reshape(len(lattice), -1) for view in views], 1)


def _interpolate(corners: Array, layers: int) -> Array:
    """From eight corners by blocks to blocks by voxels, times the volume of a block."""
    # A product per layer of blocks is too small for BLAS to start threads, which would fight the caller's.
    stack = corners.reshape(8, layers, -1).transpose(1, 2, 0).copy()
    voxels: Array = np.matmul(stack, LERP)
    return voxels.reshape(-1, prod(BLOCK))


def _unblock(values: Array, blocks: Sequence[int]) -> Array:
    """Put voxels that are in the order of blocks in the order of the volume."""
    # A row of a block moves as one item, which numpy copies faster than a short axis.
    rows = values.view(f"V{values.itemsize * BLOCK[2]}").reshape(*blocks, *BLOCK[:2])
    shape = [n * m for n, m in zip(blocks, BLOCK, strict=True)]
    return rows.transpose(0, 3, 1, 4, 2).copy().view(values.dtype).reshape(shape)


def _shade(tile: _Tile, seeds: _Seeds, seed: int) -> Array:
    """Grey values before noise."""
    axes = [np.arange(a // m, a // m + n + 1) for a, m, n in zip(tile.low, BLOCK, tile.blocks, strict=True)]
    grain = np.rint(_corners(_uniform(seed, 6, 1, axes))[0] * 255).astype(np.float32)
    texture = _interpolate(grain, tile.blocks[0]) * np.float32(1 / 255 / prod(BLOCK))
    inside = (seeds.mitochondrion[tile.seed] - tile.distance) * 12
    np.minimum(inside, tile.margin * 12 - 2, out=inside)
    grey: Array = seeds.grey[tile.seed] + 20 * texture - 10
    grey -= inside.clip(0, 1) * (80 - 5 * inside.clip(0, 4) - 40 * texture)
    grey += (60 - grey) * (1.7 - tile.margin * np.float32(0.8 / MEMBRANE)).clip(0, 1)
    return np.rint(grey, out=grey).astype(np.int16)


def _noise(low: Sequence[int], shape: Sequence[int], seed: int) -> Array:
    """Noise of a box cut at multiples of four along x, since a hash has the bytes of four voxels."""
    z, y, x = low
    axes = np.ix_(
        np.arange(z, z + shape[0]),
        np.arange(y - 2, y + shape[1] + 2),
        np.arange(x // 4 - 1, (x + shape[2]) // 4 + 1),
    )
    noise: Array = _hash(seed, np.array([7]), *axes).astype("<u4").view(np.uint8)[..., 2:-2].astype(np.int16)
    for step in (1, 1, 2):
        noise = noise[..., step:] + noise[..., :-step]
        noise = noise[:, step:] + noise[:, :-step]
    # A sum of 64 bytes has a mean of 8160; its deviation becomes seven grey levels.
    return (noise - 8160) // 144
