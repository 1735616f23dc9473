"""The exact mode: its runs, their carry, and the memory that they may take."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import _chunkpyramid_exact_mode as kernels
import dask
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from helpers.fast_oracles import fast_levels
from helpers.oracles import oracle_levels
from hypothesis import given, settings
from hypothesis import strategies as st
from test_methods import assert_same, cases

import chunkpyramid as cp
from chunkpyramid.boxes import AxisFootprint
from chunkpyramid.errors import ArgumentError
from chunkpyramid.pyramid.plan import carry_chunks
from chunkpyramid.reductions.exact_mode import Runs
from chunkpyramid.reductions.methods import resolve_method
from chunkpyramid.reductions.reduction import Part

Array = npt.NDArray[Any]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int64", "float32"])
@pytest.mark.parametrize(("factor", "sparse"), [((16, 16, 16), False), ((16, 16, 16), True), ((5, 1, 40), False)])
def test_footprints_of_many_labels(factor: tuple[int, ...], sparse: bool, dtype: str) -> None:
    random = np.random.default_rng(0)
    array = random.integers(0, 3000, (33, 20, 47)).astype(dtype)
    (actual,) = cp.downsample(array, factor, method="exact_mode", sparse=sparse)
    for index in np.ndindex(actual.shape):
        under = array[tuple(slice(i * f, (i + 1) * f) for i, f in zip(index, factor, strict=True))]
        labels, counts = np.unique(under[under != 0] if sparse else under, return_counts=True)
        assert actual[index] == labels[np.argmax(counts)]


def test_runs_are_sorted_and_complete() -> None:
    array = np.random.default_rng(1).integers(-60, 60, (9, 30, 31)).astype(np.int32)
    for order, factors in itertools.product("CF", [[(3, 10, 10)], [(3, 2, 5), (1, 5, 2)]]):
        reduction = resolve_method("exact_mode", "int32")
        state = reduction.lift(np.array(array, order=order))
        for factor in factors:
            state = reduction.fold(state, factor)
        assert isinstance(state, Runs)
        fields = reduction.to_carry(state)
        begin = 0
        for index, length in zip(np.ndindex(state.shape), fields["lengths"].flat, strict=True):
            under = array[tuple(slice(i * f, (i + 1) * f) for i, f in zip(index, (3, 10, 10), strict=True))]
            labels, counts = np.unique(under, return_counts=True)
            keys = fields["keys"][begin : begin + length]
            np.testing.assert_array_equal(keys.astype(np.int64) - 2**31, labels)
            np.testing.assert_array_equal(fields["counts"][begin : begin + length], counts)
            begin += length
        assert begin == fields["keys"].size


@settings(max_examples=100, deadline=None, database=None)
@given(cases("exact_mode"), st.data())
def test_the_carry_is_the_state_however_it_is_cut(case: Any, data: st.DataObject) -> None:
    array, factors, rules = case
    reduction = resolve_method("exact_mode", array.dtype, **rules)
    state = reduction.lift(array)
    for level, factor in enumerate(factors):
        state = reduction.fold(state, factor)
        fields = reduction.to_carry(state, 2 ** data.draw(st.sampled_from([1, 40])))
        assert state.footprints is not None
        restored = reduction.from_carry(fields, state.footprints)
        cuts = [data.draw(st.integers(0, n)) for n in state.shape]
        parts = []
        for sides in itertools.product([False, True], repeat=len(cuts)):
            box = tuple(
                slice(c if after else 0, n if after else c)
                for c, n, after in zip(cuts, state.shape, sides, strict=True)
            )
            shape = tuple(side.stop - side.start for side in box)
            if 0 in shape:
                continue
            footprints = tuple(
                AxisFootprint(axis.each if side.stop - side.start > 1 else last, last)
                for axis, side, n in zip(state.footprints, box, state.shape, strict=True)
                for last in [axis.last if side.stop == n else axis.each]
            )
            everything = tuple(slice(None) for _ in shape)
            part = reduction.assemble(shape, footprints, [Part(everything, restored, box)])
            parts.append(Part(box, part, everything))
        joined = reduction.assemble(state.shape, state.footprints, parts)
        expected = oracle_levels(array, factors[: level + 1], "exact_mode", **{"sparse": False} | rules)[-1]
        for same in (state, restored, joined):
            assert_same(reduction.render(same), expected)
        for name, field in reduction.to_carry(joined).items():
            np.testing.assert_array_equal(field, reduction.to_carry(state)[name])
        state = data.draw(st.sampled_from([state, restored, joined]))


def test_counts_beyond_32_bits() -> None:
    reduction = resolve_method("exact_mode", "uint8")
    assert reduction.carry_dtypes(2**32 - 1)["counts"] == np.uint32
    assert reduction.carry_dtypes(2**32)["counts"] == np.uint64
    fields = {"lengths": np.array([2, 1]), "keys": np.array([3, 9, 3], np.uint8), "counts": np.array([2**31, 1, 2**31])}
    state = reduction.from_carry(fields, (AxisFootprint(2**31 + 1, 2**31),))
    folded = reduction.fold(state, (2,))
    np.testing.assert_array_equal(reduction.to_carry(folded)["counts"], [2**32, 1])


def test_all_levels_are_canonical() -> None:
    """Bits must not depend on the order in which equal voxels are met, nor on stages."""
    array = np.array([[-0.0, 0.0, -math.nan, 1.0]], np.float32)
    reduction = resolve_method("exact_mode", "float32")
    state = reduction.lift(array)
    _, rendered = reduction.step(state, (1, 1))
    assert not np.signbit(rendered[0, :3]).any()
    _, rendered = reduction.step(state, (1, 2))
    np.testing.assert_array_equal(rendered, [[0.0, 1.0]])


def test_what_does_not_fit_is_said() -> None:
    reduction = resolve_method("exact_mode", "uint16")
    one = AxisFootprint(1, 1)
    with pytest.raises(ArgumentError, match="counts"):
        reduction.from_carry({"lengths": np.array([1])}, (one,))
    with pytest.raises(ArgumentError, match="footprints"):
        reduction.from_carry(dict.fromkeys(("lengths", "keys", "counts"), np.array([1])), (one, one))
    with pytest.raises(ArgumentError, match="arrays"):
        resolve_method("mean", "uint16").assemble((1,), (one,), [])
    state = reduction.lift(np.arange(4096, dtype=np.uint16).reshape(16, 16, 16))
    with pytest.raises(MemoryError, match="memory_limit"):
        reduction.within(4096).fold(state, (4, 4, 4))
    runs = (np.array([0, 2]), np.zeros(1, np.uint16), np.zeros(1, np.uint32))
    for broken in (runs, (np.array([0, -1]), *runs[1:]), (np.array([1, 1]), *runs[1:])):
        with pytest.raises(ValueError, match=r"vector|offsets"):
            kernels.fold_runs(
                None, broken, dtype="uint16", shape=(1,), factor=(1,), count_itemsize=4, background=b"\0\0"
            )


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_carries_on_any_store(zarr_format: int, tmp_path: Path) -> None:
    array = np.random.default_rng(2).integers(0, 5, (40, 50, 30)).astype(np.uint32)
    expected = [array, *fast_levels(array, [(2, 2, 2)] * 3, "exact_mode")]
    targets: list[Any] = [tmp_path / "local.zarr", {}, f"memory://exact{zarr_format}.zarr"]
    with dask.config.set(scheduler="threads", num_workers=16):
        for target in targets:
            pyramid = cp.build_pyramid(
                zarr.create_array({}, data=array, chunks=(8, 8, 8)),
                target,
                method="exact_mode",
                levels=3,
                zarr_format=zarr_format,
            )
            assert pyramid.plan is not None
            assert "carry" in {stage.reads for stage in pyramid.plan.stages}
            for level, values in zip(pyramid.levels, expected, strict=True):
                np.testing.assert_array_equal(level[...], values, strict=True)
    assert not (tmp_path / "local.zarr" / ".chunkpyramid").exists()


def test_processes_hand_each_other_the_carry(tmp_path: Path) -> None:
    array = np.random.default_rng(3).integers(0, 5, (33, 40, 37)).astype(np.int16)
    zarr.create_array(tmp_path / "source.zarr", data=array, chunks=(8, 8, 8))
    with dask.config.set(scheduler="processes", num_workers=2):
        pyramid = cp.build_pyramid(
            tmp_path / "source.zarr", tmp_path / "target.zarr", method="exact_mode", levels=3, memory_limit="1 GiB"
        )
    assert pyramid.plan is not None
    assert "carry" in {stage.reads for stage in pyramid.plan.stages}
    for level, values in zip(pyramid.levels[1:], fast_levels(array, [(2, 2, 2)] * 3, "exact_mode"), strict=True):
        np.testing.assert_array_equal(level[...], values)


@pytest.mark.parametrize("cell_bytes", [1, 3000])
def test_cells_smaller_than_chunks(cell_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chunkpyramid.pyramid.plan.CELL_BYTES", cell_bytes)
    array = np.random.default_rng(4).integers(0, 5, (90, 70, 50)).astype(np.uint8)
    source = zarr.create_array({}, data=array, chunks=(12, 9, 8))
    with dask.config.set(scheduler="threads", num_workers=16):
        pyramid = cp.build_pyramid(source, {}, method="exact_mode", levels=3)
    assert pyramid.plan is not None
    assert pyramid.plan.stages[1].reads == "carry"
    carried = pyramid.plan.levels[pyramid.plan.stages[0].last_level]
    cell = carry_chunks(resolve_method("exact_mode", "uint8"), carried)
    assert cell == ((3, 9, 1) if cell_bytes == 1 else (3, 9, 2))
    for level, values in zip(pyramid.levels[1:], fast_levels(array, [(2, 2, 2)] * 3, "exact_mode"), strict=True):
        np.testing.assert_array_equal(level[...], values)


# -------------------------------------------------------------------------------------------------------- memory

CHILD = """
import sys
import dask
import chunkpyramid as cp
from chunkpyramid.engine.process_memory import peak_memory

