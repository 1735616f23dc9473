"""Whole builds, zarr to zarr: chunkpyramid against tensorstore's downsample driver run level by level.

    python benchmarks/builds.py [--directory DIR] [--side 1024] [--chunk 128] [--runs 3] [--memory "1 GiB"]

Both copy level 0 and make the same levels with the same chunks and codec, each run in a process of its own, in turn.
tensorstore reads each level back from the level before, in blocks of 256^3 with several in flight. Prints medians of
wall time and of peak resident memory (VmHWM), and their ratios.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

BLOCK = 256
IN_FLIGHT = 4


def run_chunkpyramid(source: str, target: str, method: str, levels: int, memory: str) -> None:
    import chunkpyramid

    chunkpyramid.build_pyramid(source, target, method=method, levels=levels, memory_limit=memory)


def run_tensorstore(source: str, target: str, method: str, levels: int, memory: str) -> None:
    import itertools
    from collections import deque

    import tensorstore as ts

    def spec(path: str) -> dict[str, Any]:
        return {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}

    def copy(reader: Any, writer: Any) -> None:
        pending: deque[Any] = deque()
        counts = [range(0, n, BLOCK) for n in writer.shape]
        for start in itertools.product(*counts):
            box = tuple(slice(a, min(a + BLOCK, n)) for a, n in zip(start, writer.shape, strict=True))
            if len(pending) == IN_FLIGHT:
                pending.popleft().result()
            pending.append(writer[box].write(reader[box]))
        for future in pending:
            future.result()

    level = ts.open(spec(source), read=True).result()
    metadata = json.loads((Path(source) / "zarr.json").read_text())
    kept = ("data_type", "chunk_grid", "codecs", "fill_value", "chunk_key_encoding")
    for index in range(levels + 1):
        if index:
            level = ts.downsample(level, [2] * level.rank, method=method)
        described = {key: metadata[key] for key in kept} | {"shape": list(level.shape)}
        writer = ts.open(
            spec(f"{target}/{index}") | {"metadata": described}, create=True, delete_existing=True
        ).result()
        copy(level, writer)
        level = ts.open(spec(f"{target}/{index}"), read=True).result()


def make_data(directory: Path, side: int, chunk: int) -> dict[str, str]:
    """Make a phantom image of side^3 (uint8) and labels of the same number of bytes (uint64), once."""
    import numpy as np
    import zarr

    from chunkpyramid.phantom import phantom_image_and_labels
    from chunkpyramid.store import default_compressors

    sources = {}
    for name, dtype, shape in (
        ("image", np.dtype(np.uint8), (side,) * 3),
        ("labels", np.dtype(np.uint64), (side // 2,) * 3),
    ):
        path = directory / f"{name}-{side}-{chunk}.zarr"
        sources[name] = str(path / "0")
        if path.exists():
            continue
        print(f"making {path} ...", file=sys.stderr)
        array = zarr.open_group(path, mode="w").create_array(
            "0", shape=shape, chunks=(chunk,) * 3, dtype=dtype,
            compressors=default_compressors(dtype, 3, labels=name == "labels"),
        )  # fmt: skip
        for z in range(0, shape[0], chunk):
            for y in range(0, shape[1], 256):
                start, size = (z, y, 0), (chunk, min(256, shape[1] - y), shape[2])
                made = phantom_image_and_labels(start, size)
                array[z : z + chunk, y : y + 256] = made[name == "labels"]
    return sources


def measure(program: str, *arguments: str) -> tuple[float, float]:
    """Run this script as a child that builds once; return wall seconds of the build and peak bytes."""
    result = subprocess.run(
        [sys.executable, __file__, "--child", program, *arguments], capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise SystemExit(result.stderr)
    seconds, peak = json.loads(result.stdout.splitlines()[-1])
    return seconds, peak


def child(program: str, source: str, target: str, method: str, levels: str, memory: str) -> None:
    function = {"chunkpyramid": run_chunkpyramid, "tensorstore": run_tensorstore}[program]
    start = time.perf_counter()
    function(source, target, method, int(levels), memory)
    seconds = time.perf_counter() - start
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    print(json.dumps([seconds, peak]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=Path("benchmark-data"))
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--chunk", type=int, default=128)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--levels", type=int, default=4)
    parser.add_argument("--memory", default="1 GiB")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    sources = make_data(options.directory, options.side, options.chunk)
    print(f"machine: {platform.machine()}, {platform.platform()}, python {platform.python_version()}")
    print(f"side {options.side}, chunks {options.chunk}^3, {options.levels} levels, {options.runs} runs of each\n")
    print("| volume | program | wall s (median) | peak MiB (median) | wall ratio | memory ratio |")
    print("|---|---|---|---|---|---|")
    target = options.directory / "target.zarr"
    for name, method in (("image", "mean"), ("labels", "mode")):
        figures: dict[str, list[tuple[float, float]]] = {"tensorstore": [], "chunkpyramid": []}
        for _ in range(options.runs):
            for program, values in figures.items():
                shutil.rmtree(target, ignore_errors=True)
                values.append(measure(program, sources[name], str(target), method, str(options.levels), options.memory))
        shutil.rmtree(target, ignore_errors=True)
        ratios = [
            [ours / theirs for ours, theirs in zip(*pair, strict=True)]
            for pair in zip(figures["chunkpyramid"], figures["tensorstore"], strict=True)
        ]
        for program, values in figures.items():
            wall, peak = (statistics.median(column) for column in zip(*values, strict=True))
            shown = (
                " | ".join(f"{statistics.median(column):.2f}" for column in zip(*ratios, strict=True))
                if program == "chunkpyramid"
                else "1 | 1"
            )
            print(f"| {name} | {program} | {wall:.2f} | {peak / 2**20:.0f} | {shown} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
