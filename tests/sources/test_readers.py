"""Every kind of source that there is, through the suite that all of them have to pass."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from helpers.reader_suite import AXES, ReaderSuite
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

DAMAGED = b"these are no voxels"


def first_part(part: Shape) -> tuple[slice, ...]:
    return tuple(slice(0, length) for length in part)


class TestZarr3(ReaderSuite):
    options: ClassVar[dict[str, Any]] = {"zarr_format": 3}
    first_key: ClassVar[str] = "c/0/0/0"

    def make(self, folder: Path, values: Array, chunks: Shape) -> Any:
        zarr.create_array(folder / "volume.zarr", data=values, chunks=chunks, **self.options)
        return folder / "volume.zarr"

    def again(self, source: Any) -> Any:
        return zarr.open_array(source, mode="r")

    def remove(self, source: Any) -> tuple[slice, ...] | None:
        array = zarr.open_array(source, mode="r")
        (source / self.first_key).unlink()
        return first_part(array.shards or array.chunks)

    def damage(self, source: Any) -> str | None:
        (source / self.first_key).write_bytes(DAMAGED)
        return "chunk (0, 0, 0)"


class TestZarr2(TestZarr3):
    options: ClassVar[dict[str, Any]] = {"zarr_format": 2, "order": "F"}
    first_key: ClassVar[str] = "0.0.0"


class TestShardedZarr(TestZarr3):
    def make(self, folder: Path, values: Array, chunks: Shape) -> Any:
        shards = tuple(2 * length for length in chunks)
        zarr.create_array(folder / "volume.zarr", data=values, chunks=chunks, shards=shards)
        return folder / "volume.zarr"


class TestZarrInZipFile(ReaderSuite):
    def make(self, folder: Path, values: Array, chunks: Shape) -> Any:
        zarr.create_array(folder / "volume.zarr", data=values, chunks=chunks)
        packed = Path(shutil.make_archive(str(folder / "volume.zarr"), "zip", folder / "volume.zarr"))
        shutil.rmtree(folder / "volume.zarr")
        return packed

    def again(self, source: Any) -> Any:
        return str(source)

    def remove(self, source: Any) -> tuple[slice, ...] | None:
        self.replace_chunk(source, None)
        return first_part(zarr.open_array(zarr.storage.ZipStore(source, mode="r"), mode="r").chunks)

    def damage(self, source: Any) -> str | None:
        self.replace_chunk(source, DAMAGED)
        return "chunk (0, 0, 0)"

    def replace_chunk(self, source: Path, data: bytes | None) -> None:
        before = source.rename(source.with_suffix(".before"))
        with zipfile.ZipFile(before) as old, zipfile.ZipFile(source, "w") as new:
            for name in old.namelist():
                if name != "c/0/0/0":
                    new.writestr(name, old.read(name))
                elif data is not None:
                    new.writestr(name, data)


class TestOmeZarrImage(TestZarr3):
    first_key: ClassVar[str] = "full/c/0/0/0"

    def make(self, folder: Path, values: Array, chunks: Shape) -> Any:
        names = AXES[-values.ndim :]
        types = {"t": "time", "c": "channel"}
        scale = {"type": "scale", "scale": [3.0] * values.ndim}
        multiscale = {
            "axes": [{"name": name, "type": types.get(name, "space")} for name in names],
            "datasets": [{"path": "full", "coordinateTransformations": [scale]}],
        }
        group = zarr.create_group(
            folder / "image.zarr", attributes={"ome": {"version": "0.5", "multiscales": [multiscale]}}
        )
        group.create_array("full", data=values, chunks=chunks, dimension_names=tuple(names))
        return folder / "image.zarr"

    def again(self, source: Any) -> Any:
        return zarr.open_group(source, mode="r")

    def remove(self, source: Any) -> tuple[slice, ...] | None:
        (source / self.first_key).unlink()
        return first_part(zarr.open_array(source / "full", mode="r").chunks)


class TestZarrInMemory(ReaderSuite):
    def make(self, folder: Path, values: Array, chunks: Shape) -> Any:
        return zarr.create_array(MemoryStore(), data=values, chunks=chunks)

    def again(self, source: Any) -> Any:
        return source.store

    def remove(self, source: Any) -> tuple[slice, ...] | None:
        sync(source.store.delete("c/0/0/0"))
        return first_part(source.chunks)

    def damage(self, source: Any) -> str | None:
        sync(source.store.set("c/0/0/0", default_buffer_prototype().buffer.from_bytes(DAMAGED)))
        return "chunk (0, 0, 0)"


def irregular(size: int, chunk: int) -> Shape:
    """Return the lengths of chunks along an axis: first one voxel alone, then what is asked for."""
    rest = size - 1
    return tuple(length for length in (1, *[chunk] * (rest // chunk), rest % chunk) if length)


class TestDask(ReaderSuite):
    known_by: ClassVar[Literal["place", "values"]] = "values"

    def make(self, folder: Path, values: Array, chunks: Shape) -> Any:
        return da.from_array(values, chunks=tuple(map(irregular, values.shape, chunks)))

    def chunks_of(self, shape: Shape, chunks: Shape) -> Shape:
        return tuple(max(irregular(size, chunk)) for size, chunk in zip(shape, chunks, strict=True))


class TestDaskOfZarr(ReaderSuite):
    def make(self, folder: Path, values: Array, chunks: Shape) -> Any:
        zarr.create_array(folder / "volume.zarr", data=values, chunks=chunks)
        self.path = folder / "volume.zarr"
        return da.from_zarr(self.path)

    def again(self, source: Any) -> Any:
        return da.from_zarr(self.path)

    def chunks_of(self, shape: Shape, chunks: Shape) -> Shape:
        return tuple(map(min, shape, chunks))


class TestNumpy(ReaderSuite):
    known_by: ClassVar[Literal["place", "values"]] = "values"
    arranged: ClassVar[Callable[[Array], Array]] = staticmethod(np.ascontiguousarray)

    def make(self, folder: Path, values: Array, chunks: Shape) -> Any:
        return type(self).arranged(values)

    def again(self, source: Any) -> Any:
        return source.copy(order="K")

    def chunks_of(self, shape: Shape, chunks: Shape) -> Shape:
        return shape


class TestNumpyInFortranOrder(TestNumpy):
    arranged: ClassVar[Callable[[Array], Array]] = staticmethod(np.asfortranarray)


class TestMemoryMappedFile(TestNumpy):
    def make(self, folder: Path, values: Array, chunks: Shape) -> Any:
        np.save(folder / "volume.npy", values)
        return np.load(folder / "volume.npy", mmap_mode="r+")

    def again(self, source: Any) -> Any:
        return np.load(source.filename, mmap_mode="r")


class TestDataArrayOfNumpy(TestNumpy):
    # it is all in one chunk
    is_divisible: ClassVar[bool] = False

    def make(self, folder: Path, values: Array, chunks: Shape) -> Any:
        return xr.DataArray(values, dims=tuple(AXES[-values.ndim :]))

    def again(self, source: Any) -> Any:
        return source.copy(deep=True)


class TestDataArrayOfDask(TestDask):
    def make(self, folder: Path, values: Array, chunks: Shape) -> Any:
        return xr.DataArray(super().make(folder, values, chunks), dims=tuple(AXES[-values.ndim :]))
