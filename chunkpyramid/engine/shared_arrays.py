"""Arrays that all tasks need: those of a process share one copy, and none travels with a task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from uuid import uuid4
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.errors import BuildError
from chunkpyramid.storage.keys import Encoded, fetch, put
from chunkpyramid.storage.locations import is_in_memory

__all__ = ["SharedArrays"]

# Up to so many bytes they do travel with the tasks, which takes less time than to look for them.
MOST_IN_A_TASK = 2**14

# so many are stored under one key
PART_BYTES = 8 * 2**20

# the key of what the arrays are
CONTENTS = "contents"


@dataclass(frozen=True)
class Place:
    """Where arrays are stored: in a folder of a store; ``token`` tells them from others that were there before."""

    store: Any
    path: str
    token: str

    def save(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        for name, values in arrays.items():
            data = np.ascontiguousarray(values).view(np.uint8)
            for part, start in enumerate(range(0, len(data), PART_BYTES)):
                put(self.store, [(f"{self.path}/{name}/{part}", data[start : start + PART_BYTES].data)])
        told = {name: [values.dtype.str, len(values)] for name, values in arrays.items()}
        put(self.store, [(f"{self.path}/{CONTENTS}", json.dumps(told).encode())])

    def load(self) -> dict[str, npt.NDArray[Any]]:
        arrays = {}
        for name, (dtype, size) in json.loads(bytes(self._fetch(CONTENTS))).items():
            values = np.empty(size, dtype)
            data = values.view(np.uint8)
            start = part = 0
            while start < len(data):
                found = np.frombuffer(self._fetch(f"{name}/{part}"), np.uint8)
                data[start : start + len(found)] = found
                start, part = start + len(found), part + 1
            arrays[name] = values
        return arrays

    def _fetch(self, name: str) -> Encoded:
        (found,) = fetch(self.store, [(f"{self.path}/{name}", None)])
        if found is None or isinstance(found, Exception):
            raise BuildError(f"what all tasks need is not to be read from {self.path}/{name}: {found}")
        return found


class SharedArrays:
    """One-dimensional arrays by name. Once they are `stored`, only where they are is sent to other processes.

    Attributes
    ----------
    arrays : dict of ndarray
    nbytes : int
    """

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]], place: Place | None = None):
        self.arrays = dict(arrays)
        self.place = place

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.arrays[name]

    @property
    def nbytes(self) -> int:
        return sum(values.nbytes for values in self.arrays.values())

    def stored(self, scratch: zarr.Group, name: str) -> SharedArrays:
        """Return the same arrays, stored under this name in the scratch group if they are large."""
        if self.nbytes <= MOST_IN_A_TASK or is_in_memory(scratch.store):
            return self
        return SharedArrays(self.arrays, self.save(scratch, name))

    def save(self, scratch: zarr.Group, name: str) -> Place:
        """Store the arrays under this name in the scratch group."""
        place = Place(scratch.store, f"{scratch.path}/{name}", uuid4().hex)
        place.save(self.arrays)
        return place

    @staticmethod
    def load(scratch: zarr.Group, name: str) -> SharedArrays:
        """Return the arrays that were stored under a name."""
        return SharedArrays(Place(scratch.store, f"{scratch.path}/{name}", "").load())

    def __reduce__(self) -> Any:
        return (SharedArrays, (self.arrays,)) if self.place is None else (_loaded, (self.place,))


@dataclass
class Copies:
    """The copies of this process: of the arrays that tasks have, and of those which were asked for last."""

    lock: Lock = field(default_factory=Lock)
    by_token: WeakValueDictionary[str, SharedArrays] = field(default_factory=WeakValueDictionary)
    last: SharedArrays | None = None


# a cache and nothing else: without it every task would read the arrays again
COPIES = Copies()


def _loaded(place: Place) -> SharedArrays:
    """Return the arrays that are stored at a place, read once in a process."""
    with COPIES.lock:
        known = COPIES.by_token.get(place.token)
        if known is None:
            # the one before goes first, unless tasks have it
            COPIES.last = None
            known = COPIES.by_token[place.token] = SharedArrays(place.load(), place)
        COPIES.last = known
        return known
