"""The promise of a plan against the peak of a process that runs it, on voxels that do not compress.

Limits are near the least possible, where a plan has least to spare.

Every case is a process of its own, with real files, that tells its peak resident size in the end.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import zarr

from chunkpyramid.boxes import Box, tile
from chunkpyramid.engine.process_memory import peak_memory
from chunkpyramid.sources.phantom import phantom_labels

pytestmark = pytest.mark.skipif(peak_memory() is None, reason="the system does not tell the peak of a process")

MIB = 2**20
Shape = tuple[int, ...]

# what the child runs: a build, at the end of which it tells its peak and what was promised
CHILD = """
import json, sys
source, target, kind, threads, options = json.loads(sys.argv[1])
import dask
import dask.array as da
import chunkpyramid as cp
from chunkpyramid.engine.process_memory import peak_memory

for name in ("factor", "chunks"):
    if isinstance(options.get(name), list):
        is_shape = isinstance(options[name][0], int)
        options[name] = tuple(options[name]) if is_shape else [tuple(entry) for entry in options[name]]
with dask.config.set(scheduler="threads", num_workers=threads):
    plan = cp.build_pyramid(da.from_zarr(source) if kind == "dask" else source, target, **options).plan
print(json.dumps([peak_memory(), plan.peak_bytes]))
"""


@dataclass(frozen=True)
class Source:
    """What is built from: noise of any dtype, or the labels of the phantom."""

    dtype: str
    shape: Shape
    chunks: Shape
    shards: Shape | None = None
    zarr_format: int = 3
    kind: str = "zarr"
    is_phantom: bool = False
    codecs: str = "auto"

    def write(self, path: Path) -> None:
        """Write the voxels a row of write units at a time, so that this process stays small."""
        options: dict[str, Any] = {}
        if self.codecs == "checksum":
            options["compressors"] = [zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec()]
        elif self.codecs == "raw":
            options["compressors"] = None
        array = zarr.create_array(
            path, shape=self.shape, chunks=self.chunks, shards=self.shards, dtype=self.dtype,
            zarr_format=self.zarr_format, **options,
        )  # fmt: skip
        rng = np.random.default_rng(0)
        for box in tile(Box((0,) * len(self.shape), self.shape), self.shards or self.chunks):
            part = box.clip(self.shape)
            if self.is_phantom:
                array[part.slices] = phantom_labels(part.start, part.shape)
            elif np.dtype(self.dtype).kind == "f":
                array[part.slices] = rng.random(part.shape, np.float32)
            else:
                array[part.slices] = rng.integers(0, np.iinfo(self.dtype).max, part.shape, self.dtype, endpoint=True)


@dataclass(frozen=True)
class Case:
    """A build, and how far its limit is above the least."""

    source: Source
    threads: int = 2
    room: int = 1
    options: dict[str, Any] = field(default_factory=dict)


def cube(side: int, *, ndim: int = 3) -> Shape:
    return (side,) * ndim


U8 = Source("uint8", cube(512), cube(128))
U8_64 = Source("uint8", cube(512), cube(64))
U8_32 = Source("uint8", (256, 512, 512), cube(32))
U8_SHARDS = Source("uint8", cube(512), cube(64), cube(256))
U8_SLICES = Source("uint8", (40, 2000, 2000), (1, 2000, 2000))
U8_LARGE = Source("uint8", cube(512), (256, 512, 512))
U16 = Source("uint16", (401, 397, 403), cube(64), zarr_format=2)
U16_5D = Source("uint16", (2, 2, 64, 512, 512), (1, 1, 32, 128, 128))
U32 = Source("uint32", (301, 333, 350), cube(100))
U64 = Source("uint64", cube(256), cube(64))
U64_128 = Source("uint64", cube(384), cube(128))
U64_SHARDS = Source("uint64", cube(256), cube(32), cube(128))
F32 = Source("float32", (321, 322, 323), cube(80))
PHANTOM = Source("uint64", cube(256), cube(64), is_phantom=True)
U64_LARGE = Source("uint64", cube(400), cube(200))
DASK_U8 = Source("uint8", cube(512), cube(128), kind="dask")
DASK_U64 = Source("uint64", cube(256), cube(64), kind="dask")
DASK_SLICES = Source("uint8", (40, 2000, 2000), (1, 2000, 2000), kind="dask")
DASK_U32 = Source("uint32", (301, 333, 350), cube(100), kind="dask")
CHECKSUM = Source("uint16", (256, 512, 512), cube(128), codecs="checksum")
RAW = Source("uint16", (256, 512, 512), cube(128), codecs="raw")


def mean(**options: Any) -> dict[str, Any]:
    return {"method": "mean", "levels": 4, **options}


def mode(**options: Any) -> dict[str, Any]:
    return {"method": "mode", "levels": 4, **options}


QUICK = {
    "u8, one thread": Case(U8, threads=1, options=mean()),
    "u8, 32^3": Case(U8_32, options=mean()),
    "u8, slices": Case(U8_SLICES, options=mean()),
    "u8, shards to shards": Case(U8_SHARDS, options=mean(shards=256)),
    "u8, larger shards than pieces": Case(U8_64, options=mean(shards=256)),
    "u16, 5-D": Case(U16_5D, options=mean(chunks=(1, 1, 32, 128, 128))),
    "u64, anisotropic": Case(U64, options=mode(factor=[(1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2)])),
    "u64, small shards": Case(U64_SHARDS, options=mode(shards=128)),
    "f32": Case(F32, options=mean()),
    "exact modes": Case(PHANTOM, options=mode(method="exact_mode")),
    "dask, u64": Case(DASK_U64, threads=1, options=mode()),
}

SLOW = {
    "u8, four threads": Case(U8, threads=4, room=80, options=mean()),
    "u8, chunks of 64 MiB": Case(U8_LARGE, options=mean()),
    "u16, v2": Case(U16, options=mean(zarr_format=2)),
    "u32, other chunks": Case(U32, options=mode(chunks=64)),
    "u64, one thread": Case(U64, threads=1, options=mode()),
    "u64, means": Case(U64, options=mean()),
    "f32, sparse": Case(F32, options=mean(sparse=True)),
    "other codecs": Case(CHECKSUM, options=mean()),
    "u8": Case(U8, options=mean()),
    "u8, roomy": Case(U8, room=300, options=mean()),
    "u8, four threads, tight": Case(U8, threads=4, options=mean()),
    "u8, 64^3": Case(U8_64, options=mean()),
    "u8, 64^3, four threads": Case(U8_64, threads=4, room=80, options=mean()),
    "u8, 64^3, sparse": Case(U8_64, options=mean(sparse=True)),
    "u8, 32^3, one thread": Case(U8_32, threads=1, options=mean()),
    "u8, 32^3, shards": Case(U8_32, options=mean(shards=128)),
    "u8, 32^3, maxima": Case(U8_32, options=mean(method="max")),
    "u8, slices, one thread": Case(U8_SLICES, threads=1, options=mean()),
    "u8, slices, 1x2x2": Case(U8_SLICES, options=mean(factor=(1, 2, 2))),
    "u8, slices, to cubes": Case(U8_SLICES, options=mean(chunks=64)),
    "u8, chunks of 64 MiB, one thread": Case(U8_LARGE, threads=1, options=mean()),
    "u8, chunks of 64 MiB, to cubes": Case(U8_LARGE, options=mean(chunks=128)),
    "u8, cubes to chunks of 64 MiB": Case(U8, options=mean(chunks=(256, 512, 512))),
    "u8, shards to chunks": Case(U8_SHARDS, options=mean()),
    "u8, shards to shards, one thread": Case(U8_SHARDS, threads=1, options=mean(shards=256)),
    "u8, shards to shards, roomy": Case(U8_SHARDS, room=200, options=mean(shards=256)),
    "u8, shards to shards, four threads": Case(U8_SHARDS, threads=4, room=300, options=mean(shards=256)),
    "u8, one shard": Case(U8_64, options=mean(shards=512)),
    "u8, automatic shards": Case(U8_64, options=mean(shards="auto")),
    "u8, v3 to v2": Case(U8, options=mean(zarr_format=2)),
    "u8, strides": Case(U8, options=mean(method="stride")),
    "u16, v2 to v3": Case(U16, options=mean()),
    "u16, v2, four threads": Case(U16, threads=4, room=100, options=mean(zarr_format=2)),
    "u16, 5-D, one thread": Case(U16_5D, threads=1, options=mean()),
    "u16, raw": Case(RAW, options=mean(compressors=None)),
    "u32": Case(U32, options=mode()),
    "u32, means": Case(U32, options=mean()),
    "u32, one thread": Case(U32, threads=1, options=mode(chunks=64)),
    "u64": Case(U64, options=mode()),
    "u64, sparse": Case(U64, options=mode(sparse=True)),
    "u64, four threads": Case(U64, threads=4, room=100, options=mode()),
    "u64, roomy": Case(U64, room=300, options=mode()),
    "u64, 128^3": Case(U64_128, options=mode()),
    "u64, 128^3, one thread": Case(U64_128, threads=1, options=mode()),
    "u64, 128^3, shards": Case(U64_128, options=mode(shards=256)),
    "u64, shards": Case(U64, options=mode(shards=128)),
    "u64, exact means, shards": Case(U64, options=mean(shards=128)),
    "f32, one thread": Case(F32, threads=1, options=mean()),
    "f32, four threads": Case(F32, threads=4, room=100, options=mean()),
    "f32, v2": Case(F32, options=mean(zarr_format=2)),
    "exact modes, one thread": Case(PHANTOM, threads=1, options=mode(method="exact_mode")),
    "exact modes, four threads": Case(PHANTOM, threads=4, room=100, options=mode(method="exact_mode")),
    "exact modes, shards": Case(PHANTOM, options=mode(method="exact_mode", shards=128)),
    "exact modes, roomy": Case(PHANTOM, room=300, options=mode(method="exact_mode")),
    "phantom, modes": Case(PHANTOM, options=mode()),
    "u64, chunks of 61 MiB": Case(U64_LARGE, options=mode()),
    "dask, u8, four threads": Case(DASK_U8, threads=4, room=100, options=mean()),
    "dask, u8, shards": Case(DASK_U8, options=mean(chunks=64, shards=256)),
    "dask, u64, two threads": Case(DASK_U64, options=mode()),
    "other codecs, one thread": Case(CHECKSUM, threads=1, options=mean()),
    "dask, u8": Case(DASK_U8, options=mean()),
    "dask, slices": Case(DASK_SLICES, options=mean(chunks=64)),
    "dask, u32, across chunks": Case(DASK_U32, options=mode(chunks=64)),
}


@functools.cache
def written(source: Source, folder: Path) -> Path:
    path = folder / f"{abs(hash(source))}.zarr"
    source.write(path)
    return path


def measure(case: Case, folder: Path, least_memory: Callable[..., int]) -> tuple[int, int, int]:
    """Build in a process of its own; return its peak, the promise of its plan, and the limit."""
    path, target = written(case.source, folder), folder / "target.zarr"
    options = {"factor": 2, **case.options}
    with dask.config.set(scheduler="threads", num_workers=case.threads):
        opened = da.from_zarr(path) if case.source.kind == "dask" else path
        limit = least_memory(opened, target, **options) + case.room * MIB
    arguments = json.dumps([str(path), str(target), case.source.kind, case.threads, options | {"memory_limit": limit}])
    done = subprocess.run([sys.executable, "-c", CHILD, arguments], capture_output=True, text=True, check=False)
    shutil.rmtree(target, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    peak, promise = json.loads(done.stdout)
    return peak, promise, limit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("volumes")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("case", [*QUICK.values(), *SLOW.values()], ids=[*QUICK, *SLOW])
def test_a_process_keeps_the_promise_of_its_plan(case: Case, folder: Path, least_memory: Callable[..., int]) -> None:
    peak, promise, limit = measure(case, folder, least_memory)
    assert peak <= promise <= limit
