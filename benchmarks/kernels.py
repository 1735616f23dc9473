"""Speed of the in-memory functions beside tinybrain and a plain copy.

Runs of all candidates are interleaved in one process, and medians are compared, so that a busy machine slows all of
them alike. Each library gets the memory order it is best at: C order here, Fortran order for tinybrain.

    python benchmarks/kernels.py [--size 256] [--runs 9] [--json results.json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import _chunkpyramid_kernels as kernels
import numpy as np
import tinybrain

from chunkpyramid.downsample import downsample

Array = np.ndarray[Any, Any]
Candidate = Callable[[], Any]

FACTORS = {"2x2x1": (1, 2, 2), "2x2x2": (2, 2, 2)}


def image(size: int, dtype: str) -> Array:
    """Noise around a smooth signal, with empty surroundings."""
    random = np.random.default_rng(1)
    axis = np.linspace(0, 6, size, dtype=np.float32)
    smooth = np.sin(axis)[:, None, None] + np.cos(axis)[:, None] + np.sin(2 * axis)
    noise = random.normal(0, 0.2, (size,) * 3).astype(np.float32)
    values = np.clip((smooth + noise + 1) * 60, 0, 255)
    return (values * (257 if dtype == "uint16" else 1)).astype(dtype)


def random_labels(size: int, dtype: str) -> Array:
    return np.random.default_rng(2).integers(0, 200, (size,) * 3).astype(dtype)


def blocky_labels(size: int, dtype: str, cell: int = 24) -> Array:
    """Cells of the size of neurites with wavy borders; a tenth of them empty."""
    random = np.random.default_rng(3)
    axis = np.arange(size, dtype=np.float32)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij", sparse=True)
    wave = cell / 3
    table = random.integers(1, 2**31, (size // cell + 3,) * 3)
    table[random.random(table.shape) < 0.1] = 0
    indices = (
        (z + wave * (np.sin(y / 11) + np.sin(x / 17))) / cell + 1,
        (y + wave * (np.sin(z / 13) + np.sin(x / 19))) / cell + 1,
        (x + wave * (np.sin(z / 23) + np.sin(y / 9))) / cell + 1,
    )
    clipped = [np.clip(index, 0, table.shape[0] - 1).astype(np.intp) for index in indices]
    return table[tuple(clipped)].astype(dtype)


def interleaved_medians(candidates: dict[str, Candidate], runs: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for run in range(runs + 1):
        for name, candidate in candidates.items():
            start = time.perf_counter()
            candidate()
            if run > 0:  # the first run warms up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(
    name: str, array: Array, ours: Callable[[Array], Any], theirs: Callable[[Array], Any] | None, runs: int
) -> dict[str, Any]:
    fortran = np.asfortranarray(array)
    target = np.empty_like(array)
    candidates: dict[str, Candidate] = {
        "copy": lambda: np.copyto(target, array),
        "chunkpyramid": lambda: ours(array),
    }
    if theirs is not None:
        candidates["tinybrain"] = lambda: theirs(fortran)
    medians = interleaved_medians(candidates, runs)
    speeds = {library: round(array.size / seconds / 1e6) for library, seconds in medians.items()}
    return {"case": name, **speeds}


def cases(size: int, runs: int, only: str) -> list[dict[str, Any]]:
    results = []

    def add(name: str, array: Array, ours: Callable[[Array], Any], theirs: Callable[[Array], Any] | None) -> None:
        if only in name:
            results.append(measure(name, array, ours, theirs, runs))
            print_row(results[-1])

    for dtype in ("uint8", "uint16", "float32"):
        array = image(size, dtype)
        for shape, factor in FACTORS.items():
            for levels in (1, 4):
                for sparse in (False, True):
                    supported = not (sparse and dtype == "float32")
                    add(
                        f"mean {dtype} {shape}, {levels} level{'s' * (levels > 1)}{', sparse' * sparse}",
                        array,
                        lambda a, f=factor, n=levels, s=sparse: downsample(
                            a, f, num_levels=n, sparse=s, rounding="truncate"
                        ),
                        (lambda a, f=factor, n=levels, s=sparse: tinybrain.downsample_with_averaging(
                            a, f[::-1], num_mips=n, sparse=s
                        )) if supported else None,
                    )  # fmt: skip
    for dtype in ("uint64", "uint32", "uint8"):
        for kind, make in (("random", random_labels), ("blocky", blocky_labels)):
            array = make(size, dtype)
            for shape, factor in FACTORS.items():
                for sparse in (False, True):
                    add(
                        f"mode {dtype} {shape}, {kind}{', sparse' * sparse}",
                        array,
                        lambda a, f=factor, s=sparse: downsample(a, f, method="mode", sparse=s),
                        lambda a, f=factor, s=sparse: tinybrain.downsample_segmentation(a, f[::-1], sparse=s),
                    )
    return results


def print_row(result: dict[str, Any]) -> None:
    theirs = result.get("tinybrain")
    ratio = f"{result['chunkpyramid'] / theirs:.2f}" if theirs else "-"
    print(f"| {result['case']} | {result['chunkpyramid']} | {theirs or '-'} | {ratio} | {result['copy']} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="voxels along each of the three axes")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--only", default="", help="run only the cases with this in their name")
    parser.add_argument("--json", help="write the results here as well")
    arguments = parser.parse_args()
    print(f"MVoxel/s on {arguments.size}^3 voxels, one thread, kernels: {kernels.used()}\n")
    print("| case | chunkpyramid | tinybrain | ratio | copy |")
    print("| --- | ---: | ---: | ---: | ---: |")
    results = cases(arguments.size, arguments.runs, arguments.only)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"size": arguments.size, "kernels": kernels.used(), "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
