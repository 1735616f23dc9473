"""What every kind of source has to do, whatever it is stored in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

import dask
import numpy as np
import numpy.typing as npt
import pytest
from dask.utils import parse_bytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chunkpyramid as cp
from chunkpyramid.engine.process_memory import BASELINE
from chunkpyramid.sources.open import open_source

__all__ = ["ReaderSuite"]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

AXES = "tczyx"
FEWEST_AXES = 2

# by number of axes: odd sizes, axes of size 1, and chunks that do not divide them
SHAPES: dict[int, Shape] = {2: (13, 17), 3: (7, 1, 19), 4: (2, 5, 9, 7), 5: (1, 3, 4, 7, 9)}
CHUNKS: dict[int, Shape] = {2: (5, 4), 3: (3, 1, 8), 4: (1, 3, 4, 5), 5: (1, 2, 3, 4, 2)}

# what a voxel costs an operation, so that a piece of few voxels takes all the memory there is
BYTES_PER_VOXEL = 2**16


class ReaderSuite:
    """The tests of a kind of source: a subclass for each kind, whose name begins with ``Test``, makes the sources.

    A new kind is about ten lines:

    >>> class TestHdf5(ReaderSuite):  # doctest: +SKIP
    ...     dtypes = ("u1", "i2", "u2", "f4")
    ...
    ...     def make(self, folder, values, chunks):
    ...         with h5py.File(folder / "volume.h5", "w") as file:
    ...             file.create_dataset("volume", data=values, chunks=chunks)
    ...         return folder / "volume.h5"

    `make` is all that is needed. The other methods and the attributes tell what the kind does otherwise than most.

    Attributes
    ----------
    dtypes : tuple of str
        What voxels can be.
    is_sendable : bool
        Whether workers in other processes can read the source.
    is_divisible : bool
        Whether a part of the source can be had without all of it.
    known_by : "place" or "values"
        What tells one source from another: where it is, or what is in it.
    """

    dtypes: ClassVar[tuple[str, ...]] = ("?", "u1", "i1", "u2", ">i2", "u4", "i8", ">u8", "f2", ">f4", "f8", "c8")
    is_sendable: ClassVar[bool] = True
    is_divisible: ClassVar[bool] = True
    known_by: ClassVar[Literal["place", "values"]] = "place"

    def make(self, folder: Path, values: Array, chunks: Shape) -> Any:
        """Return what a user would pass as source; all files of it are in the folder, which is there and empty."""
        raise NotImplementedError

    def again(self, source: Any) -> Any:
        """Return another opening of the same source."""
        return source

    def chunks_of(self, shape: Shape, chunks: Shape) -> Shape:
        """Return the chunks that the volume has if `make` was asked for these."""
        return chunks

    def remove(self, source: Any) -> tuple[slice, ...] | None:
        """Remove a part of what is stored and return the box of its voxels; None if this kind has no such parts."""
        return None

    def damage(self, source: Any) -> str | None:
        """Spoil a part of what is stored and return how messages call it; None if this kind has no such parts."""
        return None

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "dtype" in metafunc.fixturenames:
            metafunc.parametrize("dtype", self.dtypes[::3])
        if "scheduler" in metafunc.fixturenames:
            schedulers = ["synchronous", "synchronous", "threads", "processes" if self.is_sendable else "threads"]
            metafunc.parametrize(
                ("scheduler", "ndim"), list(zip(schedulers, SHAPES, strict=True)), indirect=["scheduler"]
            )

    @pytest.fixture
    def scheduler(self, request: pytest.FixtureRequest, worker_processes: Executor) -> Iterator[str]:
        pool = {"pool": worker_processes} if request.param == "processes" else {}
        with dask.config.set(scheduler=request.param, num_workers=2, **pool):
            yield request.param

    @given(data=st.data())
    @settings(max_examples=8, suppress_health_check=[HealthCheck.differing_executors])
    def test_any_box_is_that_of_numpy(self, data: st.DataObject) -> None:
        ndim = data.draw(st.integers(FEWEST_AXES, len(AXES)))
        shape = data.draw(st.tuples(*[st.integers(1, 9)] * ndim))
        chunks = data.draw(st.tuples(*[st.integers(1, 10)] * ndim))
        values = extreme_values(shape, data.draw(st.sampled_from(self.dtypes)), data.draw(st.integers(0, 99)))
        with TemporaryDirectory() as folder:
            volume = cp.open_volume(self.make(Path(folder), values.copy(), chunks))
            assert volume.shape == shape
            assert volume.dtype == native(values).dtype
            assert volume.chunks == self.chunks_of(shape, chunks)
            for _ in range(3):
                bounds = [sorted(data.draw(st.tuples(*[st.integers(0, size)] * 2))) for size in shape]
                box = tuple(slice(*bound) for bound in bounds)
                found = volume[box]
                assert_same_bits(found, values[box])
                if found.flags.writeable:
                    found[...] = np.ones((), found.dtype)
            assert_same_bits(volume[...], values)

    def test_map_blocks_finds_each_voxel_in_its_place(self, dtype: str, tmp_path: Path) -> None:
        values, source = self.volume(tmp_path, 2 + self.dtypes.index(dtype) // 3 % len(SHAPES), dtype)
        function = Same()
        with dask.config.set(scheduler="synchronous"):
            volume = in_little_memory(
                lambda limit: cp.map_blocks(
                    function,
                    source,
                    tmp_path / "target.zarr",
                    chunks=4,
                    bytes_per_voxel=BYTES_PER_VOXEL,
                    memory_limit=limit,
                )
            )
        assert len(function.calls) > self.is_divisible
        assert_same_bits(volume[...], values)
        assert_same_bits(cp.open_volume(source)[...], values)

    def test_map_blocks_finds_the_neighbours(self, ndim: int, scheduler: str, tmp_path: Path) -> None:
        values, source = self.volume(tmp_path, ndim)
        volume = in_little_memory(
            lambda limit: cp.map_blocks(
                largest_around,
                source,
                tmp_path / "target.zarr",
                halo=(1,) * ndim,
                chunks=4,
                bytes_per_voxel=BYTES_PER_VOXEL,
                memory_limit=limit,
            )
        )
        np.testing.assert_array_equal(volume[...], largest_around(native(values)))

    def test_reduce_blocks_reads_each_voxel_once(self, ndim: int, scheduler: str, tmp_path: Path) -> None:
        values, source = self.volume(tmp_path, ndim, self.dtypes[-ndim % len(self.dtypes)])
        pieces, *found = in_little_memory(
            lambda limit: cp.reduce_blocks(
                sum_of_bits, np.add, source, bytes_per_voxel=BYTES_PER_VOXEL, memory_limit=limit
            )
        )
        assert pieces > self.is_divisible
        np.testing.assert_array_equal(found, sum_of_bits(native(values))[1:])

    def test_level_0_of_a_pyramid_is_the_source(self, ndim: int, scheduler: str, tmp_path: Path) -> None:
        values, source = self.volume(tmp_path, ndim, self.dtypes[(2 * ndim + 1) % len(self.dtypes)])
        pyramid = in_little_memory(
            lambda limit: cp.build_pyramid(
                source, tmp_path / "target.zarr", levels=1, method="stride", chunks=4, memory_limit=limit
            )
        )
        assert pyramid.plan.tasks > self.is_divisible
        halved = tuple(slice(None, None, 2 if axis in "zyx" else 1) for axis in pyramid.axes)
        for level, expected in zip(pyramid.levels, (values, values[halved]), strict=True):
            assert_same_bits(level[...], expected)

    def test_another_opening_is_the_same_source(self, tmp_path: Path) -> None:
        values, source = self.volume(tmp_path, 3)
        identity = identity_of(source)
        assert identity_of(source) == identity
        assert identity_of(self.again(source)) == identity
        if self.known_by == "values":
            values = values.copy()
            values[-1, -1, -1] = values[-1, -1, -1] == 0
        (tmp_path / "elsewhere").mkdir()
        assert identity_of(self.make(tmp_path / "elsewhere", values, CHUNKS[3])) != identity

    def test_a_job_that_fails_goes_on_with_another_opening(self, tmp_path: Path) -> None:
        values, source = self.volume(tmp_path, 2)
        options: dict[str, Any] = {"chunks": CHUNKS[2], "bytes_per_voxel": BYTES_PER_VOXEL, "memory_limit": "1 GiB"}
        failed, went_on = (FailsOnce(tmp_path / "failed", at=4 if self.is_divisible else 1) for _ in range(2))
        with dask.config.set(scheduler="synchronous"):
            with pytest.raises(cp.BuildError, match="fails once"):
                cp.map_blocks(failed, source, tmp_path / "target.zarr", **options)
            volume = cp.map_blocks(went_on, self.again(source), tmp_path / "target.zarr", **options)
        assert_same_bits(volume[...], values)
        if self.is_divisible:
            assert 0 < sum(went_on.calls) < values.size

    def test_a_part_that_is_missing_holds_the_fill_value(self, tmp_path: Path) -> None:
        values, source = self.volume(tmp_path, 3)
        box = self.remove(source)
        if box is None:
            pytest.skip("no part of this kind can be missing")
        assert values[box].any()
        values[box] = 0
        assert_same_bits(cp.open_volume(self.again(source))[...], values)
        with dask.config.set(scheduler="synchronous"):
            assert_same_bits(cp.map_blocks(Same(), source, tmp_path / "target.zarr")[...], values)

    def test_a_part_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        _, source = self.volume(tmp_path, 3)
        part = self.damage(source)
        if part is None:
            pytest.skip("no part of this kind can be damaged")
        with dask.config.set(scheduler="synchronous"):
            with pytest.raises(cp.BuildError, match=rf"{re.escape(part)} .*cannot be read"):
                cp.reduce_blocks(sum_of_bits, np.add, self.again(source))
            with pytest.raises(cp.BuildError, match=rf"{re.escape(part)} .*cannot be read"):
                cp.build_pyramid(source, tmp_path / "target.zarr", levels=1, method="stride")

    def volume(self, folder: Path, ndim: int, dtype: str | None = None) -> tuple[Array, Any]:
        """Return values, by default integers if the kind has any, and a source of them."""
        default = next((name for name in self.dtypes if np.dtype(name).kind in "iu"), self.dtypes[0])
        values = extreme_values(SHAPES[ndim], dtype or default)
        (folder / "source").mkdir()
        return values, self.make(folder / "source", values.copy(), CHUNKS[ndim])


@dataclass
class Same:
    """Returns the voxels that it is given, and notes how many they were."""

    calls: list[int] = field(default_factory=list)

    def __call__(self, part: Array) -> Array:
        assert part.dtype.isnative
        assert not part.flags.writeable
        self.calls.append(part.size)
        return part


@dataclass
class FailsOnce(Same):
    """Fails when it is called so often for the first time, if there is no file that tells that it has done so."""

    failed: Path = Path()
    at: int = 1

    def __init__(self, failed: Path, at: int):
        super().__init__()
        self.failed, self.at = failed, at

    def __call__(self, part: Array) -> Array:
        if len(self.calls) + 1 == self.at and not self.failed.exists():
            self.failed.touch()
            raise ValueError("this function fails once")
        return super().__call__(part)


def largest_around(part: Array) -> Array:
    """Return the largest of all voxels that are no farther than 1 away along any axis."""
    for axis in range(part.ndim):
        moved = np.moveaxis(np.pad(part, [(int(axis == other),) * 2 for other in range(part.ndim)], "edge"), axis, 0)
        with np.errstate(invalid="ignore"):
            part = np.moveaxis(np.maximum(np.maximum(moved[:-2], moved[1:-1]), moved[2:]), 0, axis)
    return part


def sum_of_bits(part: Array) -> Array:
    """Return the numbers of pieces and of voxels, and the sum of their bits, taken for a number, modulo 2 ** 64."""
    assert part.dtype.isnative
    bits = np.ascontiguousarray(part).view(f"u{part.dtype.itemsize}")
    return np.array([1, part.size, bits.sum(dtype=np.uint64)], np.uint64)


def in_little_memory(call: Callable[[int], Any]) -> Any:
    """Return what a call gives with the least memory limit that it says would do."""
    limit = BASELINE
    while True:
        try:
            return call(limit)
        except cp.PlanError as error:
            least = re.search(r"at least ([\d.]+ \w+)", str(error))
            assert least is not None
            assert parse_bytes(least[1]) > limit
            limit = parse_bytes(least[1])


def identity_of(source: Any) -> str:
    return open_source(source, None).identity()


def native(values: Array) -> Array:
    return values.astype(values.dtype.newbyteorder("="))


def assert_same_bits(found: Array, values: Array) -> None:
    """Assert that arrays are the same to the bit, NaN and the sign of zero included, but for the order of bytes."""
    expected = native(values)
    # the first tells which voxels differ
    np.testing.assert_array_equal(found, expected, strict=True)
    assert found.tobytes() == expected.tobytes()


def extreme_values(shape: Shape, dtype: str, seed: int = 0) -> Array:
    """Return any bits that there are, many extreme ones among them, and some layers of zeros and of -0.0."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype).newbyteorder("=")
    if kind.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    part = np.dtype(f"f{kind.itemsize // 2}") if kind.kind == "c" else kind
    count = int(np.prod(shape)) * kind.itemsize // part.itemsize
    values = np.frombuffer(rng.bytes(count * part.itemsize), part).copy()
    if part.kind == "f":
        info = np.finfo(part)
        # zarr compares voxels when it stores them, and NumPy warns of NaN that signal
        with np.errstate(invalid="ignore"):
            values *= np.ones((), part)
        # zarr 3.1 does not store chunks that are all zero, and takes those of complex -0.0 for such
        zeros = [0.0] if kind.kind == "c" else [0.0, -0.0]
        special = [np.nan, -np.nan, np.inf, -np.inf, *zeros, info.max, info.min, info.smallest_subnormal]
    else:
        bounds = np.iinfo(part)
        special = [bounds.min, bounds.max, 0, 1]
    chosen = rng.random(count) < 0.4
    values[chosen] = rng.choice(np.array(special, part), np.count_nonzero(chosen))
    array = values.view(kind).reshape(shape)
    array[..., 1:3] = 0
    if kind.kind == "f":
        array[..., 3:5] = -np.zeros((), kind)
    return array.astype(np.dtype(dtype))
