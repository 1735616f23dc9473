"""The ``chunks`` and ``shards`` arguments, turned into one chunk shape and one shard shape (or none) per level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from chunkpyramid.arguments import is_per_level, per_level, whole_numbers_per_axis
from chunkpyramid.boxes import Shape
from chunkpyramid.errors import ArgumentError

__all__ = ["default_chunks", "resolve_chunks", "resolve_first_chunks", "resolve_shards"]

# Default chunks are cubes of at most this size: large enough to compress and to read from object stores well.
CHUNK_BYTES = 4 * 2**20

# Shards that are chosen here hold at most this many bytes: a petabyte is then some ten million objects, and a task that
# has a shard in memory, and copies of it while it is encoded, still fits beside others.
SHARD_BYTES = 64 * 2**20


def default_chunks(shape: Shape, spatial: Sequence[bool], itemsize: int) -> Shape:
    """Return cubic (or square) chunks of a power of two, no longer than the axes; 1 along time and channel."""
    side = 2 ** int(math.log2(CHUNK_BYTES / itemsize) / sum(spatial))
    return tuple(min(side, n) if is_space else 1 for n, is_space in zip(shape, spatial, strict=True))


def resolve_first_chunks(
    chunks: Any, axes: Sequence[str], spatial: Sequence[bool], default: Shape, automatic: Shape
) -> Shape:
    """Return the chunks that are asked for level 0: they decide how many levels there are by default."""
    if isinstance(chunks, list) and not chunks:
        raise ArgumentError("chunks is an empty list: give one entry per level, or None for the default")
    listed = is_per_level(chunks, len(axes))
    entry, argument = (chunks[0], "chunks of level 0") if listed else (chunks, "chunks")
    return _chunks(entry, argument, axes, spatial, default, automatic)


def resolve_chunks(
    chunks: Any,
    count: int,
    axes: Sequence[str],
    spatial: Sequence[bool],
    default: Shape,
    automatic: Shape,
    kept: Shape | None = None,
) -> list[Shape]:
    """Return the chunk shape of every level.

    Parameters
    ----------
    chunks : None, int, tuple, dict, "auto" or list
        As the argument of `build_pyramid`.
    count : int
        Number of levels, level 0 included.
    axes, spatial : sequences with one entry per axis
        Axis names, and whether an axis is spatial.
    default, automatic : tuple of int
        What None and "auto" stand for; ``default`` also counts for the axes that a dict does not name.
    kept : tuple of int, optional
        The chunks of a level 0 that stays as it is.

    Raises
    ------
    ArgumentError
        If ``chunks`` is malformed, has not one entry per level, or asks for another level 0 than the one that stays.
    """
    shapes = [
        _chunks(entry, argument, axes, spatial, default, automatic)
        for argument, entry in per_level(chunks, "chunks", count, len(axes))
    ]
    if kept is not None:
        if is_per_level(chunks, len(axes)) and shapes[0] != kept:
            raise _stays("chunks", shapes[0], kept)
        shapes[0] = kept
    return shapes


def resolve_shards(
    shards: Any,
    chunks: Sequence[Shape],
    factors: Sequence[Shape],
    shape: Shape,
    axes: Sequence[str],
    spatial: Sequence[bool],
    itemsize: int,
    *,
    in_place: bool = False,
    kept: Shape | None = None,
) -> list[Shape | None]:
    """Return the shard shape of every level, None where it is not sharded.

    Parameters
    ----------
    shards : None, int, tuple, dict, "auto" or list
        As the argument of `build_pyramid`.
    chunks, factors : sequences of tuples of int
        The chunks of every level, and the factors from each level to the next.
    shape, axes, spatial : sequences with one entry per axis
        Shape of level 0, axis names, and whether an axis is spatial.
    itemsize : int
        Bytes per voxel.
    in_place : bool
        Whether level 0 stays as it is; ``kept`` are its shards then, or None.

    Raises
    ------
    ArgumentError
        If ``shards`` is malformed, has not one entry per level, or is no multiple of the chunks of a level.
    """
    if isinstance(shards, str) and shards == "auto":
        first = kept or _automatic_shards(chunks[0], factors, shape, spatial, itemsize)
        below = _shrinking_shards(first, chunks, factors)
        sharded = [s if s != c else None for s, c in zip([first, *below], chunks, strict=True)]
        return [kept, *sharded[1:]] if in_place else sharded

    entries = per_level(shards, "shards", len(chunks), len(axes))
    if in_place:
        argument, entry = entries.pop(0)
        asked = None if entry is None else _shape(entry, argument, axes, spatial, chunks[0], chunks[0])
        if is_per_level(shards, len(axes)) and asked not in (None, kept):
            raise _stays("shards", asked, kept)
    resolved = [kept] if in_place else []
    for level, (argument, entry) in enumerate(entries, int(in_place)):
        own = chunks[level]
        asked = None if entry is None else _shape(entry, argument, axes, spatial, own, own)
        if asked is not None and any(s % c for s, c in zip(asked, own, strict=True)):
            raise ArgumentError(
                f"shards {asked} of level {level} must be multiples of the chunks {own} of that level along every "
                "axis: change shards or chunks"
            )
        resolved.append(asked)
    return resolved


def _chunks(
    entry: Any, argument: str, axes: Sequence[str], spatial: Sequence[bool], default: Shape, automatic: Shape
) -> Shape:
    if entry is None:
        return default
    if isinstance(entry, str) and entry == "auto":
        return automatic
    return _shape(entry, argument, axes, spatial, default, (1,) * len(axes))


def _shape(
    entry: Any, argument: str, axes: Sequence[str], spatial: Sequence[bool], not_named: Shape, not_spatial: Shape
) -> Shape:
    """Return a shape per axis of a number for all spatial axes, a dict by axis, or one entry per (spatial) axis."""
    if isinstance(entry, str | bytes | set | frozenset):
        raise ArgumentError(
            f"{argument} must be a number, a tuple per axis, a dict by axis or None ('auto' chooses chunks, or shards "
            f"of all levels), but {entry!r} was given"
        )
    return whole_numbers_per_axis(entry, argument, axes, spatial, not_named=not_named, not_spatial=not_spatial)


def _stays(argument: str, asked: Shape | None, kept: Shape | None) -> ArgumentError:
    return ArgumentError(
        f"{argument} asks for {asked} at level 0, but in place level 0 stays as it is, with {argument} {kept}: give "
        f"None as the first entry of {argument}, or give target="
    )


def _automatic_shards(
    chunks: Shape, factors: Sequence[Shape], shape: Shape, spatial: Sequence[bool], itemsize: int
) -> Shape:
    """Return chunks that have grown along their shortest spatial axes up to `SHARD_BYTES` or the array's extent.

    An axis grows by the factors of the levels in turn, and then by 2: so the shards of the next levels come out even.
    """
    steps = {
        axis: [factor[axis] for factor in factors if factor[axis] > 1]
        for axis, is_space in enumerate(spatial)
        if is_space  # time points and channels are read, and added, one by one
    }
    shard = list(chunks)
    while True:
        grown = {axis: shard[axis] * (rest[0] if rest else 2) for axis, rest in steps.items()}
        # a shard of twice the array's extent holds no more than one of the extent
        axes = [axis for axis, n in grown.items() if n < 2 * shape[axis]]
        if not axes:
            break
        shortest = min(reversed(axes), key=shard.__getitem__)
        others = math.prod(shard) // shard[shortest]
        if others * grown[shortest] * itemsize > SHARD_BYTES:
            break
        shard[shortest] = grown[shortest]
        del steps[shortest][:1]
    return tuple(shard)


def _shrinking_shards(first: Shape, chunks: Sequence[Shape], factors: Sequence[Shape]) -> list[Shape]:
    """Return the shards below level 0: those before divided by the factor, in whole chunks and at least one.

    Each covers the same voxels of level 0 as the one before, or even parts of them, so a block of shards of level 0
    owns whole shards of every level. Where the division leaves a remainder, blocks are multiples of both anyway, and
    the shard is one that does not make them larger still.
    """
    shards = [first]
    for own, factor in zip(chunks[1:], factors, strict=True):
        shard = []
        for before, chunk, step in zip(shards[-1], own, factor, strict=True):
            least = chunk * step
            even = math.lcm(before, least) // least
            shard.append(chunk * next((n for n in range(before // least, 0, -1) if even % n == 0), 1))
        shards.append(tuple(shard))
    return shards[1:]
