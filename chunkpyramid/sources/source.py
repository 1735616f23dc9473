"""A source: what plans and tasks have to know of it, of whatever kind it is."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.boxes import Shape
from chunkpyramid.digests import digest_of
from chunkpyramid.internals import zarr_arrays_in
from chunkpyramid.metadata.coordinates import Coordinates
from chunkpyramid.metadata.ome import Multiscale
from chunkpyramid.storage.locations import store_id

__all__ = ["Image", "Source"]


@dataclass(frozen=True)
class Image:
    """The OME-Zarr image that an array is a level of: its group, the multiscale, and which of its levels."""

    group: zarr.Group
    multiscale: Multiscale
    level: int

    @property
    def coordinates(self) -> Coordinates:
        return self.multiscale.coordinates[self.level]


@dataclass(frozen=True)
class Source:
    """A source: its array (zarr, dask or NumPy) and what is known of it.

    ``in_memory`` is the array if it is NumPy's; ``variables`` holds the coordinate
    variables of a DataArray by name; ``missing`` is the value that it declares to stand for missing voxels.
    ``image`` is the OME-Zarr image that a zarr array belongs to, and ``order`` the axes of what was given in the order
    of those of ``array``, if that is another. ``hints`` are advice to print with the plan.
    """

    array: Any
    coordinates: Coordinates
    in_memory: npt.NDArray[Any] | None = None
    name: str | None = None
    is_labels: bool = False
    kept: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    missing: Any = None
    image: Image | None = None
    order: Shape | None = None
    hints: tuple[str, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_zarr(self) -> bool:
        return isinstance(self.array, zarr.Array)

    def identity(self) -> str:
        """Return what tells the source from others in the fingerprint of a build; NumPy arrays are read for it."""
        if self.is_zarr:
            return store_id(self.array)
        if self.in_memory is not None:
            return f"numpy {digest_of(self.in_memory)}"
        return f"dask {self.array.name}"

    def zarr_arrays(self) -> list[zarr.Array[Any]]:
        """Return the zarr arrays that are read, also those that a dask graph reads."""
        if self.is_zarr:
            return [self.array]
        if self.in_memory is not None:
            return []
        return zarr_arrays_in(self.array.dask)

    @property
    def uncounted_bytes(self) -> int:
        """The bytes of a source in the memory of this process, which no memory limit counts."""
        return 0 if self.in_memory is None else int(self.in_memory.nbytes)

    @property
    def mapped_file(self) -> str | None:
        """The file that a NumPy source, or the array that it is a view of, is mapped from."""
        array: Any = self.in_memory
        while array is not None:
            if isinstance(array, np.memmap) and array.filename is not None:
                return os.fspath(array.filename)
            array = getattr(array, "base", None)
        return None

    @property
    def shape(self) -> Shape:
        return tuple(map(int, self.array.shape))

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(self.array.dtype)
        return dtype

    @property
    def read_chunks(self) -> Shape | None:
        """Chunks of a zarr source; None for a source of in-memory blocks."""
        return tuple(map(int, self.array.chunks)) if self.is_zarr else None

    @property
    def read_shards(self) -> Shape | None:
        """Shards of a zarr source that has them."""
        return tuple(map(int, self.array.shards)) if self.is_zarr and self.array.shards else None

    @property
    def lazy_chunks(self) -> Shape | None:
        """The largest chunk of a dask array that is not in memory."""
        if self.is_zarr or self.in_memory is not None:
            return None
        return tuple(map(max, self.array.chunks))

    @property
    def fill_value(self) -> Any:
        return self.array.fill_value if self.is_zarr else None
