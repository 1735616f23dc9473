"""`connected_components`: of arrays in memory, and of volumes larger than memory."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import zarr
from zarr.storage import MemoryStore

from chunkpyramid.arguments import true_or_false
from chunkpyramid.boxes import Shape
from chunkpyramid.engine.job import Step
from chunkpyramid.engine.journal import Journal
from chunkpyramid.engine.layout import Limits
from chunkpyramid.engine.plan_stage import plan_stage
from chunkpyramid.engine.process_memory import process_peak
from chunkpyramid.engine.progress import check_progress
from chunkpyramid.engine.source_input import input_of, reading_of
from chunkpyramid.engine.stage import Stage
from chunkpyramid.errors import ArgumentError, BuildError
from chunkpyramid.labels.arrays import components as arrays
from chunkpyramid.labels.arrays.components import ComponentRules, checked_dtype, fitting_dtype, padded
from chunkpyramid.labels.component_cells import CellGrid, CellRecords
from chunkpyramid.labels.component_merge import merge_components
from chunkpyramid.labels.component_passes import NAME, CellLabeller, FindComponents, NumberedOutput, WriteNumbers
from chunkpyramid.labels.volumes_or_arrays import is_in_memory
from chunkpyramid.pyramid.build import carry_out
from chunkpyramid.pyramid.check_arguments import check_build
from chunkpyramid.pyramid.checked_build import CheckedBuild
from chunkpyramid.pyramid.options import BuildOptions
from chunkpyramid.pyramid.plan import LevelOutput, LevelStage, PlanRequest, PyramidPlan
from chunkpyramid.sources.open import open_source
from chunkpyramid.sources.source import Source
from chunkpyramid.sources.volume import Volume, open_volume
from chunkpyramid.storage.groups import empty_group
from chunkpyramid.storage.keys import fetch, put
from chunkpyramid.storage.nodes import METADATA_FILES
from chunkpyramid.volumes.options import VolumeOptions, check_options

__all__ = ["connected_components"]

# What a voxel takes while components are found, if each of them is one: numbers, what is known of them while they may
# still be joined, and then what is recorded of them; and with a threshold, whether it is inside. In the second pass
# there are, instead of that, its final number, and the place of that in a table.
BYTES_PER_VOXEL = 27

# and what the runs of two planes take
BYTES_PER_PLANE_VOXEL = 48

# the key in the scratch group of what is known when the components are numbered
NUMBERED = "numbered"


def connected_components(
    source: Any,
    target: Any = None,
    *,
    connectivity: int | None = None,
    background: int | None = 0,
    threshold: tuple[Any, Any] | None = None,
    dust: int = 0,
    dtype: Any = None,
    **options: Unpack[VolumeOptions],
) -> npt.NDArray[Any] | Volume:
    """Number the connected components of labels, or of what is inside a threshold.

    A component is all voxels that are joined by paths of neighbours of the same label. They are numbered from 1 on, in
    the order of their first voxels in C order, so that the numbers depend on nothing but the voxels: not on chunks,
    memory limit or scheduler. Each index along the time and channel axes is a volume of its own; numbers go on.

    Parameters
    ----------
    source : numpy.ndarray, or zarr.Array, dask array, xarray.DataArray, Volume, path, URL or store
        Integers or bool; with a threshold, floats too. A volume is read twice, and must not change meanwhile.
    target : path, URL, zarr store or zarr.Group
        Where the numbers of a volume go: an OME-Zarr image of labels of one level, with the coordinates of the source.
        None for an array in memory: the result is one too.
    connectivity : 6, 18 or 26; in two dimensions 4 or 8
        How many neighbours a voxel has. Default: 6, or 4.
    background : int, optional
        The label that is no component; None if there is none.
    threshold : tuple of two numbers, optional
        From where to where voxels are inside, both ends included; one of them may be None. The components are those of
        what is inside, whatever labels there are, and all else is background.
    dust : int
        Components of fewer voxels become background.
    dtype : dtype, optional
        Of the numbers. Default: uint32, or uint64 if there are more components than that holds.
    **options
        Of volumes: axes, voxel_size, translation, unit, chunks, shards, compressors, zarr_format, ome_version, name,
        storage_options, memory_limit, resume, overwrite, progress. As for `build_pyramid`.

    Returns
    -------
    numpy.ndarray or Volume
        0 is the background.

    Raises
    ------
    SourceNotFoundError
        If there is no source.
    ArgumentError
        If an argument is malformed, or ``dtype`` does not hold as many components as there are.
    TargetExistsError
        If there is something else at the target.
    PlanError
        If the memory limit is too small, with the least that would do.
    BuildError
        If a block fails, or the source has changed between the two passes; what is done so far is kept.

    Examples
    --------
    >>> import numpy as np, zarr
    >>> from chunkpyramid.labels.components import connected_components
    >>> labels = np.array([[5, 5, 0, 7], [0, 5, 0, 7], [5, 0, 7, 0]], np.uint8)
    >>> connected_components(labels, connectivity=8).tolist()
    [[1, 1, 0, 2], [0, 1, 0, 2], [1, 0, 2, 0]]
    >>> volume = connected_components(labels, zarr.storage.MemoryStore(), chunks=2, dust=2)
    >>> volume[:].tolist()
    [[1, 1, 0, 2], [0, 1, 0, 2], [0, 0, 0, 0]]
    """
    if is_in_memory(source, target, options):
        return arrays.connected_components(
            source, connectivity=connectivity, background=background, threshold=threshold, dust=dust, dtype=dtype
        )
    if target is None:
        raise ArgumentError(
            "target is needed for a volume that is not in memory: the result goes to a group of its own"
        )
    check_options(options, VolumeOptions)
    told: dict[str, Any] = {**options}
    resume = true_or_false(told.pop("resume", True), "resume")
    overwrite = true_or_false(told.pop("overwrite", False), "overwrite")
    progress = told.pop("progress", False)
    check_progress(progress)
    opened = open_source(source, told.pop("axes", None), storage_options=told.get("storage_options"))
    axes = sum(opened.coordinates.spatial)
    rules = ComponentRules.checked(opened.dtype, axes, connectivity, background, threshold, dust)
    recipe = ComponentsRecipe(opened, rules, checked_dtype(dtype))
    result = carry_out(
        check_build(opened, target, BuildOptions(method="mode", levels=0, sparse=False, **told), recipe),
        storage_options=told.get("storage_options"),
        resume=resume,
        overwrite=overwrite,
        progress=progress,
    )
    return open_volume(result.levels[0])


@dataclass(frozen=True)
class ComponentsRecipe:
    """Level 0 holds the numbers of the components of a source; ``made`` is their dtype if one was asked for.

    If none was, it is known when all components are: until then the array is uint32, and nothing is written to it.
    """

    source: Source
    rules: ComponentRules
    made: np.dtype[Any] | None

    keeps_values = False
    keeps_labels = False
    held_bytes = 0

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint32) if self.made is None else self.made

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        rules = self.rules
        return {
            "operation": NAME,
            "reach": rules.reach,
            "components_of": repr((rules.low, rules.high) if rules.has_threshold else rules.background),
            "dust": rules.dust,
            "numbers": str(self.made),
        }

    def plan(self, request: PlanRequest) -> PyramidPlan:
        (level,) = request.levels
        output = LevelOutput(
            level=0, factor=level.factor, unit=level.write_unit, chunk=level.chunks, itemsize=self._widest
        )
        begun = next(iter(request.begun), None)
        stage, threads = plan_stage(
            reading_of(self.source),
            self._demand,
            Limits(request.memory_limit, request.threads, request.slots, request.baseline),
            outputs=[output],
            write_access=request.target_access,
            kept=None if begun is None else begun.block,
            kept_piece=None if begun is None else begun.piece,
        )
        told = {field.name: getattr(stage, field.name) for field in fields(Stage)}
        numbering = LevelStage(**{**told, "index": 1}, source_level=0, reads="source", last_level=0)
        finding = replace(numbering, index=0, outputs=(), bytes_written=0)
        return PyramidPlan(
            levels=request.levels,
            stages=(finding, numbering),
            method=NAME,
            dtype=str(self.dtype),
            memory_limit=request.memory_limit,
            peak_bytes=process_peak(stage.memory, stage.tasks, threads, request.baseline),
            threads=threads,
            baseline=request.baseline,
        )

    @property
    def _widest(self) -> int:
        """The bytes of a number, if each voxel is a component."""
        return fitting_dtype(math.prod(self.source.shape), None).itemsize if self.made is None else self.made.itemsize

    def _demand(self, piece: Shape) -> int:
        """Return the bytes that finding and numbering the components of a piece take."""
        voxels = math.prod(piece)
        thickness = next((n for n in padded(piece[-sum(self.source.coordinates.spatial) :]) if n > 1), 1)
        return voxels * (BYTES_PER_VOXEL + self._widest) + voxels // thickness * BYTES_PER_PLANE_VOXEL

    def steps(self, checked: CheckedBuild, group: zarr.Group, journal: Journal) -> Sequence[Step]:
        finding, numbering = checked.plan.stages
        source, scratch = self.source, journal.scratch
        leading = len(source.shape) - sum(source.coordinates.spatial)
        grid = CellGrid(source.shape, finding.block, finding.piece, leading)
        labeller, records = CellLabeller(grid, self.rules), CellRecords(grid, scratch.store, scratch.path)
        read = input_of(source)
        array = None if read is not None else source.array
        (output,) = numbering.outputs
        written = NumberedOutput(output.name, group, checked.plan.levels[0].path, output.factor)
        find = FindComponents(labeller=labeller, records=records, input=read)
        write = WriteNumbers(labeller=labeller, records=records, input=read, outputs=(written,))

        def number(go_on: Callable[[], None]) -> None:
            count = _numbered(scratch)
            if count is None:
                found = journal.flags(finding.index, finding.grid).records()
                count = merge_components(
                    grid,
                    records,
                    itertools.chain.from_iterable(found),
                    reach=self.rules.reach,
                    dust=self.rules.dust,
                    memory=checked.plan.memory_limit - checked.plan.baseline,
                    go_on=go_on,
                )
                put(scratch.store, [(_key(scratch), json.dumps(count).encode())])
            dtype = fitting_dtype(count, self.made)
            if written.array.dtype != dtype:
                _widen(checked, group, dtype)

        return [
            Step(finding, find, source.shape, checked.present, array, after=number),
            Step(numbering, write, source.shape, checked.present, array),
        ]


def _key(scratch: zarr.Group) -> str:
    return f"{scratch.path}/{NUMBERED}".lstrip("/")


def _numbered(scratch: zarr.Group) -> int | None:
    """Return how many components have been numbered, None if they have not."""
    (found,) = fetch(scratch.store, [(_key(scratch), None)])
    if isinstance(found, Exception):
        raise BuildError(f"the number of components cannot be read: {found}") from found
    return None if found is None else int(json.loads(bytes(found)))


def _widen(checked: CheckedBuild, group: zarr.Group, dtype: np.dtype[Any]) -> None:
    """Give the array, to which nothing has been written, another dtype: its metadata are replaced by others at once."""
    level, memory = checked.plan.levels[0], MemoryStore()
    wider = replace(checked.format, dtype=dtype, fill_value=np.zeros((), dtype)[()])
    wider.create(empty_group(memory, checked.format.zarr_format), level)
    names = sorted(METADATA_FILES)
    found = fetch(memory, [(f"{level.path}/{name}", None) for name in names])
    put(
        group.store,
        [
            (f"{group.path}/{level.path}/{name}".lstrip("/"), metadata)
            for name, metadata in zip(names, found, strict=True)
            if metadata is not None and not isinstance(metadata, Exception)
        ],
    )
