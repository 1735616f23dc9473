"""What kills cost: a build that is killed at random moments and run again each time, against an undisturbed one.

    python benchmarks/restarts.py [--directory DIR] [--side 1024] [--chunk 64] [--kills 10] [--seed 0] [--threads N]

Every try is a process of its own, killed by SIGKILL. Start-up is the wall time of a process that imports the package
and plans the build. Prints wall times, and how the work of all tries together compares with that of the undisturbed
build: both without a start-up for every process. Checks that all files are equal in the end.
"""

from __future__ import annotations

import argparse
import platform
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from builds import make_data


def child(what: str, source: str, target: str, method: str, levels: str, memory: str, threads: str) -> None:
    import dask

    import chunkpyramid

    run: Any = {"plan": chunkpyramid.plan_pyramid, "build": chunkpyramid.build_pyramid}[what]
    with dask.config.set({"num_workers": int(threads)} if int(threads) else {}):
        run(source, target, method=method, levels=int(levels), memory_limit=memory)


def wall(what: str, *arguments: str, at_most: float | None = None) -> tuple[float, bool]:
    """Run this script as a child, for no longer than ``at_most``; return wall seconds, and whether it was killed."""
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, __file__, "--child", what, *arguments]) as process:
        try:
            process.wait(at_most)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return time.perf_counter() - start, True
    if process.returncode:
        raise SystemExit(f"the child that should {what} failed")
    return time.perf_counter() - start, False


def is_finished(target: Path) -> bool:
    import chunkpyramid

    try:
        chunkpyramid.open_pyramid(target)
    except chunkpyramid.ChunkPyramidError:
        return False
    return True


def files(root: Path) -> list[Path]:
    """All files, without what zarr leaves behind of a file that it was writing."""
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return sorted(path for path in found if ".partial" not in path.name)


def are_equal(first: Path, second: Path) -> bool:
    names = files(first)
    return names == files(second) and all((first / n).read_bytes() == (second / n).read_bytes() for n in names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=Path("benchmark-data"))
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--levels", type=int, default=5)
    parser.add_argument("--memory", default="1 GiB")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    sources = make_data(options.directory, options.side, options.chunk)
    whole, target = options.directory / "whole.zarr", options.directory / "killed.zarr"
    print(f"machine: {platform.machine()}, {platform.platform()}, python {platform.python_version()}")
    print(f"side {options.side}, chunks {options.chunk}^3, {options.levels} levels, {options.kills} kills\n")
    print("| volume | start-up s | undisturbed s | all tries s | kills | work ratio | files equal |")
    print("|---|---|---|---|---|---|---|")
    for name, method in (("image", "mean"), ("labels", "mode")):
        for path in (whole, target):
            shutil.rmtree(path, ignore_errors=True)
        rest = [method, str(options.levels), options.memory, str(options.threads)]
        # twice, because the first time files are read from disks
        for _ in range(2):
            shutil.rmtree(whole, ignore_errors=True)
            startup = wall("plan", sources[name], str(whole), *rest)[0]
            undisturbed = wall("build", sources[name], str(whole), *rest)[0]
        work = undisturbed - startup
        draw = random.Random(options.seed)
        moments = sorted(draw.uniform(0, work) for _ in range(options.kills))
        tries: list[tuple[float, bool]] = []
        # a build that happens to be faster than the undisturbed one comes to its end before the last kill
        for earlier, later in zip([0, *moments], [*moments, None], strict=True):
            at_most = None if later is None else startup + later - earlier
            tries.append(wall("build", sources[name], str(target), *rest, at_most=at_most))
            if is_finished(target):
                break
        total, killed = sum(seconds for seconds, _ in tries), sum(was for _, was in tries)
        ratio = (total - len(tries) * startup) / work
        equal = "yes" if are_equal(whole, target) else "NO"
        print(
            f"| {name} | {startup:.2f} | {undisturbed:.2f} | {total:.2f} | {killed} | {ratio:.2f} | {equal} |",
            flush=True,
        )
        for path in (whole, target):
            shutil.rmtree(path)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
