"""Changing the voxels of an array where they are, so that it may be killed at any moment and run again."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import zarr

from chunkpyramid.arguments import true_or_false
from chunkpyramid.engine.in_place import InPlace, StagedOutput
from chunkpyramid.engine.job import Step, run_steps
from chunkpyramid.engine.journal import SCRATCH, Journal
from chunkpyramid.engine.layout import Limits
from chunkpyramid.engine.machine import memory_bytes
from chunkpyramid.engine.operation import ArrayInput, ArrayOutput, BlockOperation
from chunkpyramid.engine.plan_stage import plan_stage
from chunkpyramid.engine.process_memory import keeping_to_limit
from chunkpyramid.engine.progress import check_progress
from chunkpyramid.engine.reduce_job import source_fingerprint
from chunkpyramid.engine.runs import Run, begin_run
from chunkpyramid.engine.source_input import reading_of
from chunkpyramid.engine.stage import OutputLayout, Stage
from chunkpyramid.errors import ArgumentError, BuildError
from chunkpyramid.sources.open import open_source
from chunkpyramid.sources.source import Source
from chunkpyramid.sources.volume import Volume, open_volume
from chunkpyramid.storage.chunk_io import chunk_access
from chunkpyramid.storage.consolidated import consolidate_around
from chunkpyramid.storage.keys import names
from chunkpyramid.storage.locations import check_deletes
from chunkpyramid.storage.presence import presences
from chunkpyramid.volumes.options import VolumeOptions
from chunkpyramid.volumes.write_volume import BlockFunction, MapPieces
from chunkpyramid.warn import warn

__all__ = ["IN_PLACE_OPTIONS", "change_in_place"]

logger = logging.getLogger(__name__)

# The attribute of an array that was changed in place: the digest of what was done last. It is there only for what would
# be wrong if a script that was killed when all was done did it again.
CHANGED = "chunkpyramid_changed"

# of the options of volumes, those that say nothing of how the result is stored
IN_PLACE_OPTIONS = ("axes", "storage_options", "memory_limit", "resume", "overwrite", "progress")


def change_in_place(
    source: Source,
    told: Mapping[str, Any],
    prepare: Callable[[], Any],
    function: Callable[[Any, zarr.Group], BlockFunction],
    options: VolumeOptions,
    *,
    is_idempotent: bool,
) -> Volume:
    """Replace the voxels of a zarr array by what a function makes of them.

    Parameters
    ----------
    source : Source
        A zarr array that can be written to.
    told : mapping
        What tells the change from others, in values that JSON can hold.
    prepare : callable
        Computes, of the voxels as they are before, what the function needs.
    function : callable
        Returns the function, of the dtype of the array, of what ``prepare`` has returned. It is given the scratch group
        to keep that: another run has it from there, with None instead.
    is_idempotent : bool
        Whether what it makes of its own results is these again, so that nothing need be staged.

    Raises
    ------
    ArgumentError
        If the source is no zarr array, or an option is given that is for targets.
    BuildError
        If another change of it has not been finished.
    """
    refused = sorted(set(options) - set(IN_PLACE_OPTIONS))
    if refused:
        raise ArgumentError(f"{', '.join(refused)} cannot be given with in_place=True: give target=, or leave it out")
    resume = true_or_false(options.get("resume", True), "resume")
    overwrite = true_or_false(options.get("overwrite", False), "overwrite")
    progress = options.get("progress", False)
    check_progress(progress)
    _check_writable(source)
    array = source.array
    fingerprint = {**source_fingerprint(source, presences([array])), **told}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    _check_unfinished(array, fingerprint, resume=resume)
    is_marked = not is_idempotent and not overwrite and Journal.find(array) is None
    if is_marked and array.attrs.asdict().get(CHANGED) == digest:
        _remove_waste(array)
        logger.warning(
            "%s has been changed by an identical call, so nothing was done; overwrite=True does it again", array
        )
        return open_volume(array)
    run = begin_run(array.store, array.path, alone=True, where=str(array))
    with run.living():
        array = zarr.open_array(run.store, path=run.path, mode="r+", zarr_format=array.metadata.zarr_format)
        own = replace(source, array=array)
        # another process may have been here since
        journal = _check_unfinished(array, fingerprint, resume=resume)
        if journal is None or not journal.is_set_up:
            journal = Journal.create(array, run, {"in_place": True})
            made = function(prepare(), journal.scratch)
            stage, threads = _plan(own, made, options, None)
            journal.set_up(fingerprint, stage.block)
        else:
            journal.run = run
            made = function(None, journal.scratch)
            stage, threads = _plan(own, made, options, tuple(map(int, journal.block_shapes)))
        operation = _operation(own, made.shared(journal.scratch), stage, journal, run, is_idempotent=is_idempotent)
        step = Step(stage, operation, own.shape, presences([array]))
        for _ in run_steps([step], journal, threads, progress, again=True):
            pass
        if not is_idempotent:
            # others may have added attributes since
            zarr.open_array(run.store, path=run.path, mode="r+").attrs.update({CHANGED: digest})
        Journal.close(array)
        run.finish()
    _tell_around(source)
    return open_volume(source.array)


def _remove_waste(array: zarr.Array[Any]) -> None:
    """Remove what a run that was killed when all was done has left."""
    if names(array.store, f"{array.path}/{SCRATCH}".lstrip("/")):
        run = begin_run(array.store, array.path, alone=True, where=str(array))
        with run.living():
            run.finish()


def _check_writable(source: Source) -> None:
    if not source.is_zarr:
        raise ArgumentError(
            f"in_place=True changes zarr arrays, but the source is a {type(source.array).__name__}: give target="
        )
    if source.array.store.read_only:
        raise ArgumentError(
            f"in_place=True needs a source that can be written to, but {source.array} was opened for reading: open it "
            "with mode='r+', or give its path or target="
        )
    check_deletes(source.array.store)


def _check_unfinished(array: zarr.Array[Any], fingerprint: Mapping[str, Any], *, resume: bool) -> Journal | None:
    """Return the journal of an unfinished change that this one finishes, None if there is none."""
    journal = Journal.find(array)
    if journal is None or not journal.is_set_up:
        return journal
    differing = journal.differences(fingerprint)
    if differing:
        raise BuildError(
            f"a change of {array} in place has not been finished, which differs in {', '.join(differing)}: some of its "
            "blocks are changed and others are not; run the same again to finish it"
        )
    if not resume:
        raise BuildError(
            f"a change of {array} in place has not been finished, and cannot begin anew, as some of its blocks are "
            "changed already: pass resume=True"
        )
    return journal


def _plan(
    source: Source, function: BlockFunction, options: VolumeOptions, kept: tuple[int, ...] | None
) -> tuple[Stage, int]:
    from chunkpyramid.engine.scheduler import active_machine

    array = source.array
    machine = active_machine(function.held_bytes)
    limit = memory_bytes(options.get("memory_limit"), machine)
    chunks = tuple(map(int, array.chunks))
    output = OutputLayout(
        factor=(1,) * len(chunks),
        unit=source.read_shards or chunks,
        chunk=chunks,
        itemsize=array.dtype.itemsize,
    )
    limits = Limits(limit, machine.threads, machine.slots)

    def demand(piece: tuple[int, ...]) -> int:
        return int(np.prod(piece, dtype=object)) * function.bytes_per_voxel

    return keeping_to_limit(
        lambda baseline: plan_stage(
            reading_of(source),
            demand,
            replace(limits, baseline=baseline + function.held_bytes),
            outputs=[output],
            write_access=chunk_access(array, array.store),
            kept=kept,
        ),
        machine.baseline,
    )


def _operation(
    source: Source, function: BlockFunction, stage: Stage, journal: Journal, run: Run, *, is_idempotent: bool
) -> BlockOperation:
    array, name = source.array, "the array"
    one = (1,) * len(source.shape)
    pieces = MapPieces(
        function=function,
        extent=source.shape,
        input=ArrayInput("the source", array),
        outputs=(ArrayOutput(name, array, one),),
        advice="some blocks are changed and others are not: run the same again to finish",
    )
    if is_idempotent:
        return pieces
    return InPlace(pieces, stage, source.shape, StagedOutput(name, array, f"{journal.scratch.path}/staged", run))


def _tell_around(source: Source) -> None:
    """Tell of a changed array where its metadata are kept twice, and of levels that were made of it before."""
    consolidate_around(source.array)
    image = source.image or open_source(source.array, None).image
    if image is not None and len(image.multiscale.paths) > 1:
        warn(
            f"the other levels of {image.group} show the labels as they were before: build them again, with "
            "overwrite=True"
        )
