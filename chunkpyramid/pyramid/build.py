"""`plan_pyramid` and `build_pyramid`: plan, create, run the stages, commit."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import zarr
from zarr.storage import LocalStore

from chunkpyramid._version import __version__
from chunkpyramid.arguments import true_or_false
from chunkpyramid.engine.job import run_steps
from chunkpyramid.engine.journal import Journal
from chunkpyramid.engine.progress import Progress, check_progress
from chunkpyramid.engine.runs import begin_run
from chunkpyramid.metadata import ome
from chunkpyramid.metadata.omero import with_windows
from chunkpyramid.pyramid.check_arguments import check_build
from chunkpyramid.pyramid.checked_build import CheckedBuild, FoldRecipe
from chunkpyramid.pyramid.extremes import read_extremes
from chunkpyramid.pyramid.factors import FactorLike
from chunkpyramid.pyramid.level_coordinates import write_coordinates
from chunkpyramid.pyramid.options import BuildOptions
from chunkpyramid.pyramid.plan import PyramidPlan
from chunkpyramid.pyramid.pyramid import Pyramid
from chunkpyramid.pyramid.target import Action, Target
from chunkpyramid.pyramid.unfinished import was_consolidated
from chunkpyramid.storage.consolidated import consolidate, consolidate_around, is_consolidated
from chunkpyramid.storage.staging import StagedStore

__all__ = ["build_pyramid", "carry_out", "plan_pyramid"]

logger = logging.getLogger(__name__)

# what a plan does not depend on
RUN_OPTIONS = ("resume", "overwrite", "progress")


def build_pyramid(
    source: Any,
    target: Any = None,
    *,
    method: str = "auto",
    factor: FactorLike = 2,
    levels: int | None = None,
    sparse: bool | None = None,
    background: Any = None,
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
        An N-d array (2 to 5 axes), or the path or URL of a zarr array or of an OME-Zarr image, in a zip file too. An
        array that is a level of an OME-Zarr image is that image, however it is named.
    target : path, URL, zarr store or zarr.Group, optional
        The output group, new or empty. Default: the source array's own group; the levels go beside the array, under
        names that nothing else has.
    method : {"auto", "mean", "mode", "exact_mode", "min", "max", "stride"}
        "auto": mode for bool, int32/64, uint32/64 and OME label images, mean for everything else.
    factor : int, tuple, dict, list of tuples or "isotropic"
        From each level to the next: an int for all spatial axes; one entry per axis (or per spatial axis); a dict by
        axis; a list with one tuple per level; "isotropic" doubles the finest axis and those that come nearer to it.
    levels : int, optional
        How many levels below level 0. Default: until a level fits in one chunk along every downsampled axis.
    sparse : bool, optional
        Voxels equal to ``background`` neither vote nor count (mean, mode and exact_mode). Default: True if the source
        declares a missing value (``_FillValue`` or ``missing_value`` in its attributes or in xarray's encoding) and no
        ``background`` is given, else False.
    background : number, optional
        Default: the missing value that the source declares, else 0; NaN is allowed for floats.
    rounding : {"nearest", "truncate"}
        For means of integers: half to even, or toward zero.
    axes : str or sequence of str, optional
        Names of the axes, such as "zyx" or "yxc". Default: from the source, else the last of "tczyx". They may be in
        any order, that of arguments with one entry per axis; the levels have them in the order of OME-Zarr.
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
        Bytes, or a string such as "2 GiB", for the whole process (each worker). What the process has already counts,
        unless it is more than the limit leaves, of which a warning is logged then; a NumPy source does not. Default:
        half of what the process may use.
    resume : bool
        Continue an unfinished build with the same plan, skipping the blocks that are done. If it is still at work in
        another process, that one ends with `OvertakenError`. One that has been finished is returned as it is.
    overwrite : bool
        Replace the target group with all groups and arrays in it; files beside them stay. In place: the levels of the
        same image beside the source.
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
        If a block fails; what is done so far is kept. `OvertakenError` if a newer run has begun on the same target.

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
    options = BuildOptions(
        method=method,
        factor=factor,
        levels=levels,
        sparse=sparse,
        background=background,
        rounding=rounding,
        axes=axes,
        voxel_size=voxel_size,
        translation=translation,
        unit=unit,
        chunks=chunks,
        shards=shards,
        compressors=compressors,
        zarr_format=zarr_format,
        ome_version=ome_version,
        name=name,
        layout=layout,
        labels_of=labels_of,
        storage_options=storage_options,
        memory_limit=memory_limit,
    )
    resume, overwrite = true_or_false(resume, "resume"), true_or_false(overwrite, "overwrite")
    check_progress(progress)
    return carry_out(
        check_build(source, target, options, FoldRecipe()),
        storage_options=storage_options,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
    )


def plan_pyramid(source: Any, target: Any = None, **options: Any) -> PyramidPlan:
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
    told = {name: value for name, value in options.items() if name not in RUN_OPTIONS}
    return check_build(source, target, BuildOptions(**told), FoldRecipe()).plan


# what `help` tells of it
cast(Any, plan_pyramid).__signature__ = inspect.signature(build_pyramid).replace(return_annotation="PyramidPlan")


def carry_out(
    checked: CheckedBuild,
    *,
    storage_options: Mapping[str, Any] | None,
    resume: bool,
    overwrite: bool,
    progress: Progress,
) -> Pyramid:
    """Create or continue what was checked, run its steps, and commit."""
    place = Target(checked, storage_options, resume=resume, overwrite=overwrite)
    group = place.find()
    action = place.decide(group)
    if group is not None and action is Action.NOTHING:
        return _finished(checked, group)
    is_new = group is None
    run = begin_run(*place.place(group), alone=action is Action.CREATE, where=place.where)
    with run.living():
        # another process may have been here since
        group = place.find_in(run)
        action = place.decide(group)
        if group is not None and action is Action.NOTHING:
            return _finished(checked, group)
        journal = None if group is None else Journal.find(group, run)
        if group is not None and journal is not None and action is Action.RESUME:
            logger.info("resuming the unfinished build in %s", place.where)
            checked = checked.continuing(journal.block_shapes)
            place.renew_attributes(group)
        else:
            group, journal = place.create(run, group, is_new=is_new)
        for _ in run_steps(checked.steps(group, journal), journal, checked.plan.threads, progress):
            pass
        _commit(checked, group, journal)
        run.finish()
    group = zarr.open_group(_plain(group.store), path=group.path, mode="r+", use_consolidated=False)
    return Pyramid(group, checked.multiscale, checked.plan)


def _finished(checked: CheckedBuild, group: zarr.Group) -> Pyramid:
    """Return the pyramid of an identical build that has been finished."""
    logger.warning(
        "%s has been finished by an identical build, so nothing was done; if the values of the source have changed "
        "since, overwrite=True builds it anew",
        group,
    )
    group = zarr.open_group(_plain(group.store), path=group.path, mode="r+", use_consolidated=False)
    # the process that finished it may have been killed right then
    _announce(checked, group, was_consolidated=is_consolidated(group))
    return Pyramid(group, checked.multiscale)


def _plain(store: Any) -> Any:
    """Return a store as users have it: not the one that a run writes through."""
    return LocalStore(store.root) if isinstance(store, StagedStore) else store


def _commit(checked: CheckedBuild, group: zarr.Group, journal: Journal) -> None:
    """Write coordinates and metadata, last of all."""
    if checked.layout == "datatree":
        write_coordinates(group, checked.plan.levels, checked.variables)
    # others may have added attributes since
    group = zarr.open_group(group.store, path=group.path, mode="r+", use_consolidated=False)
    multiscale = checked.multiscale
    if checked.has_windows and checked.plan.stages:
        axis = checked.channel_axis
        channels = 1 if axis is None else checked.source.shape[axis]
        extremes = read_extremes(checked.plan, journal)
        omero = with_windows(multiscale.kept.get("omero"), channels, extremes, keep=checked.in_place)
        multiscale = replace(multiscale, kept={**multiscale.kept, "omero": omero})
    attributes = {**checked.carried, **group.attrs.asdict()}
    group.attrs.put(ome.with_multiscale(attributes, multiscale, checked.ome_version, __version__))
    had_consolidated = was_consolidated(journal)
    Journal.close(group)
    _announce(checked, group, was_consolidated=had_consolidated)


def _announce(checked: CheckedBuild, group: zarr.Group, *, was_consolidated: bool) -> None:
    """Tell of a finished pyramid where others look for it; done twice it is as done once."""
    if checked.image is not None:
        checked.image.list_labels(checked.name)
    if checked.layout == "datatree" or was_consolidated:
        consolidate(group)
    consolidate_around(group)
