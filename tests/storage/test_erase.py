"""Blocks that run again: what an interrupted try left is replaced, and nothing else is touched."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import zarr
from helpers.counting_store import CountingStore
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.engine.journal import Journal

LABELS = np.random.default_rng(0).integers(1, 5, (33, 40, 37)).astype(np.uint16)
# here nothing is written that could replace what is torn
LABELS[:16, :16, :16] = 0
OPTIONS: dict[str, Any] = {"levels": 3, "chunks": 4, "method": "mode"}


@pytest.fixture(autouse=True)
def many_blocks_and_stages() -> Iterator[None]:
    with dask.config.set(scheduler="threads", num_workers=8):
        yield


class Interrupted(Exception):
    pass


def interrupted_build(target: Any, at: int, **options: Any) -> tuple[Journal, cp.PyramidPlan]:
    """Build until so many blocks are done."""

    def interrupt(done: int, total: int) -> None:
        if done >= at:
            raise Interrupted

    with pytest.raises(Interrupted):
        cp.build_pyramid(LABELS, target, progress=interrupt, **OPTIONS | options)
    journal = Journal.find(zarr.open_group(target))
    assert journal is not None
    return journal, cp.plan_pyramid(LABELS, MemoryStore(), **OPTIONS | options)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "options",
    [{}, {"zarr_format": 2}, {"shards": 8}, {"method": "mean"}, {"method": "exact_mode", "chunks": 8}],
    ids=str,
)
def test_what_is_torn_is_gone_when_a_block_has_run_again(tmp_path: Path, options: dict[str, Any]) -> None:
    target = tmp_path / "target.zarr"
    _, plan = interrupted_build(target, plan_tasks(options), **options)
    stage = plan.stages[0]
    # the first block is done, which is forgotten now
    first = ".".join("0" * LABELS.ndim)
    (flag,) = (target / ".chunkpyramid" / "done" / "0").glob(f"*/{first}")
    flag.unlink()
    torn = 0
    for output in stage.outputs:
        if output.is_carry:
            continue
        level = zarr.open_array(target / str(output.level))
        unit = level.shards or level.chunks
        box = [-(-b // f) for b, f in zip(stage.block, output.factor, strict=True)]
        for index in itertools.product(*(range(-(-n // u)) for n, u in zip(box, unit, strict=True))):
            path = target / str(output.level) / level.metadata.encode_chunk_key(index)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"torn")
            path.with_suffix(".0123abcd.partial").write_bytes(b"torn")
            torn += 1
    assert torn > len(stage.outputs)
    cp.build_pyramid(LABELS, target, **OPTIONS | options)
    cp.build_pyramid(LABELS, tmp_path / "whole.zarr", **OPTIONS | options)
    assert files(target) == files(tmp_path / "whole.zarr")


def plan_tasks(options: dict[str, Any]) -> int:
    """How many blocks the first stage has."""
    plan = cp.plan_pyramid(LABELS, MemoryStore(), **OPTIONS | options)
    assert len(plan.stages) > 1
    assert plan.stages[0].tasks > 1
    return plan.stages[0].tasks


@pytest.mark.parametrize("shards", [None, 8])
def test_only_blocks_that_were_begun_are_replaced(shards: int | None) -> None:
    memory = MemoryStore()
    journal, plan = interrupted_build(memory, 3, shards=shards)
    stage = plan.stages[0]
    flags = journal.flags(stage.index, stage.grid)
    (window,) = flags.windows()
    begun = flags.begun(window)
    # one block is done, which is forgotten now
    again = tuple(np.argwhere(flags.done(window))[0])
    (key,) = (k for k in memory._store_dict if "/done/0/" in k and k.endswith("/" + ".".join(map(str, again))))
    del memory._store_dict[key]
    interrupted = begun & ~flags.done(window)
    assert interrupted[again]
    assert not begun.all()

    store = CountingStore(memory)
    pyramid = cp.build_pyramid(LABELS, store, shards=shards, **OPTIONS)
    allowed = set()
    for output in stage.outputs:
        if output.is_carry:
            continue
        level = pyramid.levels[output.level]
        unit = level.shards or level.chunks
        for block in np.argwhere(interrupted):
            starts = [int(i) * b // f for i, b, f in zip(block, stage.block, output.factor, strict=True)]
            stops = [
                min(n, s + b // f) for n, s, b, f in zip(level.shape, starts, stage.block, output.factor, strict=True)
            ]
            ranges = [range(a // u, -(-b // u)) for a, b, u in zip(starts, stops, unit, strict=True)]
            allowed |= {
                f"{level.path}/{level.metadata.encode_chunk_key(index)}" for index in itertools.product(*ranges)
            }
    # only what holds nothing but the fill value; all else is replaced
    assert set(store.counts["delete"]) <= allowed
    expected = cp.build_pyramid(LABELS, {}, shards=shards, **OPTIONS)
    for level, values in zip(pyramid.levels, expected.levels, strict=True):
        np.testing.assert_array_equal(level[...], values[...])


def test_an_undisturbed_build_deletes_nothing() -> None:
    store = CountingStore(MemoryStore())
    cp.build_pyramid(LABELS, store, **OPTIONS)
    assert not store.counts["delete"]
