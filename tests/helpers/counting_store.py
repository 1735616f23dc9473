"""A zarr store that counts what is asked of it."""

from __future__ import annotations

from typing import Any

from zarr.storage import WrapperStore


class CountingStore(WrapperStore[Any]):
    """A store that knows how often each chunk was read, written and deleted; it fails at a chosen write of a chunk."""

    _supports_sync_io = False

    def __init__(self, store: Any, counts: dict[str, list[str]] | None = None):
        super().__init__(store)
        self.counts = {"get": [], "set": [], "delete": [], "fail": []} if counts is None else counts

    def _with_store(self, store: Any) -> CountingStore:
        return CountingStore(store, self.counts)

    def _note(self, kind: str, key: str) -> None:
        if "/c/" in key and ".chunkpyramid" not in key:
            self.counts[kind].append(key)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        self._note("get", key)
        return await super().get(key, prototype, byte_range)

    async def set(self, key: str, value: Any) -> None:
        self._note("set", key)
        if self.counts["fail"] and len(self.counts["set"]) == int(self.counts["fail"][0]):
            raise OSError("the connection was lost")
        await super().set(key, value)

    async def delete(self, key: str) -> None:
        self._note("delete", key)
        await super().delete(key)
