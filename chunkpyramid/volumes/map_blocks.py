"""`map_blocks`: a user's own function on every block of a volume larger than memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import pairwise, product, zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.arguments import per_axis, reordered, true_or_false, whole_number
from chunkpyramid.boxes import Box, Shape
from chunkpyramid.engine.job import Step
from chunkpyramid.engine.journal import Journal
from chunkpyramid.engine.layout import Limits
from chunkpyramid.engine.operation import ArrayInput, ArrayOutput, BaseOperation, Input, Output, Put, Writer
from chunkpyramid.engine.plan_stage import plan_stage
from chunkpyramid.engine.process_memory import process_peak
from chunkpyramid.engine.progress import Progress, check_progress
from chunkpyramid.engine.reduce_job import read_only, reading_of
from chunkpyramid.engine.stage import Reading
from chunkpyramid.engine.task_memory import READING_THREADS
from chunkpyramid.errors import ArgumentError, BuildError
from chunkpyramid.pyramid.build import carry_out
from chunkpyramid.pyramid.check_arguments import check_build
from chunkpyramid.pyramid.checked_build import CheckedBuild
from chunkpyramid.pyramid.options import BuildOptions
from chunkpyramid.pyramid.plan import LevelOutput, LevelStage, PlanRequest, PyramidPlan
from chunkpyramid.sources.open import open_source
from chunkpyramid.sources.source import Source
from chunkpyramid.sources.volume import Volume, open_volume
from chunkpyramid.storage.chunk_access import ChunkAccess
from chunkpyramid.storage.nodes import level_array
from chunkpyramid.volumes.function_digest import function_digest

__all__ = ["map_blocks"]

# So much of a dask array is computed at once for a piece with a halo, or a chunk if that is more: to begin takes time.
PART_BYTES = 8 * 2**20


def map_blocks(
    function: Callable[[npt.NDArray[Any]], Any],
    source: Any,
    target: Any,
    *,
    dtype: Any = None,
    halo: Any = 0,
    bytes_per_voxel: int = 16,
    axes: str | Sequence[str] | None = None,
    voxel_size: Any = None,
    translation: Any = None,
    unit: Any = None,
    chunks: Any = None,
    shards: Any = None,
    compressors: Any = "auto",
    zarr_format: int = 3,
    ome_version: str | None = None,
    name: str = "image",
    storage_options: Mapping[str, Any] | None = None,
    memory_limit: int | str | None = None,
    resume: bool = True,
    overwrite: bool = False,
    progress: Progress = False,
) -> Volume:
    """Write what a function makes of the voxels of a volume larger than memory.

    The function is called with one part of the volume after the other, on whatever Dask scheduler is active, within the
    memory limit. If it is killed, the same call goes on where it stopped.

    Parameters
    ----------
    function : callable
        Returns an array of the shape of the one it is given. The parts are disjoint boxes that together fill the
        volume, each with ``halo`` voxels of its neighbours around it, of which the results are cut off; where the
        volume ends there are none. Which boxes they are depends on chunks and memory, so a voxel of the result must not
        depend on voxels farther away than that. The array it is given cannot be written to. A rerun knows the function
        by its code, and by what it encloses.
    source : zarr.Array, dask array, xarray.DataArray, numpy array, path, URL or store
        As for `build_pyramid`.
    target : path, URL, zarr store or zarr.Group
        Where the result goes: an OME-Zarr image of one level, with the coordinates of the source.
    dtype : dtype, optional
        Of the result; default that of the source. What the function returns must be castable to it ("same_kind",
        so that integers wrap around).
    halo : int, sequence or dict
        Voxels along all spatial axes, one entry per axis, or a dict by axis.
    bytes_per_voxel : int
        What ``function`` takes at most for each voxel it is given, what it returns included: part of the memory
        promise.
    axes, voxel_size, translation, unit, chunks, shards, compressors, zarr_format, ome_version, name, storage_options
        As for `build_pyramid`.
    memory_limit, resume, overwrite, progress
        As for `build_pyramid`.

    Returns
    -------
    Volume

    Raises
    ------
    SourceNotFoundError
        If there is no source.
    ArgumentError
        If an argument is malformed.
    TargetExistsError
        If there is something else at the target.
    PlanError
        If the memory limit is too small, with the least that would do.
    BuildError
        If a block fails, or the function returns another shape or dtype; what is done so far is kept.

    Examples
    --------
    A Gaussian filter is that of the whole array if the halo is as wide as the filter reaches:

    >>> import numpy as np, zarr
    >>> import chunkpyramid as cp
    >>> image = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
    >>> def smooth(part):
    ...     padded = np.pad(part, 1, mode="edge")
    ...     return (padded[:-2, 1:-1] + 2 * padded[1:-1, 1:-1] + padded[2:, 1:-1]) / 4
    >>> smoothed = cp.map_blocks(smooth, image, zarr.storage.MemoryStore(), halo=1, chunks=16)
    >>> bool((smoothed[:] == smooth(image)).all())
    True
    """
    if not callable(function):
        raise ArgumentError(f"function must be callable, but {function!r} was given")
    if target is None:
        raise ArgumentError("target is needed: the result goes to a group of its own")
    resume, overwrite = true_or_false(resume, "resume"), true_or_false(overwrite, "overwrite")
    check_progress(progress)
    each = whole_number(bytes_per_voxel, "bytes_per_voxel", least=0)
    opened = open_source(source, axes, storage_options=storage_options)
    try:
        made = (opened.dtype if dtype is None else np.dtype(dtype)).newbyteorder("=")
    except TypeError as error:
        raise ArgumentError(f"dtype must be one of NumPy's, but {dtype!r} was given") from error
    ndim = len(opened.shape)
    if opened.order is not None:
        halo = reordered(halo, opened.order)
    around = tuple(
        whole_number(entry, "halo", least=0)
        for entry in per_axis(
            halo,
            "halo",
            opened.coordinates.names,
            opened.coordinates.spatial,
            not_named=(0,) * ndim,
            not_spatial=(0,) * ndim,
        )
    )
    options = BuildOptions(
        method="mode" if opened.is_labels and made.kind in "iu" else "stride",
        levels=0,
        sparse=False,
        voxel_size=voxel_size,
        translation=translation,
        unit=unit,
        chunks=chunks,
        shards=shards,
        compressors=compressors,
        zarr_format=zarr_format,
        ome_version=ome_version,
        name=name,
        storage_options=storage_options,
        memory_limit=memory_limit,
    )
    recipe = FunctionRecipe(function, around, each, made, opened)
    result = carry_out(
        check_build(opened, target, options, recipe),
        storage_options=storage_options,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
    )
    return open_volume(result.levels[0])


@dataclass(frozen=True)
class FunctionRecipe:
    """Level 0 is what a function makes of the source, and there is no other level."""

    function: Callable[[npt.NDArray[Any]], Any]
    halo: Shape
    bytes_per_voxel: int
    dtype: np.dtype[Any]
    source: Source

    keeps_values = False

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        return {"operation": "map_blocks", "function": function_digest(self.function), "halo": list(self.halo)}

    def plan(self, request: PlanRequest) -> PyramidPlan:
        (level,) = request.levels
        output = LevelOutput(
            level=0, factor=level.factor, unit=level.write_unit, chunk=level.chunks, itemsize=self.dtype.itemsize
        )
        stage, threads = plan_stage(
            self._reading,
            self._demand,
            Limits(request.memory_limit, request.threads, request.slots, request.baseline),
            outputs=[output],
            write_access=request.target_access,
            kept=next((stage.block for stage in request.begun), None),
        )
        told = {field.name: getattr(stage, field.name) for field in fields(stage)}
        return PyramidPlan(
            levels=request.levels,
            stages=(LevelStage(**told, source_level=0, reads="source", last_level=0),),
            method="map_blocks",
            dtype=str(self.dtype),
            memory_limit=request.memory_limit,
            peak_bytes=process_peak(stage.memory, stage.tasks, threads, request.baseline),
            threads=threads,
            baseline=request.baseline,
        )

    @cached_property
    def _reading(self) -> Reading:
        reading = replace(reading_of(self.source), halo=self.halo)
        if self._has_halo and reading.lazy_chunks is not None:
            # pieces are put together of parts of chunks, for blocks of dask arrays have no halo
            access = ChunkAccess(copies=1 + READING_THREADS)
            return replace(reading, chunks=reading.lazy_chunks, lazy_chunks=None, access=access)
        return reading

    @property
    def _has_halo(self) -> bool:
        return any(self.halo)

    def _demand(self, piece: Shape) -> int:
        """Return the bytes of what the function takes, and of what is cut out of its result."""
        given = math.prod(self._reading.around(piece))
        is_lazy = self._has_halo and self.source.lazy_chunks is not None
        # a part is there in chunks, put together, and in what it is copied to
        parts = 3 * min(PART_BYTES, given * self.source.dtype.itemsize) if is_lazy else 0
        return given * self.bytes_per_voxel + math.prod(piece) * self.dtype.itemsize + parts

    def steps(self, checked: CheckedBuild, group: zarr.Group, journal: Journal) -> Sequence[Step]:
        (stage,) = checked.plan.stages
        (output,) = stage.outputs
        source = self.source
        read: Input | None = None
        if source.is_zarr:
            read = ArrayInput("the source", source.array)
        elif self._has_halo:
            read = LazyInput(source.array)
        array = level_array(group, checked.plan.levels[0].path)
        operation = MapPieces(
            function=self.function,
            halo=self.halo,
            extent=source.shape,
            dtype=checked.format.dtype,
            input=read,
            outputs=(ArrayOutput(output.name, array, output.factor),),
        )
        return [Step(stage, operation, source.shape, checked.present, None if read is not None else source.array)]


class LazyInput:
    """A dask or NumPy array of which any box can be had: some chunks of it after the other.

    This is no dataclass, because Dask looks for arrays in those, and would compute all of it before the first task.
    """

    name = "the source"

    def __init__(self, array: Any):
        self.array = array

    def open(self, writers: Mapping[str, Writer]) -> Callable[[Box], npt.NDArray[Any]]:
        if isinstance(self.array, np.ndarray):
            return lambda box: np.asarray(self.array[box.slices])
        return self._read

    def _read(self, box: Box) -> npt.NDArray[Any]:
        values = np.empty(box.shape, self.array.dtype)
        for part in self._parts(box):
            found = self.array[part.slices].compute(scheduler="synchronous")
            values[part.relative_to(box.start).slices] = found
        return values

    def _parts(self, box: Box) -> Iterator[Box]:
        """Yield the parts of a box that are computed at once: in one chunk each, or in some that are small together."""
        longest = [max(lengths) for lengths in self.array.chunks]
        for axis in reversed(range(len(longest))):
            while longest[axis] < box.shape[axis] and 2 * math.prod(longest) * self.array.dtype.itemsize <= PART_BYTES:
                longest[axis] *= 2
        ranges = []
        for start, stop, lengths, most in zip(box.start, box.stop, self.array.chunks, longest, strict=True):
            edges = [start]
            ends = [*(int(end) for end in np.cumsum(lengths) if start < end < stop), stop]
            for end, following in zip_longest(ends, ends[1:]):
                if following is None or following - edges[-1] > most:
                    edges.append(end)
            ranges.append(list(pairwise(edges)))
        for cell in product(*ranges):
            yield Box(tuple(start for start, _ in cell), tuple(stop for _, stop in cell))


@dataclass(frozen=True, kw_only=True)
class MapPieces(BaseOperation):
    """Writes what a function makes of each piece, of which the halo is cut off."""

    function: Callable[[npt.NDArray[Any]], Any]
    halo: Shape
    extent: Shape
    dtype: np.dtype[Any]
    input: Input | None
    outputs: tuple[Output, ...]

    name = "map_blocks"
    advice = "what is done so far is kept: run the same again to resume, or another function with overwrite=True"

    def piece(self, state: None, box: Box, found: npt.NDArray[Any], put: Put) -> None:
        around = box.grow(self.halo, self.extent)
        made = np.asarray(self.function(read_only(found)))
        if made.shape != around.shape:
            raise BuildError(f"function returned an array of shape {made.shape}, but was given one of {around.shape}")
        if not np.can_cast(made.dtype, self.dtype, "same_kind"):
            raise BuildError(f"function returned {made.dtype}, which is not to be cast to {self.dtype}: give dtype=")
        part = made[box.relative_to(around.start).slices]
        put(self.outputs[0].name, box, np.ascontiguousarray(part, self.dtype))
