"""The demonstration: a phantom volume and its segmentation, larger than the memory limit that builds their pyramids."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dask.array as da
import numpy as np
import zarr

from chunkpyramid.boxes import Box, Shape, ceil_shape, multiply
from chunkpyramid.errors import BuildError, TargetExistsError
from chunkpyramid.sources.phantom import phantom_image_and_labels
from chunkpyramid.storage.new_arrays import create_array, default_compressors
from chunkpyramid.text import format_bytes, format_shape

__all__ = ["make_volumes", "run_demo"]

SHAPE = (320, 1024, 1024)
CHUNK = 64
# What one task makes at a time: whole chunks, small enough that making them takes no more memory than building.
SLAB = (64, 256, 256)


def make_volumes(directory: Path, shape: Shape = SHAPE, seed: int = 0) -> dict[str, zarr.Array[Any]]:
    """Write the phantom image (uint8) and its labels (uint64) to ``directory``, one Dask task per slab.

    Parameters
    ----------
    directory : Path
        Gets the groups "image.zarr" and "labels.zarr", each with an array "0".
    shape : tuple of int
        Voxels along z, y and x.
    seed : int
        Another seed makes another volume.

    Returns
    -------
    dict
        The arrays by name, "image" and "labels".
    """
    arrays = {}
    for name, dtype in (("image", np.dtype(np.uint8)), ("labels", np.dtype(np.uint64))):
        arrays[name] = create_array(
            zarr.open_group(directory / f"{name}.zarr", mode="w-"),
            "0",
            shape,
            dtype,
            chunks=(CHUNK,) * 3,
            compressors=default_compressors(dtype, 3, labels=name == "labels"),
            dimension_names="zyx",
        )

    def make(*, block_id: Shape) -> np.ndarray[Any, Any]:
        box = Box.at(multiply(block_id, SLAB), SLAB).clip(shape)
        for array, values in zip(
            arrays.values(), phantom_image_and_labels(box.start, box.shape, seed=seed), strict=True
        ):
            array[box.slices] = values
        return np.ones((1, 1, 1), dtype=np.uint8)

    grid = ceil_shape(shape, SLAB)
    ones = tuple((1,) * n for n in grid)
    da.map_blocks(make, chunks=ones, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8)).compute()
    return arrays


def run_demo(directory: Path | None, memory_limit: str, tell: Callable[[str], None], shape: Shape = SHAPE) -> None:
    """Make the volumes and build their pyramids with the command line, each in a process of its own.

    Parameters
    ----------
    directory : Path or None
        Where to write; it must not exist. None: a temporary directory that is deleted.
    memory_limit : str
        Limit of each build.
    tell : callable
        Is called with every line to show.
    shape : tuple of int
        Voxels of the volumes along z, y and x.

    Raises
    ------
    TargetExistsError
        If the directory exists.
    BuildError
        If a build fails.
    """
    with ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(TemporaryDirectory(prefix="chunkpyramid-demo-")))
        elif directory.exists():
            raise TargetExistsError(f"{str(directory)!r} exists: give the demo a directory that does not")
        start = time.perf_counter()
        tell(f"making an image and its segmentation of {format_shape(shape)} voxels in {directory} ...")
        arrays = make_volumes(directory, shape)
        sizes = ", ".join(f"{name} {format_bytes(array.nbytes)}" for name, array in arrays.items())
        tell(f"made in {time.perf_counter() - start:.1f} s: {sizes}; memory limit of each build: {memory_limit}\n")
        for name in arrays:
            source = str(directory / f"{name}.zarr" / "0")
            target = str(directory / f"{name}-pyramid.zarr")
            shared = [source, target, "--memory", memory_limit, "--voxel-size", "40,16,16", "--unit", "nanometer"]
            shared += ["--factor", "1,2,2;2,2,2;2,2,2;2,2,2", "--name", name]
            for command in ("plan", "build"):
                tell(f"$ chunkpyramid {command} {' '.join(shared[:4])} ...")
                tell(_run([command, *shared]))
        tell(f"all done in {time.perf_counter() - start:.1f} s")


def _run(arguments: list[str]) -> str:
    # a process of its own, so that the peak memory it measures is that of the build alone
    result = subprocess.run(
        [sys.executable, "-m", "chunkpyramid", *arguments], capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise BuildError(f"chunkpyramid {' '.join(arguments)} failed: {result.stderr.strip()}")
    return result.stdout
