"""Absent is not empty: a chunk that is missing is the fill value only where its array is there."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import zarr

from chunkpyramid.errors import ArgumentError, BuildError, SourceNotFoundError
from chunkpyramid.storage.codec import as_json
from chunkpyramid.storage.keys import fetch
from chunkpyramid.storage.locations import store_id
from chunkpyramid.storage.nodes import as_stored

__all__ = ["Presence", "metadata_digest", "presences"]


@dataclass(frozen=True)
class Presence:
    """The metadata of an array that is read, as they were when the work was planned.

    There is no ``document`` of an array that only the consolidated metadata of a group above it tell of.
    """

    store: Any
    key: str
    name: str
    document: str

    @staticmethod
    def of(array: zarr.Array[Any]) -> Presence:
        """Return what tells later whether an array is there, and the same.

        Raises
        ------
        SourceNotFoundError
            If it is not there now.
        ArgumentError
            If it is another one now than when it was opened.
        """
        name = "zarr.json" if array.metadata.zarr_format == 3 else ".zarray"
        key = f"{array.path}/{name}".lstrip("/")
        (found,) = fetch(array.store, [(key, None)])
        if isinstance(found, bytes | memoryview):
            if _described(as_stored(array)) != _described(array):
                raise ArgumentError(
                    f"the array {store_id(array)} is not what it was when it was opened: it has been made anew, or has "
                    "grown; open it again"
                )
            return Presence(array.store, key, store_id(array), _canonical(found))
        if found is not None or not _is_consolidated_alone(array):
            raise SourceNotFoundError(
                f"the array {store_id(array)} is not there: it was opened, but there is no {key!r} any more"
                + (f" ({found})" if found is not None else "")
            )
        return Presence(array.store, key, store_id(array), "")

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


def _described(array: zarr.Array[Any]) -> str:
    described = {key: value for key, value in array.metadata.to_dict().items() if key != "attributes"}
    # NaN are not equal but as text
    return json.dumps(as_json(described), sort_keys=True)


def _is_consolidated_alone(array: zarr.Array[Any]) -> bool:
    """Whether an array without metadata of its own is told of by those of a group above it."""
    group, _, name = array.path.rpartition("/")
    while name:
        wanted = {3: f"{group}/zarr.json", 2: f"{group}/.zmetadata"}[array.metadata.zarr_format].lstrip("/")
        (found,) = fetch(array.store, [(wanted, None)])
        if isinstance(found, bytes | memoryview) and _tells_of(json.loads(bytes(found)), name):
            return True
        group, _, last = group.rpartition("/")
        name = f"{last}/{name}" if last else ""
    return False


def _tells_of(document: Any, name: str) -> bool:
    """Whether consolidated metadata have an array of this name."""
    within = document.get("consolidated_metadata") or document
    return name in within.get("metadata", {}) or f"{name}/.zarray" in within.get("metadata", {})


def _canonical(document: bytes | memoryview) -> str:
    """Return metadata in one form, without the attributes, which say nothing of chunks."""
    try:
        told = json.loads(bytes(document))
    except ValueError:
        return bytes(document).decode(errors="replace")
    if isinstance(told, dict):
        told = {key: value for key, value in told.items() if key not in ("attributes", "consolidated_metadata")}
    return json.dumps(told, sort_keys=True)


def metadata_digest(arrays: Iterable[Presence]) -> str:
    """Return what tells the metadata of arrays that are read from others."""
    documents = json.dumps(sorted((array.name, array.document) for array in arrays))
    return hashlib.sha256(documents.encode()).hexdigest()
