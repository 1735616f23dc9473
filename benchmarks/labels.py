"""Time the operations on labels in memory against fastremap, and print a table for the documentation.

Each program gets the array in C and in Fortran order; of fastremap the faster one counts, of chunkpyramid the slower
one. All programs run in one process, one call each in turn, so that they share whatever the machine is doing meanwhile.

    python benchmarks/labels.py --labels connectomics.npy.ckl.gz
    python benchmarks/labels.py --only unique
"""

from __future__ import annotations

import argparse
import gzip
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import chunkpyramid.labels.arrays as ours
from chunkpyramid.sources.phantom import phantom_image_and_labels

Array = npt.NDArray[Any]
Operation = Callable[[Any, Array], object]

# calls that take longer than this are timed fewer times
SLOW_SECONDS = 2.0
RUNS_OF_SLOW = 3


# ---------------------------------------------------------------------------------------------------------- data


def real_labels(path: Path | None, shape: tuple[int, int, int]) -> Array:
    """Return a segmentation, that of a file or that of the phantom, as uint64 in C order."""
    if path is None:
        return phantom_image_and_labels((0, 0, 0), shape)[1].astype(np.uint64)
    if path.name.endswith(".ckl.gz"):
        import crackle

        volume = crackle.decompress(gzip.decompress(path.read_bytes()))
    else:
        volume = np.load(path)
    return np.ascontiguousarray(volume[tuple(slice(0, side) for side in shape)], np.uint64)


def datasets(path: Path | None, shape: tuple[int, int, int]) -> Iterator[tuple[str, Array]]:
    random = np.random.default_rng(0)
    real = real_labels(path, shape)
    yield "segmentation", real
    # as the numbers of large data sets are
    yield "segmentation, 64-bit numbers", np.where(real == 0, real, real * np.uint64(0x9E3779B97F4A7C15))
    yield "200 labels at random", random.integers(0, 200, shape, np.uint64)
    yield "10^6 labels at random", random.integers(0, 10**6, shape, np.uint64)
    yield (
        "10^6 64-bit labels at random",
        random.integers(0, 2**63, 10**6, np.uint64)[random.integers(0, 10**6, shape, np.uint32)],
    )


# ---------------------------------------------------------------------------------------------------- operations


def operations(labels: Array) -> dict[str, Operation]:
    found = np.unique(labels.reshape(-1)[:: max(1, labels.size // 2**22)])
    all_labels = ours.unique(labels)
    table = dict(zip(all_labels.tolist(), range(1, len(all_labels) + 1), strict=True))
    some = found[:: max(2, len(found) // 500)].tolist()
    listed: dict[str, Operation] = {
        "unique, counts": lambda program, array: program.unique(array, return_counts=True),
        "unique, inverse": lambda program, array: program.unique(array, return_inverse=True),
        "renumber": lambda program, array: program.renumber(array),
        "remap": lambda program, array: program.remap(array, table),
        "mask": lambda program, array: program.mask(array, some),
        "mask_except": lambda program, array: program.mask_except(array, some),
        "point_cloud": lambda program, array: program.point_cloud(array),
        "component_map": lambda program, array: program.component_map(array, array),
        "minmax": lambda program, array: program.minmax(array),
        "foreground": lambda program, array: program.foreground(array),
        "pixel_pairs": lambda program, array: program.pixel_pairs(array),
    }
    return listed


def turned(program: Any, array: Array) -> object:
    """Transpose in place, from whichever order the array is in to the other one."""
    function = program.asfortranarray if array.flags.c_contiguous else program.ascontiguousarray
    return function(array)


# -------------------------------------------------------------------------------------------------- measurements


def alternating_medians(candidates: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for run in range(runs):
        for name, candidate in candidates.items():
            if run >= RUNS_OF_SLOW and times[name][0] > SLOW_SECONDS:
                continue
            start = time.process_time()
            candidate()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(operation: Operation, array: Array, runs: int, fresh: bool) -> dict[str, float]:
    import fastremap as theirs

    orders = {"C": array, "F": np.asfortranarray(array)}
    candidates = {}
    for name, program in (("ours", ours), ("theirs", theirs)):
        for order, volume in orders.items():
            # what is rewritten in place is so twice, and is then what it was
            given = volume.copy(order="K") if fresh else volume
            candidates[f"{name} {order}"] = partial(operation, program, given)
    return alternating_medians(candidates, runs)


def row(name: str, data: str, seconds: dict[str, float]) -> str:
    best = min(seconds["theirs C"], seconds["theirs F"])
    worst = max(seconds["ours C"], seconds["ours F"])
    cells = [name, data, *(f"{1000 * seconds[key]:,.0f}" for key in ("ours C", "ours F", "theirs C", "theirs F"))]
    return f"| {' | '.join([*cells, f'{best / worst:.2f}'])} |"


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, help="a segmentation, .npy or .npy.ckl.gz, instead of the phantom's")
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 128), help="voxels along each of the axes")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="", help="run only the operations with this in their name")
    parser.add_argument("--data", default="", help="run only on data with this in their name")
    arguments = parser.parse_args()

    sides = "x".join(map(str, arguments.shape))
    print(f"{sides} voxels of uint64, one core of {processor()}, fastremap {version('fastremap')}")
    print("\n| operation | data | ms, C | ms, F | fastremap, C | fastremap, F | ratio |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for data, labels in datasets(arguments.labels, tuple(arguments.shape)):
        if arguments.data not in data:
            continue
        for name, operation in operations(labels).items():
            if arguments.only in name:
                print(row(name, data, measure(operation, labels, arguments.runs, False)), flush=True)
        if data == "segmentation" and arguments.only in "transposition in place":
            print(row("transposition in place", sides, measure(turned, labels, arguments.runs, True)), flush=True)
            side = int(labels.size ** (1 / 3))
            cube = labels.reshape(-1)[: side**3].reshape(side, side, side)
            name = f"{side}x{side}x{side}"
            print(row("transposition in place", name, measure(turned, cube, arguments.runs, True)), flush=True)


if __name__ == "__main__":
    main()
