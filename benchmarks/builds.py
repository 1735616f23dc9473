"""Whole builds, zarr to zarr: chunkpyramid beside the other programs that make pyramids.

    python benchmarks/builds.py [--cases image labels] [--chunk 128 64 1x1024x1024] [--shard 256]
                                [--rivals tensorstore ome_zarr_pyramid ...] [--memory "512 MiB" "1 GiB"]
                                [--side 1024] [--levels 5] [--runs 3] [--python RIVAL=/path/to/python]
                                [--directory DIR] [--json FILE]

All programs make the same levels, level 0 included, with the same chunks and blosc-zstd of level 3, from data that this
script makes once (a phantom: an image of side^3 uint8, labels of side^3/2 uint64). Each build is a process of its own,
and the runs of all programs are interleaved, so that a busy machine slows all of them alike: ratios are medians of the
ratios of neighbouring runs. "Wall" is that of the whole process from its start, imports included; "build" is that of
the build alone; "cpu" are the seconds of all its threads, which other processes hardly change; "peak" is the largest
resident size (VmHWM). Ratios below 1 mean that chunkpyramid needs less.
The table says what a rival makes instead of means and modes. Rivals that are not installed are named and left out;
`--python` gives the interpreter of one that needs an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from build_data import DTYPES, source_path, volume_shape
from build_rivals import PROGRAMS, Job, Shape

RIVALS = [name for name in PROGRAMS if name != "chunkpyramid"]
HEADER = (
    "| volume | program | makes | wall s | build s | cpu s | peak MiB | wall | build | cpu | peak |\n"
    "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"
)


@dataclass(frozen=True)
class Run:
    """One build: seconds of the process, of the build alone and of the cpu, peak bytes, and the load before it."""

    wall: float
    build: float
    cpu: float
    peak: int
    load: float


def side_or_shape(text: str) -> Shape:
    numbers = tuple(map(int, text.split("x")))
    if len(numbers) not in (1, 3) or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a side such as 64 nor a shape such as 1x1024x1024")
    return numbers * 3 if len(numbers) == 1 else numbers


def rival_and_path(text: str) -> tuple[str, str]:
    rival, _, path = text.partition("=")
    if rival not in PROGRAMS or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not RIVAL=/path/to/python with a rival of {RIVALS}")
    return rival, path


def installed(program: str, python: str) -> bool:
    """Whether the interpreter can import the program."""
    result = subprocess.run([python, "-c", f"import {PROGRAMS[program].module}"], capture_output=True, check=False)
    return result.returncode == 0


def run(job: Job, python: str, timeout: float) -> Run | str:
    """Build in a process of its own; return what it took, or why it failed."""
    load = os.getloadavg()[0]
    command = [python, str(Path(__file__).parent / "build_rivals.py"), json.dumps(asdict(job))]
    start = time.perf_counter()
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
    except subprocess.TimeoutExpired:
        return f"took more than {timeout:g} s"
    wall = time.perf_counter() - start
    if result.returncode:
        lines = result.stderr.strip().splitlines()
        return f"failed: {lines[-1] if lines else f'exit code {result.returncode}'}"
    made = json.loads(result.stdout.splitlines()[-1])
    shapes = level_shapes(Path(job.target))
    expected = level_shapes_of(json.loads((Path(job.source) / "zarr.json").read_text())["shape"], job.levels)
    if shapes != expected:
        return f"made other levels: {shapes}"
    return Run(wall, made["build"], made["cpu"], made["peak"], load)


def level_shapes(group: Path) -> list[Shape]:
    """Return the shapes of all arrays below a group, largest first."""
    found = [json.loads(path.read_text()) for path in group.rglob("zarr.json")]
    return sorted((tuple(entry["shape"]) for entry in found if entry["node_type"] == "array"), reverse=True)


def level_shapes_of(shape: Sequence[int], levels: int) -> list[Shape]:
    return [tuple(-(-n // 2**level) for n in shape) for level in range(levels + 1)]


def compare(jobs: Mapping[str, Job], pythons: Mapping[str, str], runs: int, timeout: float) -> dict[str, Any]:
    """Run all jobs in turn, several times; return the runs of each, or why it has none."""
    results: dict[str, list[Run] | str] = {name: [] for name in jobs}
    for number in range(runs):
        for name, job in jobs.items():
            # a folder for each: ext4 searches long for inodes that were not deleted just before
            job = replace(job, target=f"{job.target}/{time.time_ns()}-{number}.zarr")
            so_far = results[name]
            if isinstance(so_far, str):
                continue
            outcome = run(job, pythons.get(job.program, sys.executable), timeout)
            if isinstance(outcome, str):
                results[name] = outcome
            else:
                so_far.append(outcome)
                print(f"  {name}: {outcome}", file=sys.stderr, flush=True)
    return results


def rows(volume: str, jobs: Mapping[str, Job], results: Mapping[str, list[Run] | str]) -> list[str]:
    """Return the rows of the table: each program, and what our build takes in relation, for each of its limits."""
    lines = []
    ours = {name: made for name, made in results.items() if jobs[name].program == "chunkpyramid"}
    for name, job in jobs.items():
        made = results[name]
        start = f"| {volume} | {name} | {PROGRAMS[job.program].methods[job.kind]} |"
        if isinstance(made, str):
            lines.append(f"{start} {made} |" + 7 * "  |")
            continue
        wall, build, cpu, peak = (statistics.median(values) for values in zip(*map(figures_of, made), strict=True))
        start += f" {wall:.2f} | {build:.2f} | {cpu:.2f} | {peak:.0f} |"
        ratios = {
            reference: " | ".join(f"{ratio:.2f}" for ratio in median_ratios(mine, made))
            for reference, mine in ours.items()
            if name not in ours and not isinstance(mine, str)
        }
        if len(ours) == len(ratios) == 1:
            lines.append(f"{start} {ratios.popitem()[1]} |")
            continue
        lines.append(start + 4 * "  |")
        lines += [f"|  | {reference} / {name} |" + 5 * "  |" + f" {text} |" for reference, text in ratios.items()]
    return lines


def figures_of(made: Run) -> tuple[float, ...]:
    return made.wall, made.build, made.cpu, made.peak / 2**20


def median_ratios(ours: Sequence[Run], theirs: Sequence[Run]) -> list[float]:
    pairs = [
        [a / b for a, b in zip(figures_of(mine), figures_of(other), strict=True)]
        for mine, other in zip(ours, theirs, strict=False)
    ]
    return [statistics.median(values) for values in zip(*pairs, strict=True)]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--chunk", nargs="+", type=side_or_shape, default=[(128,) * 3])
    parser.add_argument("--shard", type=side_or_shape, help="shards of source and levels; default: none")
    parser.add_argument("--rivals", nargs="*", choices=RIVALS, default=RIVALS)
    parser.add_argument("--memory", nargs="+", default=["1 GiB"], help="memory limits of chunkpyramid")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--levels", type=int, default=5, help="how many below level 0")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=600, help="seconds after which a build is given up")
    parser.add_argument("--python", nargs="+", type=rival_and_path, default=[], metavar="RIVAL=PATH")
    parser.add_argument(
        "--options", default="{}", help="JSON: settings by rival, such as {'tensorstore': {'block': 128}}"
    )
    parser.add_argument("--directory", type=Path, default=Path("benchmark-data"))
    parser.add_argument("--json", type=Path, help="append every run to this file, one case a line")
    return parser.parse_args()


def main() -> None:
    options = parse()
    options.directory.mkdir(parents=True, exist_ok=True)
    pythons = dict(options.python)
    rivals = [name for name in options.rivals if installed(name, pythons.get(name, sys.executable))]
    for name in options.rivals:
        if name not in rivals:
            print(f"{name} is not installed and left out: pip install {PROGRAMS[name].package}, or give --python")
    settings = json.loads(options.options)
    targets = options.directory / "targets"
    try:
        run_cases(options, rivals, pythons, settings, targets)
    finally:
        shutil.rmtree(targets, ignore_errors=True)


def run_cases(
    options: argparse.Namespace, rivals: list[str], pythons: dict[str, str], settings: dict[str, Any], targets: Path
) -> None:
    print(f"{platform.machine()}, {os.cpu_count()} processors, {platform.system()}, Python {platform.python_version()}")
    print(f"{options.levels} levels below level 0, medians of {options.runs} runs\n\n{HEADER}", flush=True)
    for kind in options.cases:
        for chunks in options.chunk:
            source = source_path(options.directory, kind, options.side, chunks, options.shard)
            base = Job("", str(source), str(targets), kind, options.levels, chunks, options.shard)
            jobs = {
                f"chunkpyramid ({memory})": replace(
                    base, program="chunkpyramid", memory=memory, options=settings.get("chunkpyramid", {})
                )
                for memory in options.memory
            } | {name: replace(base, program=name, options=settings.get(name, {})) for name in rivals}
            results = compare(jobs, pythons, options.runs, options.timeout)
            size = f"{'x'.join(map(str, volume_shape(kind, options.side)))} {DTYPES[kind]}"
            layout = "x".join(map(str, chunks)) + (f" in {'x'.join(map(str, options.shard))}" if options.shard else "")
            print(*rows(f"{kind} {size}, {layout}", jobs, results), sep="\n", flush=True)
            if options.json:
                with options.json.open("a") as file:
                    kept = {
                        name: made if isinstance(made, str) else [asdict(one) for one in made]
                        for name, made in results.items()
                    }
                    print(
                        json.dumps({"case": f"{kind} {size}, {layout}", "settings": settings, "runs": kept}), file=file
                    )


if __name__ == "__main__":
    main()
