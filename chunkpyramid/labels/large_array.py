"""Arrays that may be larger than what a process may have in memory."""

from __future__ import annotations

import mmap
import tempfile

import numpy as np
import numpy.typing as npt

__all__ = ["LargeArray"]


class LargeArray:
    """Zeros: in memory if they are no more than ``most_bytes``, else in a temporary file that is mapped.

    Examples
    --------
    >>> array = LargeArray(3, most_bytes=0)
    >>> array.values[1] = 7
    >>> array.give_back()
    >>> array.values.tolist()
    [0, 7, 0]
    """

    def __init__(self, size: int, *, most_bytes: int):
        self._mapped: mmap.mmap | None = None
        self.values: npt.NDArray[np.int64] = np.zeros(0 if 8 * size > most_bytes else size, np.int64)
        if len(self.values) < size:
            with tempfile.TemporaryFile(prefix="chunkpyramid-") as file:
                file.truncate(8 * size)
                self._mapped = mmap.mmap(file.fileno(), 8 * size)
            self.values = np.frombuffer(self._mapped, np.int64)

    def give_back(self) -> None:
        """Take what is mapped out of the memory of this process, where the system can: it stays in the file."""
        if self._mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)
