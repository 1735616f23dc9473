"""Where the result of a reduction is kept: a group that is new, unfinished or finished."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from chunkpyramid.arguments import true_or_false
from chunkpyramid.engine.journal import Journal
from chunkpyramid.engine.progress import Progress
from chunkpyramid.engine.records import ALONE, Record
from chunkpyramid.engine.reduce_job import ReduceJob
from chunkpyramid.engine.runs import Run, begin_run, group_of
from chunkpyramid.errors import TargetExistsError
from chunkpyramid.sources.overlap import refuse_inside
from chunkpyramid.storage.consolidated import consolidate
from chunkpyramid.storage.groups import empty_group, existing_group, store_and_path
from chunkpyramid.storage.keys import remove_node
from chunkpyramid.storage.locations import plain_path
from chunkpyramid.storage.new_arrays import create_array, default_compressors
from chunkpyramid.storage.nodes import entries, level_array

__all__ = ["ResultPlace"]

logger = logging.getLogger(__name__)

# the attribute of a group that holds a result: what tells it from others, and the names of its arrays
RESULT = "chunkpyramid_result"

# and of the scratch group of one that is unfinished
UNFINISHED = "result"

# and that which tells that its only array is the record itself
IS_ALONE = "is_array"


def save_record(group: zarr.Group, record: Record) -> list[str]:
    """Write the arrays of a record to a group, and return their names."""
    arrays = record if isinstance(record, Mapping) else {ALONE: record}
    group.attrs.update({IS_ALONE: not isinstance(record, Mapping)})
    for name, values in arrays.items():
        array = create_array(
            group,
            name,
            values.shape,
            values.dtype,
            chunks=tuple(max(1, n) for n in values.shape),
            compressors=default_compressors(values.dtype, 3, labels=True),
            overwrite=True,
        )
        array[...] = values
    return list(arrays)


def load_record(group: zarr.Group) -> Record:
    """Return the record that a group holds."""
    arrays = {name: np.asarray(array[...]) for name, array in arrays_of(group).items()}
    return arrays[ALONE] if group.attrs[IS_ALONE] else arrays


def arrays_of(group: zarr.Group) -> dict[str, zarr.Array[Any]]:
    """Return the arrays of the result that a group holds."""
    kept = _kept(group)
    return {} if kept is None else {name: level_array(group, name) for name in kept["arrays"]}


def _kept(group: zarr.Group) -> Mapping[str, Any] | None:
    """Return what tells of the result in a group, None if there is none."""
    kept = group.attrs.asdict().get(RESULT)
    return kept if isinstance(kept, Mapping) else None


@dataclass(frozen=True)
class ResultPlace:
    """The group ``target`` for the result of a reduction, or a temporary one if it is None.

    ``save`` writes the record to a group, and ``load`` reads it again.
    """

    target: Any
    storage_options: Mapping[str, Any] | None
    resume: bool
    overwrite: bool
    save: Callable[[zarr.Group, Record], list[str]] = save_record
    load: Callable[[zarr.Group], Record] = load_record

    def compute(self, job: ReduceJob, progress: Progress) -> Record:
        """Return the record of a reduction: the one that is kept, or one that is computed and kept.

        Raises
        ------
        ArgumentError, TargetExistsError
            If there is something else at the target.
        """
        true_or_false(self.resume, "resume")
        true_or_false(self.overwrite, "overwrite")
        if self.target is None:
            with tempfile.TemporaryDirectory(prefix="chunkpyramid-") as folder:
                return job.run(Journal.create(empty_group(folder, 3), None, {}), progress)
        location = plain_path(self.target)
        group = existing_group(location, self.storage_options)
        refuse_inside(location if group is None else group, job.source.zarr_arrays())
        if group is not None and self._is_finished(group, job):
            logger.warning(
                "%s has the result of an identical reduction, so nothing was done; if the values of the source have "
                "changed since, overwrite=True computes it anew",
                group,
            )
            return self.load(group)
        goes_on = group is not None and self._goes_on(group, job)
        store, path = store_and_path(location, group, 3, self.storage_options)
        run = begin_run(store, path, alone=not goes_on, where=str(location if group is None else group))
        with run.living():
            record = self._compute_in(run, job, progress)
            run.finish()
        return record

    def _compute_in(self, run: Run, job: ReduceJob, progress: Progress) -> Record:
        group = group_of(run, 3)
        # another process may have been here since
        if self._is_finished(group, job):
            return self.load(group)
        journal = Journal.find(group, run)
        if journal is not None and self._goes_on(group, job):
            job = job.continuing(journal.block_shapes)
        else:
            before = arrays_of(group)
            group.attrs.put({name: told for name, told in group.attrs.asdict().items() if name != RESULT})
            for name in before:
                remove_node(group.store, f"{group.path}/{name}".lstrip("/"))
            journal = Journal.create(group, run, {UNFINISHED: True})
            journal.set_up(job.fingerprint, job.stage.block)
        record = job.run(journal, progress)
        names = self.save(group, record)
        group.attrs.update({RESULT: {"of": dict(job.fingerprint), "arrays": names}})
        Journal.close(group)
        consolidate(group)
        return record

    def _is_finished(self, group: zarr.Group, job: ReduceJob) -> bool:
        """Whether the group holds the result of this reduction.

        Raises
        ------
        TargetExistsError
            If it holds something else.
        """
        attributes = group.attrs.asdict()
        journal = Journal.find(group)
        if journal is not None:
            if UNFINISHED not in journal.scratch.attrs:
                raise TargetExistsError(
                    f"{group} holds what is unfinished and no result: it is never overwritten; choose another target"
                )
            return False
        kept = _kept(group)
        if kept is not None:
            if self.overwrite:
                return False
            if kept.get("of") == dict(job.fingerprint):
                return True
            raise TargetExistsError(
                f"{group} holds a result already: pass overwrite=True to replace it, or choose another target"
            )
        if entries(group) or attributes:
            raise TargetExistsError(
                f"{group} is no result of chunkpyramid's and not empty (it has {entries(group) or 'attributes'}): it "
                "is never overwritten; choose another target"
            )
        return False

    def _goes_on(self, group: zarr.Group, job: ReduceJob) -> bool:
        """Whether there is an unfinished result that this reduction goes on with."""
        journal = Journal.find(group)
        if journal is None or self.overwrite or not journal.is_set_up:
            return False
        if not self.resume:
            raise TargetExistsError(
                f"{group} holds an unfinished result: pass resume=True to finish it, or overwrite=True to begin anew"
            )
        differing = journal.differences(job.fingerprint)
        if differing:
            raise TargetExistsError(
                f"{group} holds an unfinished result that differs in {', '.join(differing)}: run what it was begun "
                "with, or pass overwrite=True to begin anew"
            )
        return True
