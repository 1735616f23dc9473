"""The programs that the build benchmark compares, each with the settings that made it fastest.

Every function builds the whole pyramid, level 0 included, from one zarr array: `Job.levels` levels below level 0, a
factor of 2 along every axis, chunks as the source has them, blosc-zstd of level 3. It is run once, in a process of its
own, by `python build_rivals.py JOB`, where JOB is the JSON of a `Job`.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """What to build: ``kind`` is "image" (mean) or "labels" (mode, or what comes nearest to it)."""

    program: str
    source: str
    target: str
    kind: str
    levels: int
    chunks: Shape
    shards: Shape | None = None
    memory: str | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """A program: what it is imported as and installed as, what it makes of each kind of volume, and its function."""

    module: str
    package: str
    methods: dict[str, str]
    build: Callable[[Job], None]


def chunkpyramid(job: Job) -> None:
    import chunkpyramid

    chunkpyramid.build_pyramid(
        job.source,
        job.target,
        method={"image": "mean", "labels": "mode"}[job.kind],
        levels=job.levels,
        shards=job.shards,
        memory_limit=job.memory,
    )


def tensorstore(job: Job) -> None:
    """Level by level: each is read back from the level before, in blocks, several of which are in flight."""
    import tensorstore as ts

    side, in_flight = job.options.get("block", 256), job.options.get("in_flight", 4)

    def spec(path: str) -> dict[str, Any]:
        return {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}

    def copy(reader: Any, writer: Any) -> None:
        pending: deque[Any] = deque()
        # whole write units, so that no two blocks write to one
        block = [-(-side // n) * n for n in job.shards or job.chunks]
        for start in itertools.product(*(range(0, n, b) for n, b in zip(writer.shape, block, strict=True))):
            box = tuple(slice(a, min(a + b, n)) for a, b, n in zip(start, block, writer.shape, strict=True))
            if len(pending) == in_flight:
                pending.popleft().result()
            pending.append(writer[box].write(reader[box]))
        for future in pending:
            future.result()

    level = ts.open(spec(job.source), read=True).result()
    metadata = json.loads((Path(job.source) / "zarr.json").read_text())
    kept = ("data_type", "chunk_grid", "codecs", "fill_value", "chunk_key_encoding")
    for index in range(job.levels + 1):
        if index:
            level = ts.downsample(level, [2] * level.rank, method={"image": "mean", "labels": "mode"}[job.kind])
        described = {key: metadata[key] for key in kept} | {"shape": list(level.shape)}
        path = f"{job.target}/{index}"
        writer = ts.open(spec(path) | {"metadata": described}, create=True, delete_existing=True).result()
        copy(level, writer)
        level = ts.open(spec(path), read=True).result()


def ome_zarr_pyramid(job: Job) -> None:
    """One pass, with tensorstore; the regions of its writer are as large as tensorstore's blocks of 256^3."""
    import zarr
    from ome_zarr_pyramid import Pyramid, io

    base = Pyramid().from_arrays([zarr.open_array(job.source, mode="r")], axis_order="zyx", scales=[[1.0, 1.0, 1.0]])
    pyramid = base.downscale(
        n_layers=job.levels + 1,
        scale_factor=(2, 2, 2),
        downscale_method={"image": "mean", "labels": "mode"}[job.kind],
    )
    io.write_pyramid(pyramid, job.target, overwrite=True, chunk_shape=job.chunks, **job.options)


