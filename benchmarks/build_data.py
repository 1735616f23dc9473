"""The volumes of the build benchmark: made once, in pieces, and kept in a directory."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from math import gcd
from multiprocessing import get_context
from pathlib import Path

import numpy as np

Shape = tuple[int, ...]

DTYPES = {"image": np.dtype(np.uint8), "labels": np.dtype(np.uint64)}
MASTER_CHUNK = 128
PIECE_BYTES = 128 * 2**20


def volume_shape(kind: str, side: int) -> Shape:
    """Return the shape of a volume: side^3 voxels of the image, half as many of the labels (4 GiB for side 1024)."""
    return (side, side, side) if kind == "image" else (side // 2, side, side)


def source_path(directory: Path, kind: str, side: int, chunks: Shape, shards: Shape | None = None) -> Path:
    """Return the path of the source array, which is made if it is not there."""
    layout = "x".join(map(str, chunks)) + ("-in-" + "x".join(map(str, shards)) if shards else "")
    path = directory / f"{kind}-{side}-{layout}.zarr"
    if path.exists():
        return path / "0"
    print(f"making {path} ...", file=sys.stderr, flush=True)
    unfinished = path.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shape = volume_shape(kind, side)
    _create(unfinished, kind, shape, chunks, shards)
    unit = shards or chunks
    if chunks == (MASTER_CHUNK,) * 3 and shards is None:
        jobs = [(unfinished, kind, start, size) for start, size in _pieces(shape, unit, DTYPES[kind].itemsize)]
        run = _make
    else:
        master = source_path(directory, kind, side, (MASTER_CHUNK,) * 3)
        # pieces that are whole in both arrays, so that no chunk is read twice and none is written by two processes
        both = tuple(MASTER_CHUNK * n // gcd(MASTER_CHUNK, n) for n in unit)
        jobs = [(unfinished, str(master), start, size) for start, size in _pieces(shape, both, DTYPES[kind].itemsize)]
        run = _copy
    with ProcessPoolExecutor(min(4, os.cpu_count() or 1), mp_context=get_context("spawn")) as pool:
        for _ in pool.map(run, *zip(*jobs, strict=True)):
            pass
    unfinished.rename(path)
    return path / "0"


def _create(path: Path, kind: str, shape: Shape, chunks: Shape, shards: Shape | None) -> None:
    import zarr

    from chunkpyramid.storage.new_arrays import default_compressors

    zarr.open_group(path, mode="w").create_array(
        "0", shape=shape, chunks=chunks, shards=shards, dtype=DTYPES[kind],
        compressors=default_compressors(DTYPES[kind], 3, labels=kind == "labels"),
    )  # fmt: skip


def _pieces(shape: Shape, unit: Shape, itemsize: int) -> Iterator[tuple[Shape, Shape]]:
    """Yield start and size of pieces that are whole numbers of units, as large as `PIECE_BYTES` allows."""
    piece = [min(n, m) for n, m in zip(unit, shape, strict=True)]
    for axis in reversed(range(len(shape))):
        while piece[axis] < shape[axis] and 2 * int(np.prod(piece)) * itemsize <= PIECE_BYTES:
            piece[axis] *= 2
    for start in product(*(range(0, n, m) for n, m in zip(shape, piece, strict=True))):
        yield start, tuple(min(m, n - a) for a, m, n in zip(start, piece, shape, strict=True))


def _slices(start: Shape, size: Shape) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))


def _make(path: Path, kind: str, start: Shape, size: Shape) -> None:
    import zarr

    from chunkpyramid.sources.phantom import phantom_image_and_labels, phantom_labels

    values = phantom_labels(start, size) if kind == "labels" else phantom_image_and_labels(start, size)[0]
    zarr.open_array(path / "0", mode="r+")[_slices(start, size)] = values


def _copy(path: Path, master: str, start: Shape, size: Shape) -> None:
    import zarr

    region = _slices(start, size)
    zarr.open_array(path / "0", mode="r+")[region] = zarr.open_array(master, mode="r")[region]
