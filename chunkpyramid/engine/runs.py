"""Runs: several processes may be started on one target, and the newest takes over.

All runs of a build write the same bits, so a late write of an older run of the same build does no harm; that is why a
block that runs again replaces what is there and erases nothing first. What does harm is what an older run of another
build, or of an update, may still have in hand. In folders the newer run takes away the staging folder of the older
one, without which nothing can be written (see `staging`). Other stores have no such step: there each block and the
commit look for a newer run, and where that is not enough (beginning anew, updating and repairing while another run
lives) the newer run is refused until the older one has ended, or has given no sign of life for a minute. Not guarded
against are two runs that begin at the same moment on such a store, and one that sleeps for more than a minute in the
middle of a write.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import zarr
from zarr.storage import LocalStore

from chunkpyramid.errors import ArgumentError, BuildError, OvertakenError, TargetExistsError
from chunkpyramid.storage.keys import delete_dir, fetch, put
from chunkpyramid.storage.owner import Owner
from chunkpyramid.storage.staging import RECORD, SCRATCH, STAGING, StagedStore, overtaken, write_file

__all__ = ["Run", "begin_run", "group_of"]

# where a run that has been finished puts its staging folder: the rest of the scratch group is waste then
FINISHED = "finished"

# the folder of the signs of life, by token, in stores that are no folders
ALIVE = "alive"
SECONDS_BETWEEN_SIGNS = 5.0

# the tokens of the runs of this process
LIVING: set[str] = set()
SECONDS_OF_SILENCE = 60.0


@dataclass(frozen=True)
class Run:
    """One process's try at a target.

    ``store`` is what it writes through, ``path`` that of its group there, and ``owner`` tells who it is.
    """

    store: Any
    path: str
    owner: Owner

    @property
    def scratch(self) -> str:
        """The path of the scratch group."""
        return f"{self.path}/{SCRATCH}".lstrip("/")

    def check(self) -> None:
        """Raise an error if this run has been overtaken, or if this process does not see the target.

        Raises
        ------
        OvertakenError
            If a newer run has begun, or another one has finished.
        BuildError
            If there is nothing where the target should be.
        """
        if isinstance(self.store, StagedStore):
            if not self.store.staging.is_dir():
                folder = self.store.root / self.path
                if not folder.is_dir():
                    raise BuildError(
                        f"process {os.getpid()} on {Owner.here(0).host} sees no folder {str(folder)!r}, where the "
                        "target is to be: share it with all workers under one path, or give a URL as target"
                    )
                raise overtaken(self.store.staging)
            return
        (found,) = fetch(self.store, [(f"{self.scratch}/{RECORD}", None)])
        if isinstance(found, Exception):
            raise BuildError(f"the record of the runs on the target cannot be read: {found}") from found
        owner = None if found is None else Owner.read(found)
        if owner is None:
            raise OvertakenError(
                f"the scratch group of the target, {self.scratch!r} in {self.store}, is not there for process "
                f"{os.getpid()} on {Owner.here(0).host}: another run has finished, or this process sees another store"
            )
        if owner.token != self.owner.token:
            raise OvertakenError(f"a newer run on {self.store} has taken over from this one: {owner}")

    @contextmanager
    def living(self) -> Iterator[None]:
        """Say in the end, however it comes, that this run does nothing any more."""
        LIVING.add(self.owner.token)
        try:
            yield
        finally:
            LIVING.discard(self.owner.token)
            with suppress(Exception):  # an error of the run matters more
                self._end()

    def _end(self) -> None:
        if not isinstance(self.store, StagedStore):
            self.sign(0.0)
            return
        scratch = self.store.root / self.scratch
        if any((scratch / name).exists() for name in ("zarr.json", ".zgroup")):
            shutil.rmtree(self.store.staging, ignore_errors=True)
        else:
            # nothing is unfinished
            self.finish()

    def sign_of_life(self) -> Signs:
        """Return what gives signs of life."""
        return Signs(self)

    def sign(self, when: float) -> None:
        """Record a sign of life of this time, in a store that is no folder."""
        (found,) = fetch(self.store, [(f"{self.scratch}/{RECORD}", None)])
        if isinstance(found, bytes | memoryview):
            put(self.store, [(f"{self.scratch}/{ALIVE}/{self.owner.token}", str(when).encode())])

    def finish(self) -> None:
        """Remove the scratch group: this run has succeeded.

        If a newer run has begun in the meantime, the scratch group is its own now.
        """
        if not isinstance(self.store, StagedStore):
            delete_dir(self.store, self.scratch)
            return
        scratch = self.store.root / self.scratch
        try:
            self.store.staging.rename(scratch / FINISHED)
        except OSError:
            return
        remove_scratch(scratch)


class Signs:
    """Signs of life of a run: its record has the time of the last one."""

    def __init__(self, run: Run):
        self.run = run
        self.last = time.monotonic()

    def __call__(self) -> None:
        """Give one, if the last one is some seconds old."""
        if time.monotonic() - self.last < SECONDS_BETWEEN_SIGNS:
            return
        self.last = time.monotonic()
        with suppress(Exception):  # the next block tells what is wrong
            if isinstance(self.run.store, StagedStore):
                os.utime(self.run.store.root / self.run.scratch / RECORD)
            else:
                self.run.sign(time.time())


def begin_run(store: Any, path: str, *, alone: bool, where: str) -> Run:
    """Begin a run on the group at a path of a store, or on what is to become one: any older run is overtaken.

    Parameters
    ----------
    store : zarr store
        If it is a folder, the run writes to it by way of its staging folder.
    path : str
        Of the group.
    alone : bool
        Whether the run would do harm if an older one was still writing.
    where : str
        The target, for messages.

    Raises
    ------
    TargetExistsError
        If the run has to be ``alone``, and the store has no way to stop another one that lives.
    OvertakenError
        If another run has begun at the same time.
    """
    if type(store) in (LocalStore, StagedStore):
        return _begin_in_folder(Path(os.path.abspath(store.root)), path)
    key = f"{path}/{SCRATCH}/{RECORD}".lstrip("/")
    (found,) = fetch(store, [(key, None)])
    before = Owner.read(found) if isinstance(found, bytes | memoryview) else None
    if before is not None and alone:
        _refuse_living(store, path, before, where)
    run = Run(store, path, Owner.here(before.number + 1 if before is not None else 1))
    put(store, [(key, run.owner.document())])
    return run


def _refuse_living(store: Any, path: str, owner: Owner, where: str) -> None:
    (found,) = fetch(store, [(f"{path}/{SCRATCH}/{ALIVE}/{owner.token}".lstrip("/"), None)])
    seen = float(bytes(found)) if isinstance(found, bytes | memoryview) else owner.begun
    silent = time.time() - seen
    # of this process it is known which runs have ended, though they could not say so any more
    ended = owner.token not in LIVING if owner.is_here else owner.is_dead
    if silent < SECONDS_OF_SILENCE and not ended:
        raise TargetExistsError(
            f"another run on {where} is at work: {owner}, {silent:.0f} s after its last sign of life; stop it, or wait "
            f"until it has given none for {SECONDS_OF_SILENCE:.0f} s"
        )


def _begin_in_folder(root: Path, path: str) -> Run:
    scratch = root / path / SCRATCH
    for waste in scratch.parent.glob(f"{SCRATCH}-*"):
        shutil.rmtree(waste, ignore_errors=True)
    while True:
        folder = scratch / STAGING
        try:
            folder.mkdir(parents=True, exist_ok=True)
            number = max(_numbers(folder), default=_last_number(scratch)) + 1
            staging = folder / str(number)
            staging.mkdir()
        except (FileExistsError, FileNotFoundError):
            continue  # another run was faster, or has just finished
        except OSError as error:
            raise ArgumentError(f"nothing can be written to the target {str(root / path)!r}: {error}") from error
        for older in sorted(_numbers(folder)):
            if older < number:
                with suppress(OSError):
                    (folder / str(older)).rename(staging / str(older))
        # one that has been finished could not be overtaken: it removes the scratch group, and so may this run
        if (scratch / FINISHED).exists():
            remove_scratch(scratch)
            continue
        if max(_numbers(folder), default=number) > number:
            raise overtaken(staging)
        run = Run(StagedStore(root, staging=staging), path, Owner.here(number))
        write_file(scratch / RECORD, run.owner.document(), staging)
        return run


def _numbers(folder: Path) -> list[int]:
    try:
        return [int(entry.name) for entry in folder.iterdir() if entry.name.isdigit()]
    except FileNotFoundError:
        return []  # a run that has finished has just removed it


def _last_number(scratch: Path) -> int:
    try:
        owner = Owner.read((scratch / RECORD).read_bytes())
    except OSError:
        return 0
    return 0 if owner is None else owner.number


def remove_scratch(scratch: Path) -> None:
    """Delete the scratch folder, in one step for all who look for it."""
    away = scratch.with_name(f"{SCRATCH}-{uuid4().hex}")
    with suppress(OSError):  # another run may do so at the same time
        scratch.rename(away)
    shutil.rmtree(away, ignore_errors=True)


def group_of(run: Run, zarr_format: Any) -> zarr.Group:
    """Return the group that a run writes to, created if it is not there."""
    return zarr.open_group(run.store, path=run.path, mode="a", zarr_format=zarr_format, use_consolidated=False)
