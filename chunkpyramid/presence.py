"""Absent is not empty: a chunk that is missing is the fill value only where its array is there."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import zarr

from chunkpyramid.errors import BuildError
from chunkpyramid.keys import fetch
from chunkpyramid.store import store_id

__all__ = ["Presence", "presences"]


@dataclass(frozen=True)
class Presence:
    """The metadata of an array that is read, as they were when the work was planned."""

    store: Any
    key: str
    name: str
    document: str

    @staticmethod
    def of(array: zarr.Array[Any]) -> Presence:
        """Return what tells later whether an array is there, and the same."""
        name = "zarr.json" if array.metadata.zarr_format == 3 else ".zarray"
        key = f"{array.path}/{name}".lstrip("/")
        (found,) = fetch(array.store, [(key, None)])
        # some arrays are known by consolidated metadata alone
        document = _canonical(found) if isinstance(found, bytes | memoryview) else ""
        return Presence(array.store, key, store_id(array), document)

    def check(self) -> None:
        """Raise `BuildError` unless this process sees the array, with the metadata that it had."""
        if not self.document:
            return
        (found,) = fetch(self.store, [(self.key, None)])
        here = f"process {os.getpid()} on {socket.gethostname()}"
        if isinstance(found, bytes | memoryview):
            if _canonical(found) == self.document:
                return
            raise BuildError(
                f"the array {self.name} is for {here} not the one that was planned with: its metadata {self.key!r} are "
                "others; it was written anew, or this process sees another place under the same name"
            )
        why = f" ({found})" if found is not None else ""
        raise BuildError(
            f"{here} does not see the array {self.name}: there is no {self.key!r}{why}, and its chunks would be taken "
            "for empty; it was removed, or this process sees another place: share the folder with all workers under "
            "one path, or give a URL that all of them reach"
        )


def presences(arrays: Iterable[zarr.Array[Any]]) -> tuple[Presence, ...]:
    """Return the presences of arrays, each of them once."""
    found = {presence.name: presence for presence in map(Presence.of, arrays)}
    return tuple(found.values())


def _canonical(document: bytes | memoryview) -> str:
    """Return metadata in one form, without the attributes, which say nothing of chunks."""
    try:
        told = json.loads(bytes(document))
    except ValueError:
        return bytes(document).decode(errors="replace")
    if isinstance(told, dict):
        told = {key: value for key, value in told.items() if key not in ("attributes", "consolidated_metadata")}
    return json.dumps(told, sort_keys=True)
