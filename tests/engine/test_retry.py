"""What may pass is tried again, and what cannot pass fails at once."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore, WrapperStore

import chunkpyramid as cp
from chunkpyramid.engine import retry

IMAGE = np.random.default_rng(0).integers(0, 255, (20, 24, 28)).astype(np.uint8)


class StatusError(Exception):
    def __init__(self, status: int):
        super().__init__(f"status {status}")
        self.status = status


class BotoError(Exception):
    def __init__(self, status: int):
        super().__init__(f"status {status}")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


class ServerDisconnectedError(Exception):
    pass


PASSING = [
    ConnectionResetError("reset"),
    TimeoutError("late"),
    OSError(errno.ESTALE, "stale"),
    StatusError(503),
    StatusError(429),
    BotoError(500),
    ServerDisconnectedError(),
]
LASTING = [
    OSError(errno.ENOSPC, "full"),
    PermissionError("no"),
    ValueError("nonsense"),
    StatusError(404),
    BotoError(403),
]


class Failing(WrapperStore[Any]):
    """A store that fails so many times in a row whenever a chunk is asked for the first time."""

    def __init__(self, store: Any, error: Exception, times: int):
        super().__init__(store)
        self.error, self.times = error, times
        self.calls: dict[str, int] = {}

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        if "/c/" in f"/{key}":
            self.calls[key] = self.calls.get(key, 0) + 1
            if self.calls[key] <= self.times:
                raise self.error
        return await self._store.get(key, prototype, byte_range)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.001)


def failing_source(path: Path, error: Exception, times: int) -> tuple[Failing, zarr.Array[Any]]:
    # one chunk, so that what fails is known
    zarr.create_array(LocalStore(path), data=IMAGE, chunks=IMAGE.shape)
    store = Failing(LocalStore(path), error, times)
    return store, zarr.open_array(store, mode="r+")


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_a_build_survives_what_passes(tmp_path: Path, error: Exception) -> None:
    _, source = failing_source(tmp_path / "source.zarr", error, retry.TRIES - 1)
    pyramid = cp.build_pyramid(source, tmp_path / "target.zarr", levels=1, chunks=32)
    expected = cp.build_pyramid(IMAGE, tmp_path / "expected.zarr", levels=1, chunks=32)
    np.testing.assert_array_equal(pyramid.levels[1][:], expected.levels[1][:])


def test_what_does_not_pass_fails_after_three_tries(tmp_path: Path) -> None:
    store, source = failing_source(tmp_path / "source.zarr", StatusError(503), 99)
    with pytest.raises(cp.BuildError, match="status 503"):
        cp.build_pyramid(source, tmp_path / "target.zarr", levels=1, chunks=32)
    assert set(store.calls.values()) == {retry.TRIES}
    assert retry.TRIES == 3


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_what_cannot_pass_fails_at_once(tmp_path: Path, error: Exception) -> None:
    store, source = failing_source(tmp_path / "source.zarr", error, 99)
    with pytest.raises(cp.BuildError):
        cp.build_pyramid(source, tmp_path / "target.zarr", levels=1, chunks=32)
    assert set(store.calls.values()) == {1}


def test_a_reduction_counts_every_voxel_once_though_blocks_fail(tmp_path: Path) -> None:
    _, source = failing_source(tmp_path / "source.zarr", ConnectionResetError("reset"), 2)
    counts = cp.reduce_blocks(lambda piece: np.bincount(piece.ravel(), minlength=256), np.add, source)
    np.testing.assert_array_equal(counts, np.bincount(IMAGE.ravel(), minlength=256))


def test_pauses_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(retry, "sleep", pauses.append)
    monkeypatch.setattr(retry, "FIRST_PAUSE", 8.0)

    def attempt(is_retry: bool) -> None:
        assert is_retry == bool(pauses)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        retry.with_retries(attempt)
    first, second = pauses
    assert 4 <= first <= 12
    assert 8 <= second <= 24
