"""`contacts`: which labels of a volume larger than memory touch, and how much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy.typing as npt
import zarr

from chunkpyramid.arguments import whole_number
from chunkpyramid.boxes import Box, Halo
from chunkpyramid.engine.progress import Progress, check_progress
from chunkpyramid.engine.records import Record
from chunkpyramid.engine.reduce_job import ReduceJob
from chunkpyramid.engine.result import ResultPlace
from chunkpyramid.errors import ArgumentError
from chunkpyramid.labels.contact_counts import ContactCounts, count_contacts, merge_contacts
from chunkpyramid.labels.contact_table import ContactTable, load_contacts, save_contacts
from chunkpyramid.labels.label_source import check_background, open_labels, physical_coordinates
from chunkpyramid.metadata.coordinates import Coordinates

__all__ = ["contacts"]

# So many pairs of labels are counted at a time. Their counts, in the table that finds them and in the arrays made of
# that, take `BYTES_PER_PAIR` and as much again for each axis.
PAIRS_AT_A_TIME = 2**14
BYTES_PER_PAIR = 160

# Along how many axes voxels may differ that touch. An image in 2-D is a volume of one plane.
STEPS = {2: {4: 1, 6: 1, 8: 2, 18: 2, 26: 2}, 3: {6: 1, 18: 2, 26: 3}}


def contacts(
    source: Any,
    *,
    connectivity: int = 6,
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
) -> ContactTable:
    """Return which labels of a volume touch, with the number of their faces and the area of those.

    Each pair of neighbouring voxels counts once, on whatever Dask scheduler is active; the result is the same whatever
    the chunks, the memory limit and the scheduler. Chunks are read again for the neighbours of the last voxels of those
    before them.

    Parameters
    ----------
    source : zarr.Array, dask array, xarray.DataArray, numpy array, path, URL or store
        Labels: integers or bool. Along time and channel axes nothing touches.
    connectivity : {6, 18, 26}
        Which voxels touch: those that share a face, an edge too, or a corner too. In 2-D 4 and 8 are allowed, and 6 is
        4, 18 and 26 are 8. Only faces have an area.
    background : int, optional
        The label whose contacts are left out; None to leave out none.
    target : path, URL, zarr store or zarr.Group, optional
        Where the table is kept, as a group that xarray opens: a rerun after a failure goes on where it stopped, and one
        after the end returns what is there. By default nothing is kept. Workers on other machines have to see it.
    axes, voxel_size, translation, unit, storage_options, memory_limit, resume, overwrite, progress
        As for `build_pyramid`. The table itself has to fit in memory, beside what the limit allows.

    Returns
    -------
    ContactTable

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
    >>> table = cp.labels.contacts(np.array([[7, 7, 5], [0, 7, 5]]), voxel_size=(4.0, 3.0))
    >>> table[5, 7].faces, table[5, 7].area
    (2, 8.0)
    """
    opened = open_labels(source, axes, storage_options)
    check_background(background)
    check_progress(progress)
    coordinates = physical_coordinates(
        opened,
        voxel_size,
        translation,
        unit,
        consequence="so areas count voxels along this axis, without unit",
    )
    spatial = coordinates.spatial
    steps = _steps(connectivity, sum(spatial))
    kept = KeptContacts(coordinates)
    job = ReduceJob.plan(
        "labels.contacts",
        opened,
        TouchPiece(spatial, steps, background),
        _merge,
        demand=lambda piece: PAIRS_AT_A_TIME * BYTES_PER_PAIR * (len(piece) + 1),
        memory_limit=memory_limit,
        fingerprint={
            "arguments": [repr(coordinates), steps, None if background is None else int(background)],
            "columns": [field.name for field in fields(ContactCounts)],
        },
        halo=Halo(before=(0,) * len(spatial), after=tuple(map(int, spatial))),
    )
    place = ResultPlace(target, storage_options, resume, overwrite, kept.save, kept.load)
    return ContactTable(_counts(place.compute(job, progress)), coordinates)


def _steps(connectivity: Any, spatial_axes: int) -> int:
    """Return along how many axes voxels may differ that touch."""
    allowed = STEPS[spatial_axes]
    number = whole_number(connectivity, "connectivity", least=1)
    if number not in allowed:
        raise ArgumentError(
            f"connectivity must be one of {', '.join(map(str, allowed))} for {spatial_axes} spatial axes, but "
            f"{connectivity!r} was given"
        )
    return allowed[number]


@dataclass(frozen=True)
class TouchPiece:
    """Counts the contacts of a piece, so many at a time that they take no more memory than was planned."""

    spatial: tuple[bool, ...]
    most_steps: int
    background: int | None

    def __call__(self, values: npt.NDArray[Any], box: Box) -> Iterator[Record]:
        parts = count_contacts(
            values,
            box.shape,
            self.spatial,
            most_steps=self.most_steps,
            background=self.background,
            most=PAIRS_AT_A_TIME,
        )
        for counts in parts:
            yield counts.to_arrays()


def _counts(record: Record) -> ContactCounts:
    return ContactCounts.from_arrays(cast("Mapping[str, npt.NDArray[Any]]", record))


def _merge(first: Record, second: Record) -> Record:
    return merge_contacts(_counts(first), _counts(second)).to_arrays()


@dataclass(frozen=True)
class KeptContacts:
    """How contacts are kept in a group: as the table that xarray opens."""

    coordinates: Coordinates

    def save(self, group: zarr.Group, record: Record) -> list[str]:
        return save_contacts(group, _counts(record), self.coordinates)

    def load(self, group: zarr.Group) -> Record:
        return load_contacts(group).to_arrays()
