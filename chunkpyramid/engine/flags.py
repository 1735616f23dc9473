"""Which blocks of a grid are begun and done, as keys of a store that any process can set."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from chunkpyramid.boxes import Box, Shape, divide, windows
from chunkpyramid.engine.process_memory import MOST_TASKS_IN_A_GRAPH
from chunkpyramid.errors import BuildError
from chunkpyramid.storage.keys import fetch, names, put

__all__ = ["BlockSet", "Flags"]

# so many records are read at once
AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class BlockSet:
    """Some of the blocks of a window, one bit each: every task that is sent to another process takes it along.

    Examples
    --------
    >>> blocks = BlockSet.of(np.array([[True, False], [False, False]]))
    >>> (0, 0) in blocks, (1, 0) in blocks
    (True, False)
    """

    shape: Shape
    bits: bytes

    @staticmethod
    def of(mask: npt.NDArray[np.bool_]) -> BlockSet:
        """Return the set of the blocks that are True in the mask."""
        return BlockSet(mask.shape, np.packbits(mask).tobytes())

    def __contains__(self, index: Sequence[int]) -> bool:
        at = int(np.ravel_multi_index(tuple(index), self.shape))
        return bool(self.bits[at // 8] & 128 >> at % 8)


@dataclass(frozen=True)
class Flags:
    """The flags of the blocks of one stage: a task sets *begun* before it writes anything, and *done* last.

    A flag is set if its key exists, and the keys of a window are in a folder of their own: one listing tells them.
    So reading flags takes no memory but for a window, and setting one is one request that touches no other flag.
    Blocks that are begun and not done may have written some of their write units. What is stored under the key has the
    number of the ``run`` that set it, and with "done" the record of the block, if it leaves any.
    """

    store: Any
    path: str
    stage: int
    grid: Shape
    run: int = 0
    most: int = MOST_TASKS_IN_A_GRAPH

    def windows(self) -> Iterator[Box]:
        """Yield the windows of the grid, whose blocks run together and whose flags are read together."""
        return windows(self.grid, self.most)

    def begin(self, index: Shape) -> None:
        """Set the begun flag of a block."""
        self._set("begun", index)

    def finish(self, index: Shape, record: Any = None) -> None:
        """Set the done flag of a block, with a record of it that JSON can hold."""
        self._set("done", index, record)

    def records(self) -> Iterator[Any]:
        """Yield the records of all blocks that are done and have left one."""
        for window in self.windows():
            folder = self._folder("done", window.start)
            keys = [f"{folder}/{name}" for name in sorted(names(self.store, folder))]
            for start in range(0, len(keys), AT_ONCE):
                for key, found in zip(
                    keys[start : start + AT_ONCE],
                    fetch(self.store, [(key, None) for key in keys[start : start + AT_ONCE]]),
                    strict=True,
                ):
                    if found is None or isinstance(found, Exception):
                        raise BuildError(f"the record {key} of a block that is done cannot be read: {found}")
                    record = json.loads(bytes(found)).get("record")
                    if record is not None:
                        yield record

    def is_begun(self, index: Shape) -> bool:
        """Whether a block has been begun, as it is known now."""
        (found,) = fetch(self.store, [(f"{self._folder('begun', index)}/{_name(index)}", None)])
        return found is not None

    def begun(self, window: Box) -> npt.NDArray[np.bool_]:
        """Return which blocks of a window of the grid have been begun, be they done or not."""
        return self._get("begun", window)

    def done(self, window: Box) -> npt.NDArray[np.bool_]:
        """Return which blocks of a window of the grid are done."""
        return self._get("done", window)

    def _set(self, kind: str, index: Shape, record: Any = None) -> None:
        told = {"run": self.run} if record is None else {"run": self.run, "record": record}
        put(self.store, [(f"{self._folder(kind, index)}/{_name(index)}", json.dumps(told).encode())])

    def _get(self, kind: str, window: Box) -> npt.NDArray[np.bool_]:
        there = names(self.store, self._folder(kind, window.start))
        blocks = itertools.product(*map(range, window.start, window.stop))
        return np.fromiter((_name(index) in there for index in blocks), np.bool_, window.size).reshape(window.shape)

    def _folder(self, kind: str, index: Shape) -> str:
        window = divide(index, self._window)
        return f"{self.path}/{kind}/{self.stage}/{_name(window)}"

    @cached_property
    def _window(self) -> Shape:
        return next(self.windows()).shape


def _name(index: Sequence[int]) -> str:
    return ".".join(map(str, index))
