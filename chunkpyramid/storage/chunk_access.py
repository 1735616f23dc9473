"""What memory it takes to read and write the chunks of an array, beside the voxels themselves."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CHUNKS_IN_FLIGHT", "RETAINED_COPIES", "ChunkAccess", "most_encoded"]

MIB = 2**20

# Stores that answer late are asked for this many chunks at a time.
CHUNKS_IN_FLIGHT = 10

# The C library's allocator keeps freed memory of about this many chunks for each task: it has an arena per thread.
RETAINED_COPIES = 1

# Larger ones are mapped one by one and given back at once (glibc's greatest M_MMAP_THRESHOLD).
LARGEST_RETAINED = 32 * MIB


@dataclass(frozen=True, slots=True)
class ChunkAccess:
    """What it takes to read or write chunks: how many encoded ones at once, and copies while one is coded."""

    at_once: int = 1
    copies: int = 0

    @property
    def copies_to_write(self) -> int:
        """How often the store copies what it is given: not at all, if it is a folder."""
        return 0 if self.at_once == 1 else 1

    def bytes_in_use(self, chunk_bytes: int, chunks: int, *, is_cut_out: bool) -> int:
        """Return the bytes that it takes to code so many chunks, beside the voxels themselves.

        A chunk that ``is_cut_out`` of a larger array is copied for its codec.
        """
        encoded = min(self.at_once, chunks) * (1 + self.copies_to_write) * most_encoded(chunk_bytes)
        retained = RETAINED_COPIES if chunk_bytes < LARGEST_RETAINED else 0
        return encoded + (self.copies + is_cut_out + retained) * chunk_bytes


def most_encoded(nbytes: int) -> int:
    """Return how many bytes a chunk takes at most when it is encoded: codecs add little to what does not compress."""
    return nbytes + nbytes // 64 + 1024