source, target, limit = sys.argv[1:]
with dask.config.set(scheduler="threads", num_workers=2):
    try:
        plan = cp.build_pyramid(source, target, method="exact_mode", levels=5, memory_limit=int(limit)).plan
        print(plan.peak_bytes, {stage.reads for stage in plan.stages}, end=" ")
    except cp.BuildError as error:
        print(error, end=" ")
print(peak_memory())
"""


def built_in_a_child(array: Array, tmp_path: Path, limit: int) -> tuple[str, int]:
    zarr.create_array(tmp_path / "source.zarr", data=array, chunks=(32, 32, 32))
    command = [sys.executable, "-c", CHILD, str(tmp_path / "source.zarr"), str(tmp_path / "target.zarr"), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told, _, peak = done.stdout.strip().rpartition(" ")
    return told, int(peak)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak")
def test_the_measured_peak_keeps_the_promise(tmp_path: Path) -> None:
    """Of labels so small that there are many in each footprint."""
    index = np.indices((256, 256, 256), np.uint16)
    array = (index[0] // 5 * 10_000 + index[1] // 6 * 100 + index[2] // 7).astype(np.uint64)
    told, peak = built_in_a_child(array, tmp_path, 280 * 2**20)
    promised, _, reads = told.partition(" ")
    assert "carry" in reads
    assert peak <= int(promised) <= 280 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak")
def test_too_many_labels_are_an_error_and_not_more_memory(tmp_path: Path) -> None:
    array = np.arange(192**3, dtype=np.uint64).reshape(192, 192, 192)
    limit = 280 * 2**20
    told, peak = built_in_a_child(array, tmp_path, limit)
    assert "block (" in told
    assert "memory_limit" in told
    assert peak <= limit
