"""Speed of the in-memory functions: beside tinybrain, beside tensorstore, and beside a plain copy.

    python benchmarks/kernels.py [--size 256] [--runs 9] [--only "mode uint64"] [--labels labels.npy.ckl.gz]
                                 [--json FILE] [--plot FILE.png] [--readme]

All programs have one thread and their best memory order: C order here, Fortran order for tinybrain, which gets the same
memory, seen transposed. The column "F order" is what this package makes of that transposed array, relative to C order.
The column "of copy" is the share of the roofline that is reached: a kernel that read its input and wrote its output as
fast as `numpy.copyto` reads and writes would have 100 %. The copy goes to memory that is there already. Results are
allocated anew, by every program alike, which costs little: the allocator has the memory of the run before, without new
page faults, but for results of 32 MiB or more (a sixth of the time of a 2x2x1 mode of 256^3 uint64).

Runs of all candidates are interleaved in one process, and medians are compared, so that a busy machine slows all of
them alike; each is timed right after an untimed run of its own, so that none finds the caches and the allocator as
another one left them. Seconds are those of the processor: what other processes take of a core does not count.
`--readme` puts the cases marked with a star between the markers in README.md.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import _chunkpyramid_reduce as kernels
import numpy as np

from chunkpyramid import downsample
from chunkpyramid.reductions.methods import METHODS
from chunkpyramid.sources.phantom import phantom_image_and_labels

Array = np.ndarray[Any, Any]
Candidate = Callable[[], Any]
Factor = tuple[int, int, int]

README = Path(__file__).parent.parent / "README.md"
MARKERS = ("<!-- kernels: begin -->\n", "<!-- kernels: end -->\n")
RIVALS = ("tinybrain", "tensorstore")
# A candidate that takes seconds is not run more often than this, nor warmed up.
RUNS_OF_SLOW = 3
SLOW_SECONDS = 0.5


# ---------------------------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Data:
    """Volumes with the statistics of real ones, and random ones."""

    size: int
    labels_file: Path | None

    def get(self, kind: str, dtype: str) -> Array:
        if kind == "random image":
            return np.random.default_rng(1).integers(0, 256, (self.size,) * 3).astype(dtype)
        if kind == "random labels":
            return np.random.default_rng(2).integers(0, 200, (self.size,) * 3).astype(dtype)
        image, labels = _phantom(self.size)
        if kind == "image":
            return image.astype(dtype) * (257 if dtype == "uint16" else 1)
        if self.labels_file is not None:
            labels = _read_labels(self.labels_file)
        if labels.dtype.itemsize <= np.dtype(dtype).itemsize:
            return labels.astype(dtype)
        return np.where(labels == 0, 0, labels % 255 + 1).astype(dtype)


@cache
def _phantom(size: int) -> tuple[Array, Array]:
    image, labels = phantom_image_and_labels((0, 0, 0), (size,) * 3)
    return image, labels


@cache
def _read_labels(path: Path) -> Array:
    if path.name.endswith(".ckl.gz"):
        import crackle

        return np.ascontiguousarray(crackle.decompress(gzip.decompress(path.read_bytes())))
    return np.ascontiguousarray(np.load(path))


# --------------------------------------------------------------------------------------------------------- cases


@dataclass(frozen=True)
class Case:
    """A reduction of one volume. `factor` is in the order of the axes z, y, x, and named the other way round."""

    method: str
    dtype: str
    factor: Factor
    data: str
    levels: int = 1
    sparse: bool = False
    shown: bool = False

    @property
    def name(self) -> str:
        parts = [self.method, self.dtype, "x".join(map(str, self.factor[::-1]))]
        if self.levels > 1:
            parts.append(f"{self.levels} levels")
        if self.sparse:
            parts.append("sparse")
        if "random" in self.data:
            parts.append("random")
        return " ".join(parts)

    def ours(self, array: Array, factor: Factor) -> list[Array]:
        rounding = "truncate" if self.method == "mean" else "nearest"  # as tinybrain does it
        return downsample(
            array, factor, method=self.method, num_levels=self.levels, sparse=self.sparse, rounding=rounding
        )

    def tinybrain(self, array: Array) -> Candidate | None:
        """For 2x2x1 and 2x2x2 only: for other factors it has no compiled code."""
        import tinybrain.downsample as theirs

        options: dict[str, Any] = {"num_mips": self.levels}
        if self.sparse:
            options["sparse"] = True
        # Its striding copies nothing.
        names = {"mean": "averaging", "min": "min_pooling", "max": "max_pooling"}
        if self.method == "mode":
            function = theirs.downsample_segmentation
        elif self.method in names:
            function = getattr(theirs, f"downsample_with_{names[self.method]}")
        else:
            return None
        fast = sorted(self.factor) in ([1, 2, 2], [2, 2, 2])
        if not fast or (self.sparse and self.dtype == "float32"):
            return None
        return lambda: function(array.T, self.factor[::-1], **options)

    def tensorstore(self, array: Array) -> Candidate | None:
        """From memory; each level from the one before it, but for exact modes, whose levels all come from level 0."""
        if self.sparse:
            return None
        import tensorstore as ts

        one_thread = ts.Context({"data_copy_concurrency": {"limit": 1}})
        exact = self.method == "exact_mode"

        def run() -> None:
            level, factor = array, self.factor
            for index in range(self.levels):
                if exact:
                    level, factor = array, tuple(step ** (index + 1) for step in self.factor)
                source = ts.array(level, context=one_thread)
                level = ts.downsample(source, factor, method="mode" if exact else self.method).read().result()

        return run


def all_cases() -> Iterator[Case]:
    plane, cube = (1, 2, 2), (2, 2, 2)
    for dtype in ("uint8", "uint16", "float32"):
        for factor in (plane, cube):
            for levels in (1, 4):
                for sparse in (False, True):
                    shown = not sparse and (levels == 1 if dtype == "uint8" else factor == cube and levels == 1)
                    shown |= dtype == "uint8" and factor == cube and (levels == 4) != sparse
                    yield Case("mean", dtype, factor, "image", levels, sparse, shown)
    yield Case("mean", "uint8", cube, "random image")
    for dtype in ("uint8", "uint32", "uint64"):
        for factor in (plane, cube):
            for data in ("labels", "random labels"):
                for sparse in (False, True):
                    shown = dtype == "uint64" and data == "labels" and (factor == cube or not sparse)
                    shown |= dtype == "uint32" and data == "labels" and factor == cube and not sparse
                    yield Case("mode", dtype, factor, data, 1, sparse, shown)
    for method in ("mode", "exact_mode"):
        if method in METHODS:
            yield Case(method, "uint64", cube, "labels", 3, shown=True)
            yield Case(method, "uint64", cube, "random labels", 3)
    for factor in ((1, 3, 3), (4, 4, 4), (5, 5, 5), (1, 8, 8)):
        yield Case("mean", "uint8", factor, "image", shown=factor == (4, 4, 4))
        yield Case("mode", "uint64", factor, "labels", shown=factor == (4, 4, 4))
    for method in ("min", "max", "stride"):
        yield Case(method, "uint8", cube, "image", shown=method == "max")


# --------------------------------------------------------------------------------------------------- measurements


@dataclass
class Result:
    """Speeds in MVoxel/s of level 0, by program; `roofline` is that of a copy of as many bytes."""

    case: Case
    roofline: float
    speeds: dict[str, float] = field(default_factory=dict)

    def ratio(self, program: str, to: str) -> str:
        if program not in self.speeds or to not in self.speeds:
            return ""
        ratio = self.speeds[program] / self.speeds[to]
        return f"{ratio:.0f}" if ratio >= 20 else f"{ratio:.1f}" if ratio >= 2 else f"{ratio:.2f}"

    @property
    def share(self) -> str:
        return f"{100 * self.speeds['chunkpyramid'] / self.roofline:.0f} %"


def interleaved_medians(candidates: dict[str, Candidate], runs: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for run in range(runs):
        for name, candidate in candidates.items():
            slow = bool(times[name]) and times[name][0] > SLOW_SECONDS
            if slow and run >= RUNS_OF_SLOW:
                continue
            if not slow:
                candidate()
            start = time.process_time()
            candidate()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def measure(case: Case, array: Array, runs: int) -> Result:
    target = np.empty_like(array)
    candidates: dict[str, Candidate] = {
        "copy": lambda: np.copyto(target, array),
        "chunkpyramid": lambda: case.ours(array, case.factor),
        "F order": lambda: case.ours(array.T, case.factor[::-1]),
    }
    for rival in RIVALS:
        candidate = getattr(case, rival)(array) if find_spec(rival) else None
        if candidate is not None:
            candidates[rival] = candidate
    moved = array.nbytes + sum(level.nbytes for level in case.ours(array, case.factor))
    medians = interleaved_medians(candidates, runs)
    seconds_of_roofline = medians["copy"] * moved / (2 * array.nbytes)
    megavoxels = array.size / 1e6
    speeds = {name: megavoxels / seconds for name, seconds in medians.items()}
    return Result(case, megavoxels / seconds_of_roofline, speeds)


# -------------------------------------------------------------------------------------------------------- reports


def machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    return f"{processor}, 1 core, instruction set {kernels.used()}"


def versions() -> str:
    programs = ("numpy", *(rival for rival in RIVALS if find_spec(rival)))
    return ", ".join(f"{program} {version(program)}" for program in programs)


HEADER = (
    "| case | MVoxel/s | of copy | F order | tinybrain | ratio | tensorstore | ratio |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def row(result: Result, star: str = "") -> str:
    speeds = {name: f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}" for name, speed in result.speeds.items()}
    cells = [result.case.name + star, speeds["chunkpyramid"], result.share, result.ratio("F order", "chunkpyramid")]
    for rival in RIVALS:
        cells += [speeds.get(rival, ""), result.ratio("chunkpyramid", rival)]
    return f"| {' | '.join(cells)} |"


def write_readme(results: list[Result], size: int) -> None:
    before, begin, rest = README.read_text().partition(MARKERS[0])
    _, end, after = rest.partition(MARKERS[1])
    if not begin or not end:
        raise SystemExit(f"{README} lacks the lines {MARKERS}")
    lines = [
        f"Million voxels of level 0 per second, for {size}^3 voxels: {machine()}; {versions()}.",
        "",
        HEADER,
        *(row(result) for result in results if result.case.shown),
    ]
    README.write_text("".join((before, begin, "\n", "\n".join(lines), "\n\n", end, after)))


def plot(results: list[Result], path: Path, size: int) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 1.5 + 0.36 * len(results)), layout="constrained")
    places = np.arange(len(results))
    bars = {"chunkpyramid": (-0.2, "#1f6f8b"), "tinybrain": (0.2, "#e0a458")}
    for program, (offset, colour) in bars.items():
        speeds = np.array([result.speeds.get(program, np.nan) for result in results])
        axes.barh(places + offset, speeds, 0.38, color=colour, label=program)
        for place, speed in zip(places, speeds, strict=True):
            if np.isfinite(speed):
                axes.annotate(
                    f"{speed:,.0f}", (speed, place + offset), (-3, 0), textcoords="offset points",
                    ha="right", va="center", fontsize=7, color="white" if program == "chunkpyramid" else "black",
                )  # fmt: skip
    axes.scatter(
        [result.roofline for result in results], places, s=140, marker="|", linewidths=2, color="black", zorder=3,
        label="as fast as a copy of the bytes read and written",
    )  # fmt: skip
    axes.set_xscale("log")
    slowest = min(min(result.speeds[program] for program in bars if program in result.speeds) for result in results)
    axes.set_xlim(left=10 ** np.floor(np.log10(slowest / 2)))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_yticks(places, [result.case.name for result in results])
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_xlabel("million voxels of level 0 per second (logarithmic)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"Downsampling of {size}^3 voxels in memory\n{machine()}", fontsize=10, loc="left")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=150)


def write_json(results: list[Result], path: Path, size: int) -> None:
    rows = [
        {"case": result.case.name, "roofline": round(result.roofline, 1)}
        | {program: round(speed, 1) for program, speed in result.speeds.items()}
        for result in results
    ]
    path.write_text(
        json.dumps({"machine": machine(), "versions": versions(), "size": size, "MVoxel/s": rows}, indent=1)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="voxels along each of the three axes")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--only", default="", help="run only the cases with this in their name")
    parser.add_argument("--labels", type=Path, help="a segmentation, .npy or .npy.ckl.gz, instead of the phantom's")
    parser.add_argument("--json", type=Path, help="write all results here as well")
    parser.add_argument("--plot", type=Path, help="draw the results here")
    parser.add_argument("--readme", action="store_true", help="run the cases shown in README.md, and rewrite its table")
    arguments = parser.parse_args()
    if arguments.readme and (arguments.only or arguments.labels):
        parser.error("--readme is a table of chosen cases and of data that everybody has: no --only, no --labels")

    data = Data(arguments.size, arguments.labels)
    source = f" (labels: {arguments.labels.name}, whole)" if arguments.labels else ""
    print(f"{arguments.size}^3 voxels{source}; {machine()}; {versions()}\n")
    print(HEADER)
    results = []
    for case in all_cases():
        if arguments.only not in case.name or (arguments.readme and not case.shown):
            continue
        results.append(measure(case, data.get(case.data, case.dtype), arguments.runs))
        print(row(results[-1], " *" * case.shown), flush=True)
    if arguments.json:
        write_json(results, arguments.json, arguments.size)
    if arguments.plot:
        plot(results, arguments.plot, arguments.size)
    if arguments.readme:
        write_readme(results, arguments.size)


if __name__ == "__main__":
    main()
