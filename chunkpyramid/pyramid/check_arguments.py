"""From the arguments of `build_pyramid` to a checked, planned build; nothing is written here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from zarr.storage import MemoryStore

from chunkpyramid._version import __version__
from chunkpyramid.arguments import one_of
from chunkpyramid.engine.journal import Journal, refuse_changing
from chunkpyramid.engine.machine import memory_bytes
from chunkpyramid.engine.process_memory import keeping_to_limit
from chunkpyramid.errors import ArgumentError
from chunkpyramid.metadata import ome
from chunkpyramid.metadata.coordinates import Coordinates, with_arguments
from chunkpyramid.metadata.missing import leaving_out_missing, stored_attributes
from chunkpyramid.metadata.physical_units import is_known_unit
from chunkpyramid.pyramid.checked_build import CheckedBuild, LevelFormat, Recipe
from chunkpyramid.pyramid.chunk_shapes import default_chunks, resolve_chunks, resolve_first_chunks, resolve_shards
from chunkpyramid.pyramid.factors import cumulative_factors, resolve_factors
from chunkpyramid.pyramid.labelled import kept_elsewhere, open_labelled
from chunkpyramid.pyramid.level_coordinates import rehearse_coordinates
from chunkpyramid.pyramid.naming import check_name, free_paths, group_of_source, level_paths
from chunkpyramid.pyramid.options import BuildOptions
from chunkpyramid.pyramid.plan import Level, PlanRequest, make_levels
from chunkpyramid.pyramid.source_coordinates import variables_of_levels, warn_of_coordinates
from chunkpyramid.pyramid.unfinished import level_paths_of, source_of
from chunkpyramid.reductions.methods import auto_method, resolve_method
from chunkpyramid.sources.open import open_source
from chunkpyramid.sources.source import Source
from chunkpyramid.storage.chunk_access import ChunkAccess
from chunkpyramid.storage.chunk_io import chunk_access
from chunkpyramid.storage.codec import same_encoding
from chunkpyramid.storage.groups import empty_group
from chunkpyramid.storage.new_arrays import default_compressors
from chunkpyramid.storage.nodes import groups_around
from chunkpyramid.storage.presence import presences
from chunkpyramid.text import format_bytes
from chunkpyramid.warn import warn

__all__ = ["check_build"]

# Up to here a voxel size times a factor is exact.
MOST_CUMULATIVE = 2**53

LAYOUTS = ("flat", "datatree")

# what the metadata of labels say of single ones
SINGLE_LABELS = ("colors", "properties")


# attributes that say what the values of an array mean
PACKING = (
    "scale_factor",
    "add_offset",
    "_FillValue",
    "missing_value",
    "valid_min",
    "valid_max",
    "valid_range",
    "flag_values",
)


def check_build(source: Any, target: Any, options: BuildOptions, recipe: Recipe) -> CheckedBuild:
    """Check all arguments of `build_pyramid` and plan the build."""
    layout, name, zarr_format = options.layout, options.name, options.zarr_format
    one_of(layout, "layout", LAYOUTS)
    check_name(name, is_folder=options.labels_of is not None)
    labelled = None
    if options.labels_of is not None:
        labelled = open_labelled(options.labels_of, target, options.storage_options)
        target = labelled.target(name)
        zarr_format = ome.format_beside(zarr_format, labelled.zarr_format, f"the image {labelled.group}")
    opened = open_source(source, options.axes, writable=target is None, storage_options=options.storage_options)
    arrays = opened.zarr_arrays()
    refuse_changing(arrays)
    present = presences(arrays)
    _refuse_unfinished(opened, in_place=target is None)
    if opened.image is not None and labelled is None and target is not None:
        opened = replace(opened, kept=kept_elsewhere(opened.image, target))
    if not recipe.keeps_labels:
        opened = _with_other_labels(opened)
    group = None
    if target is None and opened.is_zarr:
        if layout != "flat":
            raise ArgumentError(
                f"layout={layout!r} needs a new group, because the source array stays where it is: give target="
            )
        group = group_of_source(opened)
        zarr_format = ome.format_beside(zarr_format, opened.array.metadata.zarr_format, f"the source {opened.array}")
    in_place = group is not None
    zarr_format, version = ome.resolve_version(zarr_format, options.ome_version)
    if opened.order is not None:
        options = options.in_order(opened.order)

    base = with_arguments(opened.coordinates, options.voxel_size, options.translation, options.unit)
    factor, levels, chunks, shards = options.factor, options.levels, options.chunks, options.shards
    if labelled is not None:
        base = labelled.placed(base)
        factor, levels = labelled.factor(factor, base), labelled.levels(levels)
    if layout == "datatree":
        _refuse_clashes(base, opened.variables, name)
    dtype = opened.dtype.newbyteorder("=") if recipe.dtype is None else recipe.dtype
    if dtype != opened.dtype.newbyteorder("="):
        opened = _with_other_values(opened)
    method = options.method
    if method == "auto":
        method = "mode" if opened.is_labels or labelled is not None else auto_method(dtype)
    if dtype.kind == "b" and (labelled is not None or method in ("mode", "exact_mode")) and not in_place:
        # labels of OME-Zarr are integers; xarray takes these for bool
        dtype = np.dtype(np.uint8)
        if layout == "datatree":
            opened = replace(opened, attributes={**opened.attributes, "dtype": "bool"})
    if labelled is not None:
        labelled.check_values(dtype, method)
    sparse, background = leaving_out_missing(opened.missing, method, options.sparse, options.background)
    reduction = resolve_method(method, dtype, sparse=sparse, background=background, rounding=options.rounding)

    automatic = default_chunks(opened.shape, base.spatial, dtype.itemsize)
    default = opened.read_chunks or automatic
    factors = resolve_factors(
        factor,
        levels,
        opened.shape,
        base.names,
        base.spatial,
        base.scale if base.known else None,
        resolve_first_chunks(chunks, base.names, base.spatial, default, automatic),
    )
    for step in factors:
        reduction.check_factor(step)
    largest = max(cumulative_factors(factors, len(opened.shape))[-1])
    if largest > MOST_CUMULATIVE:
        raise ArgumentError(f"factor and levels make a cumulative factor of {largest}; at most it is {MOST_CUMULATIVE}")
    count = len(factors) + 1
    kept_chunks, kept_shards = (opened.read_chunks, opened.read_shards) if in_place else (None, None)
    level_chunks = resolve_chunks(chunks, count, base.names, base.spatial, default, automatic, kept_chunks)
    level_shards = resolve_shards(
        shards,
        level_chunks,
        factors,
        opened.shape,
        base.names,
        base.spatial,
        dtype.itemsize,
        in_place=in_place,
        kept=kept_shards,
    )
    if zarr_format != 3 and (isinstance(shards, str) or any(level_shards)):
        raise ArgumentError("shards need zarr_format=3, but zarr_format=2 was given: leave shards=None")
    paths = level_paths(count, layout, name, "0") if group is None else free_paths(count, opened, group)
    planned = make_levels(opened.shape, factors, level_chunks, level_shards, paths)
    coordinates = tuple(base.at(level.cumulative, centre_moves=reduction.name != "stride") for level in planned)
    if labelled is not None:
        labelled.check(coordinates, opened.shape)

    compressors = options.compressors
    if isinstance(compressors, str) and compressors == "auto":
        compressors = default_compressors(dtype, zarr_format, labels=reduction.name in ("mode", "exact_mode"))
    fill_value: Any = np.zeros((), dtype)[()]
    if opened.fill_value is not None and recipe.keeps_values:
        fill_value = dtype.type(opened.fill_value)
    dimension_names: tuple[str, ...] | None = base.names
    if zarr_format == 2 and "_FillValue" in opened.attributes and opened.missing is not None:
        fill_value = dtype.type(opened.missing)
    elif zarr_format == 2 and layout == "datatree":
        # xarray takes the fill value of zarr format 2 for a mask and would turn integers into floats
        fill_value = None
    elif zarr_format == 2 and fill_value != 0:
        # nor is it a mask for anybody else, where dimensions have no names
        dimension_names = None
    attributes = stored_attributes(opened.attributes, dtype, zarr_format, fill_value)
    stored = LevelFormat(zarr_format, dtype, compressors, fill_value, dimension_names, attributes)
    variables = variables_of_levels(opened, base, planned, coordinates, is_first=reduction.name == "stride")
    if layout == "datatree":
        rehearse_coordinates(variables, zarr_format)
    warn_of_coordinates(opened, base, planned, layout)
    rehearsed = _rehearse(stored, planned)

    # imported here, because dask takes longer to import than all the rest
    from chunkpyramid.engine.scheduler import active_machine

    machine = active_machine(opened.uncounted_bytes + recipe.held_bytes)
    request = PlanRequest(
        levels=planned,
        reduction=reduction,
        read_chunks=opened.read_chunks,
        read_shards=opened.read_shards,
        lazy_chunks=opened.lazy_chunks,
        writes_level_0=not in_place,
        copies_level_0=not in_place
        and opened.is_zarr
        and recipe.keeps_values
        and same_encoding(opened.array, rehearsed),
        source_access=chunk_access(opened.array, opened.array.store) if opened.is_zarr else ChunkAccess(),
        target_access=chunk_access(rehearsed, opened.array.store if in_place else getattr(target, "store", target)),
        memory_limit=memory_bytes(options.memory_limit, machine),
        threads=machine.threads,
        slots=machine.slots,
    )
    plan = keeping_to_limit(lambda baseline: recipe.plan(replace(request, baseline=baseline)), machine.baseline)
    hints = opened.hints
    if plan.baseline < machine.baseline:
        hints += (
            f"this process has {format_bytes(machine.baseline)} already, more than memory_limit leaves, so that only "
            "what a new process would have is counted",
        )
    plan = replace(plan, hints=hints)
    request = replace(request, baseline=plan.baseline)
    checked = CheckedBuild(
        opened,
        present,
        target,
        group,
        labelled,
        reduction,
        coordinates,
        variables,
        request,
        plan,
        stored,
        version,
        name,
        layout,
        recipe,
    )
    if layout == "flat":
        warn_of_viewers(checked)
    around = checked.carried if group is None else group.attrs.asdict()
    ome.with_multiscale(around, checked.multiscale, version, __version__)
    return checked


def _with_other_labels(source: Source) -> Source:
    """Return a source without what its metadata tell of single labels."""
    told = source.kept.get("image-label")
    lost = [name for name in SINGLE_LABELS if isinstance(told, Mapping) and name in told]
    if not lost or not isinstance(told, Mapping):
        return source
    warn(f"the labels of the result are other ones than those of the source, so it has not their {', '.join(lost)}")
    kept = {name: value for name, value in told.items() if name not in lost}
    return replace(source, kept={**source.kept, "image-label": kept})


def _with_other_values(source: Source) -> Source:
    """Return a source without what its metadata tell of its values."""
    lost = [name for name in PACKING if name in source.attributes]
    if "omero" in source.kept:
        lost.append("omero")
    if lost:
        warn(f"the result has another dtype than the source, and so not its {', '.join(lost)}")
    attributes = {name: value for name, value in source.attributes.items() if name not in lost}
    kept = {name: value for name, value in source.kept.items() if name not in lost}
    return replace(source, attributes=attributes, kept=kept, missing=None)


def warn_of_viewers(checked: CheckedBuild) -> None:
    """Warn of what viewers of OME-Zarr will not show as it is."""
    dtype, is_labels = checked.format.dtype, checked.is_labels
    if (not is_labels and str(dtype) in ("int64", "float64")) or dtype.kind == "b":
        warn(
            f"most viewers show no images of {dtype}: convert the source, to float32 or uint8 for example, if the "
            "pyramid is to be looked at"
        )
    for axis in checked.coordinates[0].axes:
        if axis.unit is not None and not is_known_unit(axis.unit, axis.type):
            warn(
                f"viewers know no unit {axis.unit!r} for the {axis.type} axis {axis.name!r}: give another unit=, such "
                "as 'micrometer' or 'second'"
            )


def _refuse_unfinished(source: Source, *, in_place: bool) -> None:
    """Refuse a level that is being built, and levels beside a source where those of another one are being built."""
    for group, path in groups_around(source.array) if source.is_zarr else ():
        journal = Journal.find(group)
        unfinished = None if journal is None else source_of(journal)
        if journal is None or unfinished in (None, source.identity()):
            continue
        if path in level_paths_of(journal):
            raise ArgumentError(
                f"the source {source.array} belongs to a pyramid whose build has not been finished: run that build "
                "again to finish it first"
            )
        if in_place and "/" not in path:
            raise ArgumentError(
                f"the group of the source, {group}, holds a build of {unfinished} that has not been finished: run "
                "that build again to finish it first, or give target="
            )


def _refuse_clashes(coordinates: Coordinates, variables: Collection[str], name: str) -> None:
    """In the layout "datatree" the coordinates are arrays beside the image, each under its own name."""
    if name in coordinates.names:
        raise ArgumentError(f"name={name!r} is the name of an axis too: give another name, or layout='flat'")
    if name in variables:
        raise ArgumentError(
            f"name={name!r} is the name of a coordinate of the source too: give another name, or drop that with "
            f"source.drop_vars({name!r})"
        )
    for axis in coordinates.names:
        if "/" in axis:
            raise ArgumentError(f"the axis {axis!r} cannot be an array's name: give other axes, or layout='flat'")


def _rehearse(stored: LevelFormat, levels: Sequence[Level]) -> Any:
    """Create all arrays in memory, so that what zarr refuses is refused before anything is written; return level 0."""
    group = empty_group(MemoryStore(), stored.zarr_format)
    arrays = []
    for level in levels:
        try:
            arrays.append(stored.create(group, level))
        except (TypeError, ValueError, KeyError, NotImplementedError) as error:
            raise ArgumentError(
                f"zarr refuses arrays with dtype={stored.dtype}, chunks={level.chunks}, shards={level.shards} (level "
                f"{level.index}), compressors={stored.compressors!r}: {error}"
            ) from error
    return arrays[0]