def ngff_zarr(job: Job) -> None:
    """Its Dask methods, which compute what is compared here; its default, a Gaussian of ITK-Wasm, takes longer."""
    import ngff_zarr
    import zarr
    from zarr.codecs import BloscCodec

    options = dict(job.options)
    method = {"image": "dask_bin_shrink", "labels": "dask_image_mode"}[job.kind]
    array: Any = zarr.open_array(job.source, mode="r")
    if options.pop("read", "dask") == "dask":
        import dask.array as da

        array = da.from_zarr(array, chunks=array.shards or array.chunks)
    image = ngff_zarr.to_ngff_image(array, dims=["z", "y", "x"])
    multiscales = ngff_zarr.to_multiscales(
        image,
        scale_factors=[2**level for level in range(1, job.levels + 1)],
        method=ngff_zarr.Methods(options.pop("method", method)),
        chunks=job.chunks,
        cache=options.pop("cache", False),
    )
    codec = BloscCodec(cname="zstd", clevel=3, shuffle="noshuffle", typesize=array.dtype.itemsize)
    shards = {}
    if job.shards:
        shards = {"chunks_per_shard": tuple(s // c for s, c in zip(job.shards, job.chunks, strict=True))}
    ngff_zarr.to_ngff_zarr(job.target, multiscales, version="0.5", compressors=[codec], **shards, **options)


def ome_zarr(job: Job) -> None:
    """`local_mean` for images; it has no mode, so labels are strided ("nearest")."""
    import dask.array as da
    import zarr
    from ome_zarr.scale import Methods
    from ome_zarr.writer import write_image
    from zarr.codecs import BloscCodec

    array = zarr.open_array(job.source, mode="r")
    codec = BloscCodec(cname="zstd", clevel=3, shuffle="noshuffle", typesize=array.dtype.itemsize)
    storage: dict[str, Any] = {"chunks": job.chunks, "compressors": [codec]}
    if job.shards:
        storage["shards"] = job.shards
    method = job.options.get("method", {"image": "local_mean", "labels": "nearest"}[job.kind])
    write_image(
        da.from_zarr(array, chunks=job.options.get("read_chunks", array.shards or array.chunks)),
        job.target,
        scale_factors=[dict.fromkeys("zyx", 2**level) for level in range(1, job.levels + 1)],
        method=Methods(method),
        axes="zyx",
        storage_options=storage,
    )


def xarray_multiscale(job: Job) -> None:
    """All levels in one Dask graph; it makes no files, so xarray-free `dask.array.store` writes them."""
    import dask
    import dask.array as da
    import zarr
    from xarray_multiscale import multiscale
    from xarray_multiscale.reducers import windowed_mean, windowed_mode
    from zarr.codecs import BloscCodec

    array = zarr.open_array(job.source, mode="r")
    codec = BloscCodec(cname="zstd", clevel=3, shuffle="noshuffle", typesize=array.dtype.itemsize)
    unit = job.shards or job.chunks
    lazy = da.from_zarr(array, chunks=job.options.get("read_chunks", unit))
    reducer = {"image": windowed_mean, "labels": windowed_mode}[job.kind]
    made = multiscale(lazy, reducer, (2, 2, 2), chunks=unit)[: job.levels + 1]
    group = zarr.open_group(job.target, mode="w")
    stored = []
    for index, level in enumerate(made):
        target = group.create_array(
            str(index), shape=level.shape, dtype=level.dtype, chunks=job.chunks, shards=job.shards, compressors=codec
        )
        stored.append(da.store(level.data, target, lock=False, compute=False))
    dask.compute(*stored)


PROGRAMS = {
    "chunkpyramid": Program("chunkpyramid", "chunkpyramid", {"image": "mean", "labels": "mode"}, chunkpyramid),
    "tensorstore": Program("tensorstore", "tensorstore", {"image": "mean", "labels": "mode"}, tensorstore),
    "ome_zarr_pyramid": Program(
        "ome_zarr_pyramid", "ome_zarr_pyramid", {"image": "mean", "labels": "mode"}, ome_zarr_pyramid
    ),
    "ngff-zarr": Program("ngff_zarr", "ngff-zarr", {"image": "mean", "labels": "mode"}, ngff_zarr),
    "ome-zarr": Program("ome_zarr", "ome-zarr", {"image": "mean", "labels": "stride"}, ome_zarr),
    "xarray-multiscale": Program(
        "xarray_multiscale", "xarray-multiscale", {"image": "mean", "labels": "mode"}, xarray_multiscale
    ),
}


def run(job: Job) -> dict[str, Any]:
    """Build once; return the seconds of the build alone and of the cpu, the peak bytes and the version."""
    program = PROGRAMS[job.program]
    warnings.simplefilter("ignore")
    importlib.import_module(program.module)
    start = time.perf_counter()
    program.build(job)
    seconds = time.perf_counter() - start
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return {"build": seconds, "cpu": time.process_time(), "peak": peak, "version": version(program.package)}


def main(text: str) -> None:
    given = json.loads(text)
    given |= {name: tuple(given[name]) for name in ("chunks", "shards") if given[name]}
    # what a program prints must not get between the parent and the result
    result, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    print(json.dumps(run(Job(**given))), file=result, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
