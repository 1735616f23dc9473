"""A pyramid that is there, planned anew: what `update_pyramid` and `verify_pyramid` work on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from chunkpyramid.boxes import Shape, ceil_shape, divide
from chunkpyramid.engine.machine import memory_bytes
from chunkpyramid.engine.process_memory import keeping_to_limit
from chunkpyramid.errors import ArgumentError
from chunkpyramid.pyramid.plan import PlanRequest, PyramidPlan, make_levels
from chunkpyramid.pyramid.plan_stages import make_plan
from chunkpyramid.pyramid.pyramid import Pyramid
from chunkpyramid.reductions.methods import METHODS, Reduction, resolve_method
from chunkpyramid.storage.chunk_io import chunk_access

__all__ = ["Existing", "plan_existing"]


@dataclass(frozen=True)
class Existing:
    """A pyramid, how its levels were made, and the plan to make them again from its level 0."""

    pyramid: Pyramid
    reduction: Reduction
    plan: PyramidPlan


def plan_existing(pyramid: Pyramid, memory_limit: int | str | None) -> Existing:
    """Plan to make the levels of a pyramid again.

    Raises
    ------
    ArgumentError
        If its metadata do not tell how the levels were made, or do not fit the arrays.
    PlanError
        If the memory limit is too small.
    """
    from chunkpyramid.engine.scheduler import active_machine

    reduction = _reduction(pyramid)
    first = pyramid.levels[0]
    shards = [None if level.shards is None else _ints(level.shards) for level in pyramid.levels]
    levels = make_levels(
        _ints(first.shape),
        _factors(pyramid),
        [_ints(level.chunks) for level in pyramid.levels],
        shards,
        pyramid.multiscale.paths,
    )
    machine = active_machine()
    request = PlanRequest(
        levels=levels,
        reduction=reduction,
        read_chunks=_ints(first.chunks),
        read_shards=shards[0],
        writes_level_0=False,
        memory_limit=memory_bytes(memory_limit, machine),
        threads=machine.threads,
        slots=machine.slots,
        source_access=chunk_access(first, first.store),
        target_access=chunk_access(pyramid.levels[-1], first.store),
    )
    plan = keeping_to_limit(lambda baseline: make_plan(replace(request, baseline=baseline)), machine.baseline)
    return Existing(pyramid, reduction, plan)


def _reduction(pyramid: Pyramid) -> Reduction:
    parameters = pyramid.multiscale.parameters
    method = parameters.get("method")
    if not isinstance(method, str) or method not in METHODS:
        raise ArgumentError(
            f"the metadata of {pyramid.group} do not tell how its levels were made (type {pyramid.method!r}, "
            f"parameters {dict(parameters)}): only pyramids of build_pyramid can be computed again"
        )
    background = parameters.get("background", 0)
    try:
        # NaN and infinities are strings in JSON
        background = float(background) if isinstance(background, str) else background
    except ValueError as error:
        raise ArgumentError(f"the metadata of {pyramid.group} have the background {background!r}") from error
    return resolve_method(
        method,
        pyramid.levels[0].dtype,
        sparse=bool(parameters.get("sparse", False)),
        background=background,
        rounding=parameters.get("rounding", "nearest"),
    )


def _factors(pyramid: Pyramid) -> list[Shape]:
    """Return the factors from each level to the next, which the voxel sizes tell."""
    first = pyramid.coordinates[0].scale
    shape = _ints(pyramid.levels[0].shape)
    factors: list[Shape] = []
    before = (1,) * len(shape)
    for level, coordinates in zip(pyramid.levels[1:], pyramid.coordinates[1:], strict=True):
        # not divided: a voxel size can be 0
        total = tuple(
            round(a / b) if b and math.isfinite(a / b) else 0 for a, b in zip(coordinates.scale, first, strict=True)
        )
        fits = len(total) == len(shape) and all(t >= 1 and t % b == 0 for t, b in zip(total, before, strict=True))
        if not fits or ceil_shape(shape, total) != _ints(level.shape):
            raise ArgumentError(
                f"the level {level.path!r} of {pyramid.group} has the shape {level.shape} and the voxel size "
                f"{coordinates.scale}, which do not fit {shape} and {first} of level 0"
            )
        # beside a source of foreign byte order the levels have that of the machine
        if level.dtype.newbyteorder("=") != pyramid.levels[0].dtype.newbyteorder("="):
            raise ArgumentError(
                f"the level {level.path!r} of {pyramid.group} has dtype {level.dtype}, but level 0 has "
                f"{pyramid.levels[0].dtype}: only pyramids of build_pyramid can be computed again"
            )
        factors.append(divide(total, before))
        before = total
    return factors


def _ints(numbers: Sequence[int | np.integer]) -> Shape:
    return tuple(map(int, numbers))
