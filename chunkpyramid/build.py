"""`plan_pyramid` and `build_pyramid`: plan, create, run the stages, commit."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr

from chunkpyramid import ome
from chunkpyramid._version import __version__
from chunkpyramid.errors import ArgumentError, TargetExistsError
from chunkpyramid.factors import FactorLike
from chunkpyramid.journal import Journal
from chunkpyramid.level_coordinates import write_coordinates
from chunkpyramid.plan import PyramidPlan
from chunkpyramid.prepare import Prepared, prepare
from chunkpyramid.pyramid import Pyramid
from chunkpyramid.stages import Progress, Work, check_progress
from chunkpyramid.store import (
    consolidate,
    consolidate_around,
    empty_group,
    entries,
    existing_group,
    is_consolidated,
    is_local_path,
    level_array,
    path_id,
    plain_path,
    store_id,
)

__all__ = ["build_pyramid", "plan_pyramid"]

logger = logging.getLogger(__name__)


def plan_pyramid(
    source: Any,
    target: Any = None,
    *,
    method: str = "auto",
    factor: FactorLike = 2,
    levels: int | None = None,
    sparse: bool = False,
    background: Any = 0,
    rounding: str = "nearest",
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
    layout: str = "flat",
    labels_of: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    memory_limit: int | str | None = None,
    resume: bool = True,
    overwrite: bool = False,
    progress: Progress = False,
) -> PyramidPlan:
    """Plan a build without running it: nothing is read but metadata, and nothing is written.

    Takes the arguments of `build_pyramid`.

    Returns
    -------
    PyramidPlan
        Levels, stages, blocks, pieces, number of tasks, bytes read and written, and the promised peak memory.
        ``print(plan)`` explains it.

    Raises
    ------
    ArgumentError, SourceNotFoundError, PlanError
        As `build_pyramid` does.

    Examples
    --------
    >>> import numpy as np
    >>> import chunkpyramid as cp
    >>> plan = cp.plan_pyramid(np.zeros((512, 512), np.uint8), chunks=128, levels=2)
    >>> [level.shape for level in plan.levels]
    [(512, 512), (256, 256), (128, 128)]
    """
    options = {key: value for key, value in locals().items() if key not in RUN_OPTIONS}
    return prepare(**options).plan


RUN_OPTIONS = ("resume", "overwrite", "progress")


def build_pyramid(
    source: Any,
    target: Any = None,
    *,
    method: str = "auto",
    factor: FactorLike = 2,
    levels: int | None = None,
    sparse: bool = False,
    background: Any = 0,
    rounding: str = "nearest",
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
    layout: str = "flat",
    labels_of: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    memory_limit: int | str | None = None,
    resume: bool = True,
    overwrite: bool = False,
    progress: Progress = False,
) -> Pyramid:
    """Build a multiscale OME-Zarr pyramid, out of core, on the active Dask scheduler.

    Parameters
    ----------
    source : zarr.Array, dask array, xarray.DataArray, numpy array, path or URL
        A C-order N-d array (2 to 5 axes), or the path or URL of a zarr array or of an OME-Zarr image.
    target : path, URL, zarr store or zarr.Group, optional
        The output group, new or empty. Default: the source array's own group; the levels go beside the array.
    method : {"auto", "mean", "mode", "exact_mode", "min", "max", "stride"}
        "auto": mode for bool, int32/64, uint32/64 and OME label images, mean for everything else.
    factor : int, tuple, dict, list of tuples or "isotropic"
        From each level to the next: an int for all spatial axes; one entry per axis (or per spatial axis); a dict by
        axis; a list with one tuple per level; "isotropic" doubles the finest axis and those that come nearer to it.
    levels : int, optional
        How many levels below level 0. Default: until a level fits in one chunk along every downsampled axis.
    sparse : bool
        Voxels equal to ``background`` neither vote nor count (mean, mode and exact_mode).
    background : number
        Default 0; NaN is allowed for floats.
    rounding : {"nearest", "truncate"}
        For means of integers: half to even, or toward zero.
    axes : str or sequence of str, optional
        Names of the axes, such as "zyx". Default: from the source, else the last of "tczyx".
    voxel_size, translation : number, sequence or dict by axis, optional
        Voxel size and position of the first voxel's centre, in ``unit``. Default: from the source, else 1 and 0.
    unit : str, sequence or dict by axis, optional
        Such as "nanometer". Default: from the source.
    chunks : int, tuple, dict, "auto" or list, optional
        Chunk shape in voxels: an int for all spatial axes; one entry per axis (or per spatial axis); a dict by axis;
        "auto", cubes of at most 4 MiB; a list with one of these per level (one of as many numbers as there are axes is
        a shape). Default: as the source, else "auto".
    shards : int, tuple, dict, "auto" or list, optional
        Shard shape in voxels, a multiple of the chunks; a list may have None for levels without shards. "auto": at most
        64 MiB at level 0, and by the factor smaller from level to level. Default: no shards.
    compressors : "auto", None or codecs
        As `zarr.create_array` takes them. "auto": blosc-zstd, shuffled if values have several bytes
        and are no labels.
    zarr_format : {3, 2}
        3 for OME-Zarr 0.5, 2 for 0.4. In place, the format of the source.
    ome_version : {"0.5", "0.4"}, optional
        Follows ``zarr_format``.
    name : str
        Name of the image, and of the variable in the layout "datatree".
    layout : {"flat", "datatree"}
        Arrays "0", "1", ..., or groups "s0", "s1", ... with coordinates, which `xarray.open_datatree` opens.
    labels_of : path, URL, zarr store or zarr.Group, optional
        An OME-Zarr image, instead of ``target``: the pyramid becomes its labels "labels/<name>", with as many levels,
        factors and (unless others are given) coordinates as the image has. The default method is "mode" then.
    storage_options : dict, optional
        For URLs, as fsspec takes them.
    memory_limit : int or str, optional
        Bytes, or a string such as "2 GiB", for the whole process (each worker). A NumPy source is not counted.
        Default: half of what the process may use.
    resume : bool
        Continue an unfinished build with the same plan, skipping the blocks that are done.
    overwrite : bool
        Replace the target group and all that is in it (in place: the levels beside the source).
    progress : bool or callable
        True shows a progress bar; a callable is called with the numbers of blocks done and of all blocks.

    Returns
    -------
    Pyramid

    Raises
    ------
    ArgumentError
        If an argument is malformed or does not fit the others; nothing has been written then.
    SourceNotFoundError, TargetExistsError
        If there is no source, or the target exists and ``overwrite`` is False.
    PlanError
        If the memory limit is too small, with the least that would do.
    BuildError
        If a block fails; what is done so far is kept.

    Notes
    -----
    Every level of "mean" is the mean of the level-0 voxels, rounded once: exact sums are carried from level to level.
    Every level of "exact_mode" holds the most frequent level-0 labels, ties going to the smallest: the labels under
    each voxel are carried with their counts. Where these are many (8 or more were planned for, and more where the
    memory limit leaves room), the build stops with an error rather than exceed ``memory_limit``.

    Examples
    --------
    >>> import numpy as np, zarr
    >>> import chunkpyramid as cp
    >>> image = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    >>> pyramid = cp.build_pyramid(image, zarr.storage.MemoryStore(), levels=2, voxel_size=4.0, unit="nanometer")
    >>> [level.shape for level in pyramid.levels]
    [(64, 64), (32, 32), (16, 16)]
    >>> pyramid.coordinates[2].scale
    (16.0, 16.0)
    """
    options = {key: value for key, value in locals().items() if key not in RUN_OPTIONS}
    for flag, argument in ((resume, "resume"), (overwrite, "overwrite")):
        if not isinstance(flag, bool | np.bool_):
            raise ArgumentError(f"{argument} must be True or False, but {flag!r} was given")
    check_progress(progress)
    prepared = prepare(**options)
    prepared, group, journal = _create(prepared, storage_options, resume=bool(resume), overwrite=bool(overwrite))
    _work(prepared, group, journal).run(progress)
    return _commit(prepared, group)


def _create(
    prepared: Prepared, storage_options: Mapping[str, Any] | None, *, resume: bool, overwrite: bool
) -> tuple[Prepared, zarr.Group, Journal]:
    """Create the level arrays and the scratch group, or find those of an unfinished build to resume."""
    if prepared.target is None and not prepared.in_place:
        raise ArgumentError("target is needed: a source in memory has no group of its own that the levels could go to")
    target = plain_path(prepared.target)
    group = prepared.group if prepared.in_place else existing_group(target, storage_options)
    where = str(group) if prepared.in_place else repr(os.fspath(target) if isinstance(target, os.PathLike) else target)
    if not prepared.in_place:
        _refuse_overlap(prepared, target if group is None else group, overwrite=overwrite)
    cut_off = False
    if group is not None:
        journal = Journal.find(group)
        # metadata are written last: with them it is an update that was cut off, and there is a pyramid to lose
        is_new = prepared.in_place or ome.read_multiscale(group.attrs.asdict()) is None
        cut_off = journal is not None and not journal.is_set_up and is_new
        if journal is not None and journal.is_set_up and not overwrite:
            if not resume:
                raise TargetExistsError(
                    f"{where} holds an unfinished build: pass resume=True to finish it, or overwrite=True to begin anew"
                )
            journal.check(prepared.fingerprint(), where)
            logger.info("resuming the unfinished build in %s", where)
            return prepared.continuing(journal.blocks), group, journal
        if not overwrite and not cut_off:
            _refuse_existing(prepared, group, where)
    if not prepared.in_place:
        there = group is not None
        anew = there and (overwrite or cut_off)
        group = empty_group(
            group if there else target, prepared.format.zarr_format, overwrite=anew, storage_options=storage_options
        )
    if group is None:
        raise TargetExistsError(f"{where} could not be created")
    plan = prepared.plan
    own = plan.levels[1:] if prepared.in_place else plan.levels
    if prepared.in_place and overwrite:
        _forget_old_levels(prepared, group)
    journal = Journal.create(group, plan.stages, plan.levels, prepared.reduction)
    for level in own:
        if cut_off and level.path in group:
            del group[level.path]
        prepared.format.create(group, level)
    journal.set_up(prepared.fingerprint(), prepared.blocks)
    return prepared, group, journal


def _refuse_overlap(prepared: Prepared, target: Any, *, overwrite: bool) -> None:
    """Refuse a target that contains what the source reads, which overwriting would delete, or that is inside of it."""
    if isinstance(target, zarr.Group):
        there = store_id(target) + "/"
    elif is_local_path(target):
        there = path_id(target) + "/"
    else:
        return
    for array in prepared.source.zarr_arrays() if overwrite or prepared.source.is_zarr else ():
        here = store_id(array) + "/"
        if here.startswith(there):
            raise ArgumentError(
                f"the target {target} contains the source {array}: give another target"
                + (", or target=None to build beside the source" if prepared.source.is_zarr else "")
            )
        if there.startswith(here):
            raise ArgumentError(f"the target {target} lies inside the source array {array}: give another target")


def _refuse_existing(prepared: Prepared, group: zarr.Group, where: str) -> None:
    if prepared.in_place:
        taken = [level.path for level in prepared.plan.levels[1:] if level.path in group]
        if taken:
            raise TargetExistsError(
                f"the group of the source, {group}, has {taken} already: pass overwrite=True to replace them, "
                "or give target="
            )
        return
    members = entries(group)
    if members or group.attrs.asdict():
        raise TargetExistsError(
            f"{where} exists and is not empty (it has {members or 'attributes'}): pass overwrite=True to replace it, "
            "or choose another target"
        )
    if group.metadata.zarr_format != prepared.format.zarr_format:
        raise TargetExistsError(
            f"{where} is a group of zarr format {group.metadata.zarr_format}, not {prepared.format.zarr_format}: pass "
            "overwrite=True to replace it, or choose another target"
        )


def _forget_old_levels(prepared: Prepared, group: zarr.Group) -> None:
    """Delete the levels of an earlier pyramid beside the source; its metadata name only level 0 from then on."""
    paths = {level.path for level in prepared.plan.levels[1:]} | set(prepared.own_paths)
    if prepared.own_paths:
        group.attrs.put(ome.only_level_0(group.attrs.asdict(), prepared.plan.levels[0].path))
    Journal.remove(group)
    for path in sorted(paths):
        if path in group:
            del group[path]


def _work(prepared: Prepared, group: zarr.Group, journal: Journal) -> Work:
    levels = prepared.plan.levels
    arrays = {level.index: level_array(group, level.path) for level in levels}
    return Work(
        prepared.plan,
        prepared.reduction,
        prepared.source.array,
        arrays,
        journal,
        skips_blank=prepared.format.fills_with_zeros,
    )


def _commit(prepared: Prepared, group: zarr.Group) -> Pyramid:
    """Write coordinates and metadata, last of all, and remove the scratch group."""
    multiscale = prepared.multiscale
    consolidated = is_consolidated(group)
    if prepared.layout == "datatree":
        write_coordinates(group, prepared.plan.levels, prepared.coordinates, prepared.source.dimension_coordinates)
    group.attrs.put(ome.with_multiscale(group.attrs.asdict(), multiscale, prepared.ome_version, __version__))
    Journal.remove(group)
    if prepared.image is not None:
        prepared.image.list_labels(prepared.name)
    if prepared.layout == "datatree" or consolidated:
        consolidate(group)
    consolidate_around(group)
    return Pyramid(group, multiscale, prepared.plan)
