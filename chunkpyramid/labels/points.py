"""`minmax`, `foreground`, `pixel_pairs` and `point_cloud` of arrays, and of volumes larger than memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Unpack, cast

import numpy as np
import numpy.typing as npt

from chunkpyramid.boxes import Box, Halo, Shape, tile
from chunkpyramid.engine.records import Record
from chunkpyramid.engine.reduce_job import ReduceJob
from chunkpyramid.engine.result import ResultPlace
from chunkpyramid.labels import arrays
from chunkpyramid.labels.label_source import open_labels
from chunkpyramid.labels.volumes_or_arrays import box_index, is_in_memory
from chunkpyramid.sources.open import open_source
from chunkpyramid.sources.source import Source
from chunkpyramid.volumes.options import ReadOptions, check_options

__all__ = ["extremes", "foreground", "minmax", "pixel_pairs", "point_cloud"]

Labels = npt.NDArray[Any]

# what it takes to tell where the labels of a piece are: indices, their order, and the coordinates of that
POINT_BYTES = 64

# Voxels of the first and last columns that are read at once to compare the ends of rows.
ROWS_AT_A_TIME = 2**20


def minmax(arr: Any, **options: Unpack[ReadOptions]) -> tuple[Any, Any]:
    """Return the smallest and the largest value.

    Parameters
    ----------
    arr : numpy.ndarray, or a volume: zarr.Array, dask array, xarray.DataArray, path, URL or store
    **options
        For volumes: axes, storage_options, memory_limit and progress, as for `build_pyramid`.

    Returns
    -------
    least, most : number
        In the dtype of the source; both None if an array in memory is empty.

    Raises
    ------
    SourceNotFoundError, ArgumentError, PlanError, BuildError
        As `statistics` does.

    Examples
    --------
    >>> import numpy as np
    >>> import chunkpyramid as cp
    >>> tuple(map(int, cp.labels.minmax(np.array([[3, 7], [9, 5]]))))
    (3, 9)
    """
    if is_in_memory(arr, None, options):
        return arrays.minmax(arr)
    check_options(options, ReadOptions)
    opened = open_source(arr, options.get("axes"), storage_options=options.get("storage_options"))
    return extremes(opened, options)


def foreground(arr: Any, **options: Unpack[ReadOptions]) -> int:
    """Return the number of voxels that are not zero.

    Parameters
    ----------
    arr, **options
        As for `minmax`.

    Returns
    -------
    int

    Raises
    ------
    SourceNotFoundError, ArgumentError, PlanError, BuildError
        As `statistics` does.

    Examples
    --------
    >>> import numpy as np
    >>> import chunkpyramid as cp
    >>> cp.labels.foreground(np.array([[3, 0], [0, 5]]))
    2
    """
    if is_in_memory(arr, None, options):
        return arrays.foreground(arr)
    check_options(options, ReadOptions)
    opened = open_source(arr, options.get("axes"), storage_options=options.get("storage_options"))
    return int(cast("Labels", _reduced("labels.foreground", opened, _foreground, np.add, options, bytes_per_voxel=1)))


def pixel_pairs(labels: Any, **options: Unpack[ReadOptions]) -> int:
    """Return how many voxels are followed by one of the same label, in the order of memory.

    Parameters
    ----------
    labels : numpy.ndarray, or a volume
        As for `minmax`. Volumes are taken for arrays in C order: after the end of a row comes the next one.
    **options
        As for `minmax`.

    Returns
    -------
    int

    Raises
    ------
    SourceNotFoundError, ArgumentError, PlanError, BuildError
        As `statistics` does.

    Examples
    --------
    >>> import numpy as np
    >>> import chunkpyramid as cp
    >>> cp.labels.pixel_pairs(np.array([[5, 5, 7], [7, 0, 5]]))
    2
    """
    if is_in_memory(labels, None, options):
        return arrays.pixel_pairs(labels)
    check_options(options, ReadOptions)
    opened = open_source(labels, options.get("axes"), storage_options=options.get("storage_options"))
    ndim = len(opened.shape)
    after = Halo((0,) * ndim, (0,) * (ndim - 1) + (1,))
    inside = _reduced("labels.pixel_pairs", opened, Pairs(opened.shape), np.add, options, halo=after, bytes_per_voxel=2)
    return int(cast("Labels", inside)) + _pairs_between_rows(opened)


def point_cloud(arr: Any, shell: bool = False, **options: Unpack[ReadOptions]) -> dict[int, npt.NDArray[Any]]:
    """Return the coordinates of the voxels of every label but zero, or of those at the surface of labels.

    Parameters
    ----------
    arr, **options
        As for `minmax`. The coordinates themselves have to fit in memory, beside what the limit allows.
    shell : bool
        Only of the voxels at the surface of labels, those of the background too: voxels with a face that belongs to the
        end of the volume or to another label. Arrays in memory need three axes for that.

    Returns
    -------
    dict of ndarray of shape (n, ndim)
        By label; for volumes in C order, in the narrowest of uint16 and uint32 that holds them.

    Raises
    ------
    SourceNotFoundError, ArgumentError, PlanError, BuildError
        As `statistics` does.

    Examples
    --------
    >>> import numpy as np
    >>> import chunkpyramid as cp
    >>> {label: points.tolist() for label, points in cp.labels.point_cloud(np.array([[3, 0], [3, 5]])).items()}
    {3: [[0, 0], [1, 0]], 5: [[1, 1]]}
    """
    if is_in_memory(arr, None, options):
        found: dict[int, npt.NDArray[Any]] = arrays.point_cloud(arr, shell)
        return found
    check_options(options, ReadOptions)
    opened = open_labels(arr, options.get("axes"), options.get("storage_options"))
    ndim = len(opened.shape)
    halo = Halo.around((1,) * ndim) if shell else None
    record = _reduced(
        "labels.point_cloud",
        opened,
        Points(opened.shape, halo),
        _joined,
        options,
        halo=halo,
        bytes_per_voxel=POINT_BYTES,
    )
    points = cast("Mapping[str, Labels]", record)
    order = np.lexsort((points["voxel"], points["label"]))
    label, voxel = points["label"][order], points["voxel"][order]
    dtype = np.uint16 if max(opened.shape) <= 2**16 else np.uint32
    places = np.stack(np.unravel_index(voxel, opened.shape), axis=1).astype(dtype)
    begins = np.flatnonzero(np.concatenate([[True], label[1:] != label[:-1]])) if len(label) else np.zeros(0, int)
    return dict(zip(label[begins].tolist(), np.split(places, begins[1:]), strict=True)) if len(label) else {}


def extremes(source: Source, options: ReadOptions) -> tuple[Any, Any]:
    """Return the smallest and the largest value of a volume."""
    found = cast("Labels", _reduced("labels.minmax", source, _extremes, _wider, options, bytes_per_voxel=0))
    return found[0], found[1]


def _reduced(
    name: str,
    source: Source,
    function: Any,
    combine: Any,
    options: ReadOptions,
    *,
    bytes_per_voxel: int,
    halo: Halo | None = None,
) -> Record:
    def demand(piece: Shape) -> int:
        return math.prod(piece) * bytes_per_voxel

    job = ReduceJob.plan(
        name,
        source,
        function,
        combine,
        demand=demand,
        memory_limit=options.get("memory_limit"),
        fingerprint={},
        halo=halo,
    )
    return ResultPlace(None, None, True, False).compute(job, options.get("progress", False))


def _extremes(values: Labels, box: Box) -> Iterator[Record]:
    yield np.array([values.min(), values.max()])


def _wider(first: Labels, second: Labels) -> Labels:
    return np.array([min(first[0], second[0]), max(first[1], second[1])])


def _foreground(values: Labels, box: Box) -> Iterator[Record]:
    yield np.asarray(np.count_nonzero(values), np.int64)


@dataclass(frozen=True)
class Pairs:
    """Counts the voxels of a piece that the next one in their row is equal to."""

    shape: Shape

    def __call__(self, values: Labels, box: Box) -> Iterator[Record]:
        yield np.asarray(np.count_nonzero(values[..., 1:] == values[..., :-1]), np.int64)


def _pairs_between_rows(source: Source) -> int:
    """Return how many rows end in the label that the next one begins with."""
    rows = source.shape[:-1]
    shape = tuple(max(1, min(n, ROWS_AT_A_TIME // max(1, math.prod(rows[axis + 1 :])))) for axis, n in enumerate(rows))
    ends: Any = None
    pairs = 0
    for part in tile(Box.whole(rows), shape):
        box = part.clip(rows)
        first, last = (np.asarray(source.array[(*box.slices, column)]).reshape(-1) for column in (0, -1))
        pairs += int(np.count_nonzero(first[1:] == last[:-1])) + (ends is not None and int(ends == first[0]))
        ends = last[-1]
    return pairs


@dataclass(frozen=True)
class Points:
    """Tells of every voxel of a piece that is not zero, or only of those that touch another label."""

    shape: Shape
    halo: Halo | None

    def __call__(self, values: Labels, box: Box) -> Iterator[Record]:
        around = box if self.halo is None else box.grow(self.halo, self.shape)
        inner = values[box.relative_to(around.start).slices]
        wanted = inner != 0
        if self.halo is not None:
            wanted = _at_the_surface(values, around, self.shape)[box.relative_to(around.start).slices]
        index = np.flatnonzero(wanted)
        yield {"label": np.ascontiguousarray(inner).reshape(-1)[index], "voxel": box_index(box, self.shape, index)}


def _at_the_surface(values: Labels, box: Box, shape: Shape) -> npt.NDArray[np.bool_]:
    """Return which voxels have a face that another label has too, or that the volume ends with."""
    surface = np.zeros(values.shape, np.bool_)
    for axis in range(values.ndim):
        rows, found = np.moveaxis(values, axis, 0), np.moveaxis(surface, axis, 0)
        differs = rows[1:] != rows[:-1]
        found[1:] |= differs
        found[:-1] |= differs
        found[0] |= box.start[axis] == 0
        found[-1] |= box.stop[axis] == shape[axis]
    return surface


def _joined(first: Record, second: Record) -> Record:
    one, other = cast("Mapping[str, Labels]", first), cast("Mapping[str, Labels]", second)
    return {name: np.concatenate([one[name], other[name]]) for name in ("label", "voxel")}
