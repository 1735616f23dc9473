"""`statistics`: the labels of a volume larger than memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as fields_of
from typing import Any, cast

import numpy.typing as npt
import zarr

from chunkpyramid.boxes import Box, Shape
from chunkpyramid.engine.progress import Progress, check_progress
from chunkpyramid.engine.records import Record
from chunkpyramid.engine.reduce_job import ReduceJob
from chunkpyramid.engine.result import ResultPlace
from chunkpyramid.labels.counts import LabelCounts, count_labels, merge_counts
from chunkpyramid.labels.label_source import check_background, open_labels, physical_coordinates
from chunkpyramid.labels.table import LabelTable, load_counts, save_counts
from chunkpyramid.metadata.coordinates import Coordinates
from chunkpyramid.sources.source import Source

__all__ = ["count_volume", "statistics"]

# So many labels are counted at a time. Their statistics, in the table that finds them and in the arrays made of that,
# take `BYTES_PER_LABEL` and as much again for each axis.
LABELS_AT_A_TIME = 2**14
BYTES_PER_LABEL = 160


def statistics(
    source: Any,
    *,
    background: int | None = 0,
    target: Any = None,
    axes: str | Sequence[str] | None = None,
    voxel_size: Any = None,
    translation: Any = None,
    unit: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    memory_limit: int | str | None = None,
    resume: bool = True,
    overwrite: bool = False,
    progress: Progress = False,
) -> LabelTable:
    """Return count, bounding box, centroid and voxels at the border of every label of a volume.

    Every chunk is read once, on whatever Dask scheduler is active; the result is the same whatever the chunks, the
    memory limit and the scheduler.

    Parameters
    ----------
    source : zarr.Array, dask array, xarray.DataArray, numpy array, path, URL or store
        Labels: integers or bool.
    background : int, optional
        The label that is left out; None to leave out none.
    target : path, URL, zarr store or zarr.Group, optional
        Where the table is kept, as a group that xarray opens: a rerun after a failure goes on where it stopped, and one
        after the end returns what is there. By default nothing is kept. Workers on other machines have to see it.
    axes, voxel_size, translation, unit, storage_options, memory_limit, resume, overwrite, progress
        As for `build_pyramid`. The table itself has to fit in memory, beside what the limit allows.

    Returns
    -------
    LabelTable

    Raises
    ------
    SourceNotFoundError
        If there is no source.
    ArgumentError
        If an argument is malformed, or the source holds no labels.
    TargetExistsError
        If there is something else at the target.
    PlanError
        If the memory limit is too small, with the least that would do.
    BuildError
        If a block fails; with a target, what is done so far is kept.

    Examples
    --------
    >>> import numpy as np
    >>> import chunkpyramid as cp
    >>> table = cp.labels.statistics(np.array([[0, 7, 7], [0, 0, 7]]), voxel_size=4.0)
    >>> table[7].count, [round(x, 2) for x in table[7].centroid], [round(x, 2) for x in table[7].position]
    (3, [0.33, 1.67], [1.33, 6.67])
    """
    opened = open_labels(source, axes, storage_options)
    check_background(background)
    coordinates = physical_coordinates(
        opened,
        voxel_size,
        translation,
        unit,
        consequence="so positions along this axis are array indices, without unit",
    )
    kept = KeptTable(coordinates, background)
    place = ResultPlace(target, storage_options, resume, overwrite, kept.save, kept.load)
    counts = _counted(
        opened,
        place,
        memory_limit,
        progress,
        interior=interior_of(opened.shape, coordinates.spatial),
        told=[repr(coordinates), background],
    )
    return LabelTable(counts if background is None else counts.without(background), coordinates)


def count_volume(source: Source, memory_limit: int | str | None, progress: Progress) -> LabelCounts:
    """Return the labels of a volume, each with its count alone."""
    return _counted(source, ResultPlace(None, None, True, False), memory_limit, progress, interior=None, told=[])


def interior_of(shape: Shape, spatial: Sequence[bool]) -> Box:
    """Return the voxels of a volume that are not at its border: the outermost ones along the spatial axes are."""
    return Box(tuple(map(int, spatial)), tuple(n - is_space for n, is_space in zip(shape, spatial, strict=True)))


def _counted(
    source: Source,
    place: ResultPlace,
    memory_limit: int | str | None,
    progress: Progress,
    *,
    interior: Box | None,
    told: list[Any],
) -> LabelCounts:
    """Return how often labels are met, and where if there is an interior to tell from the border."""
    check_progress(progress)
    fields = 1 if interior is None else len(source.shape) + 1
    job = ReduceJob.plan(
        "labels.unique" if interior is None else "labels.statistics",
        source,
        CountPiece(interior),
        _merge,
        demand=lambda piece: LABELS_AT_A_TIME * BYTES_PER_LABEL * fields,
        memory_limit=memory_limit,
        fingerprint={"arguments": told, "columns": [field.name for field in fields_of(LabelCounts)]},
    )
    record = place.compute(job, progress)
    return _counts(record)


@dataclass(frozen=True)
class CountPiece:
    """Counts the labels of a piece, so many at a time that they take no more memory than was planned."""

    interior: Box | None

    def __call__(self, values: npt.NDArray[Any], box: Box) -> Iterator[Record]:
        parts = count_labels(
            values,
            box.start,
            interior=self.interior,
            with_boxes=self.interior is not None,
            most=LABELS_AT_A_TIME,
        )
        for counts in parts:
            yield counts.to_arrays()


def _counts(record: Record) -> LabelCounts:
    return LabelCounts.from_arrays(cast("Mapping[str, npt.NDArray[Any]]", record))


def _merge(first: Record, second: Record) -> Record:
    return merge_counts(_counts(first), _counts(second)).to_arrays()


@dataclass(frozen=True)
class KeptTable:
    """How the statistics of labels are kept in a group: as the table that xarray opens, without the background."""

    coordinates: Coordinates
    background: int | None

    def save(self, group: zarr.Group, record: Record) -> list[str]:
        counts = _counts(record)
        kept = counts if self.background is None else counts.without(self.background)
        return save_counts(group, kept, self.coordinates)

    def load(self, group: zarr.Group) -> Record:
        return load_counts(group).to_arrays()
