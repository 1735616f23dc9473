"""A real cluster of `distributed` on this machine."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from helpers.child import start_server


@contextmanager
def cluster(*, processes: bool, threads_per_worker: int = 4) -> Iterator[Any]:
    """Yield a cluster of two workers, which is what Dask uses meanwhile."""
    distributed = pytest.importorskip("distributed")
    if processes:
        start_server()
    with (
        warnings.catch_warnings(),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=threads_per_worker,
            processes=processes,
            dashboard_address=":0",
            memory_limit="2 GiB",
        ) as local,
        distributed.Client(local),
    ):
        warnings.simplefilter("ignore", ResourceWarning)
        yield local
    gc.collect()
