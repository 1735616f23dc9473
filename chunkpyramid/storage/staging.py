"""Writing to folders so that a newer run can end all writing of an older one, at once and for good.

Each run has a folder of its own, its staging folder, on the same file system as the target. A file is written there,
and moved to its key when it is whole; what is deleted is moved there first. Moving is one step of the file system,
and it needs the staging folder: when a newer run has moved that away, nothing that the older one still has in hand
can reach the target any more, whatever it was about to do and however long it slept.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

from zarr.abc.buffer import Buffer
from zarr.storage import LocalStore

from chunkpyramid.errors import OvertakenError
from chunkpyramid.storage.owner import Owner

__all__ = ["RECORD", "SCRATCH", "STAGING", "TORN", "StagedStore", "overtaken", "write_file"]

# the group beside the levels that is there as long as a build is unfinished, and what is in it of the runs
SCRATCH, STAGING, RECORD = ".chunkpyramid", "staging", "run"

# how the names of files end that are being written, as zarr's own
TORN = ".partial"


class StagedStore(LocalStore):
    """A folder in which one run writes and deletes by way of its staging folder."""

    def __init__(self, root: Path | str, *, staging: Path, read_only: bool = False):
        super().__init__(root, read_only=read_only)
        self.staging = staging

    def with_read_only(self, read_only: bool = False) -> StagedStore:
        return StagedStore(self.root, staging=self.staging, read_only=read_only)

    def put(self, key: str, data: Any) -> None:
        """Store bytes under a key."""
        write_file(self.root / key, data, self.staging)

    def remove(self, path: str) -> None:
        """Delete a key, or a folder with all that is in it, if it is there."""
        move_away(self.root / path, self.staging)

    async def set(self, key: str, value: Buffer) -> None:
        await asyncio.to_thread(self.set_sync, key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        self._check_writable()
        self.put(key, value.as_buffer_like())

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        if not await self.exists(key):
            await self.set(key, value)

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(self.delete_sync, key)

    def delete_sync(self, key: str) -> None:
        self._check_writable()
        self.remove(key)

    async def delete_dir(self, prefix: str) -> None:
        await self.delete(prefix)


def write_file(path: Path, data: Any, staging: Path | None = None) -> None:
    """Write a file under another name first, so that it is never seen half-written.

    Raises
    ------
    OvertakenError
        If a newer run has taken the staging folder away.
    """
    name = f"{uuid4().hex}{TORN}"
    torn = path.with_name(f"{path.name}.{name}") if staging is None else staging / name
    try:
        try:
            file = torn.open("xb", buffering=0)
        except FileNotFoundError:
            if staging is not None:
                raise overtaken(staging) from None
            path.parent.mkdir(parents=True, exist_ok=True)
            file = torn.open("xb", buffering=0)
        with file:
            rest = memoryview(data).cast("B")
            while rest:
                rest = rest[file.write(rest) :]
        try:
            torn.replace(path)
        except FileNotFoundError:
            if staging is not None and not torn.exists():
                raise overtaken(staging) from None
            path.parent.mkdir(parents=True, exist_ok=True)
            _replace(torn, path, staging)
    except BaseException:
        torn.unlink(missing_ok=True)
        raise


def _replace(torn: Path, path: Path, staging: Path | None) -> None:
    try:
        torn.replace(path)
    except FileNotFoundError:
        if staging is not None and not torn.exists():
            raise overtaken(staging) from None
        raise


def move_away(path: Path, staging: Path) -> None:
    """Delete a file or folder, if it is there, by moving it to the staging folder first."""
    away = staging / uuid4().hex
    try:
        path.rename(away)
    except (FileNotFoundError, NotADirectoryError):
        if not staging.is_dir():
            raise overtaken(staging) from None
        return
    if away.is_dir() and not away.is_symlink():
        shutil.rmtree(away, ignore_errors=True)
    else:
        away.unlink(missing_ok=True)


def overtaken(staging: Path) -> OvertakenError:
    """Return the error of a run whose staging folder is gone: it names the run that took it."""
    scratch = staging.parents[1]
    try:
        owner = Owner.read((scratch / RECORD).read_bytes())
    except OSError:
        owner = None
    if owner is None:
        return OvertakenError(
            f"another run on {scratch.parent} has taken over from this one and has ended, or {scratch} was removed"
        )
    return OvertakenError(f"a newer run on {scratch.parent} has taken over from this one: {owner}")
