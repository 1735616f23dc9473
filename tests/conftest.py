"""What all tests share: hypothesis without a clock, and builds that are small but go through many blocks and stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import dask
import dask.multiprocessing
import pytest
from helpers.child import set_up_workers
from hypothesis import HealthCheck, settings

import chunkpyramid as cp
from chunkpyramid.engine.process_memory import BASELINE

# an interpreter takes more than a second to import the package, so the workers of most tests begin with it imported
set_up_workers()

# the machines that run the tests are shared, so how long an example takes says nothing
settings.register_profile("chunkpyramid", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("chunkpyramid")


@pytest.fixture
def synchronous() -> Iterator[None]:
    """All dask work in this thread, one task at a time."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="session")
def worker_processes() -> Iterator[ProcessPoolExecutor]:
    """Two processes for Dask, which start when there is work for them: starting some for each test would take long."""
    with ProcessPoolExecutor(
        2, mp_context=get_context("spawn"), initializer=dask.multiprocessing.initialize_worker_process
    ) as pool:
        yield pool


@pytest.fixture(scope="session")
def least_memory() -> Callable[..., int]:
    """The smallest memory limit, to a kibibyte, with which a build can be planned: what forces stages and blocks."""

    def find(source: Any, target: Any = None, **options: Any) -> int:
        def suffices(limit: int) -> bool:
            try:
                cp.plan_pyramid(source, target, memory_limit=limit, **options)
            except cp.PlanError:
                return False
            return True

        low, high = BASELINE, 2 * BASELINE
        while not suffices(high):
            low, high = high, 2 * high
        while high - low > 1024:
            middle = (low + high) // 2
            low, high = (low, middle) if suffices(middle) else (middle, high)
        return high

    return find
