"""Records: the small results that blocks leave for a reduction, as arrays in the scratch group."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numcodecs
import numpy as np
import numpy.typing as npt

from chunkpyramid.boxes import Shape
from chunkpyramid.errors import ArgumentError, BuildError
from chunkpyramid.storage.keys import fetch, put

__all__ = ["ALONE", "Merger", "Record", "Records", "as_record", "record_bytes"]

Array = npt.NDArray[Any]

# An array, or several by name.
Record = Array | Mapping[str, Array]

CODEC = numcodecs.Zstd(level=1)

# of the names of arrays in a file
PREFIX = "record."

# how a lone array is called among several
ALONE = "record"


def as_record(made: Any) -> Record:
    """Return what a function has made of a piece as arrays.

    Raises
    ------
    ArgumentError
        If it is neither numbers nor a mapping of names to numbers.
    """
    if isinstance(made, Mapping):
        for name in made:
            if not isinstance(name, str) or not name.isidentifier():
                raise ArgumentError(
                    f"function and combine must name the arrays of a dict by identifiers, but {name!r} was given"
                )
        record = {name: np.asarray(values) for name, values in made.items()}
    else:
        record = {ALONE: np.asarray(made)}
    for name, values in record.items():
        if values.dtype.hasobject:
            raise ArgumentError(
                "function and combine must return numbers, an array or a dict of arrays, but returned "
                f"{type(made).__name__} ({name} has dtype {values.dtype})"
            )
    return record if isinstance(made, Mapping) else record[ALONE]


def record_bytes(record: Record) -> int:
    """Return the bytes of the arrays of a record."""
    return sum(array.nbytes for array in record.values()) if isinstance(record, Mapping) else record.nbytes


class Merger:
    """Combines records as they come, those of similar age first, so that none is copied more than log(n) times."""

    def __init__(self, combine: Callable[[Any, Any], Any]):
        self.combine = combine
        self.parts: list[tuple[int, Record]] = []

    @property
    def nbytes(self) -> int:
        return sum(record_bytes(record) for _, record in self.parts)

    def add(self, record: Record) -> None:
        """Take one more record."""
        count = 1
        while self.parts and self.parts[-1][0] <= count:
            before, earlier = self.parts.pop()
            record = as_record(self.combine(earlier, record))
            count += before
        self.parts.append((count, record))

    def result(self) -> Record | None:
        """Return all records as one, None if there were none; it is forgotten here."""
        whole: Record | None = None
        while self.parts:
            _, record = self.parts.pop()
            whole = record if whole is None else as_record(self.combine(record, whole))
        return whole


@dataclass(frozen=True)
class Records:
    """Where the records of a stage are: each block may leave several."""

    store: Any
    path: str
    stage: int

    def put(self, index: Shape, part: int, record: Record) -> None:
        """Store one of the records of a block."""
        arrays = record if isinstance(record, Mapping) else {ALONE: record}
        packed = io.BytesIO()
        # names that are no arguments of savez
        np.savez(packed, allow_pickle=False, **{f"{PREFIX}{name}": values for name, values in arrays.items()})
        put(self.store, [(self._key(index, part), bytes(CODEC.encode(packed.getvalue())))])

    def get(self, index: Shape, part: int, *, alone: bool) -> Record:
        """Return one of the records of a block, which was an array ``alone`` or several by name."""
        record = self.find(index, part, alone=alone)
        if record is None:
            raise BuildError(f"the record {self._key(index, part)} of a block that is done is not there")
        return record

    def find(self, index: Shape, part: int, *, alone: bool) -> Record | None:
        """Return one of the records of a block, as `get` does, or None if it has left none."""
        key = self._key(index, part)
        (found,) = fetch(self.store, [(key, None)])
        if found is None:
            return None
        if isinstance(found, Exception):
            raise BuildError(f"the record {key} of a block that is done cannot be read: {found}")
        with np.load(io.BytesIO(CODEC.decode(bytes(found))), allow_pickle=False) as arrays:
            record = {name.removeprefix(PREFIX): values for name, values in arrays.items()}
        return record[ALONE] if alone else record

    def _key(self, index: Shape, part: int) -> str:
        return f"{self.path}/records/{self.stage}/{'.'.join(map(str, index))}/{part}".lstrip("/")
