"""`reduce_blocks`: a user's own reduction of a volume larger than memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from chunkpyramid.arguments import whole_number
from chunkpyramid.boxes import Box
from chunkpyramid.engine.progress import Progress, check_progress
from chunkpyramid.engine.reduce_job import ReduceJob
from chunkpyramid.engine.result import ResultPlace
from chunkpyramid.errors import ArgumentError
from chunkpyramid.sources.open import open_source
from chunkpyramid.volumes.function_digest import function_digest

__all__ = ["reduce_blocks"]


def reduce_blocks(
    function: Callable[[npt.NDArray[Any]], Any],
    combine: Callable[[Any, Any], Any],
    source: Any,
    *,
    target: Any = None,
    axes: str | Sequence[str] | None = None,
    bytes_per_voxel: int = 16,
    storage_options: Mapping[str, Any] | None = None,
    memory_limit: int | str | None = None,
    resume: bool = True,
    overwrite: bool = False,
    progress: Progress = False,
) -> Any:
    """Reduce a volume larger than memory to one small result: a function of every piece, combined pair by pair.

    Every chunk of the source is read once, on whatever Dask scheduler is active, within the memory limit.

    Parameters
    ----------
    function : callable
        Returns the record of a piece, given its voxels: numbers, an array, or a dict of arrays by name. The pieces are
        disjoint boxes that together fill the source; which ones they are depends on chunks and memory. A rerun knows
        functions by their code, and by what they enclose.
    combine : callable
        Returns the record of two parts of the volume, given theirs, which are arrays or dicts of arrays. In which order
        is not told: it has to be associative and commutative for the result to be always the same.
    source : zarr.Array, dask array, xarray.DataArray, numpy array, path, URL or store
        As for `build_pyramid`.
    target : path, URL, zarr store or zarr.Group, optional
        Where the result is kept: a rerun after a failure goes on where it stopped, and one after the end returns what
        is there. By default nothing is kept. Workers on other machines have to see it.
    axes : str or sequence of str, optional
        Names of the axes of the source.
    bytes_per_voxel : int
        What ``function`` takes at most for each voxel of a piece, beside the piece itself: part of the memory promise.
    storage_options : dict, optional
        For URLs.
    memory_limit, resume, overwrite, progress
        As for `build_pyramid`.

    Returns
    -------
    numpy.ndarray or dict of numpy.ndarray
        The record of the whole source.

    Raises
    ------
    SourceNotFoundError
        If there is no source.
    ArgumentError
        If an argument is malformed, or a record is of no kind that can be stored.
    TargetExistsError
        If there is something else at the target, or the result of another reduction.
    PlanError
        If the memory limit is too small, with the least that would do.
    BuildError
        If a block fails; with a target, what is done so far is kept.

    Examples
    --------
    A histogram:

    >>> import numpy as np
    >>> import chunkpyramid as cp
    >>> image = np.random.default_rng(0).integers(0, 256, (64, 64, 64)).astype(np.uint8)
    >>> counts = cp.reduce_blocks(lambda piece: np.bincount(piece.ravel(), minlength=256), np.add, image)
    >>> bool((counts == np.bincount(image.ravel(), minlength=256)).all())
    True
    """
    for argument, name in ((function, "function"), (combine, "combine")):
        if not callable(argument):
            raise ArgumentError(f"{name} must be callable, but {argument!r} was given")
    check_progress(progress)
    each = whole_number(bytes_per_voxel, "bytes_per_voxel", least=0)
    opened = open_source(source, axes, storage_options=storage_options)
    job = ReduceJob.plan(
        "reduce_blocks",
        opened,
        WithoutBox(function),
        combine,
        demand=lambda piece: math.prod(piece) * each,
        memory_limit=memory_limit,
        fingerprint={"function": function_digest(function), "combine": function_digest(combine)},
    )
    place = ResultPlace(target, storage_options, resume, overwrite)
    return place.compute(job, progress)


@dataclass(frozen=True)
class WithoutBox:
    """A function of voxels alone."""

    function: Callable[[npt.NDArray[Any]], Any]

    def __call__(self, values: npt.NDArray[Any], box: Box) -> Sequence[Any]:
        return [self.function(values)]
