"""The exact mode: every voxel of a state is a list of (label, count) runs, which are added up from level to level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import _chunkpyramid_exact_mode as kernels
import numpy as np

from chunkpyramid.boxes import AxisFootprint, Box, Shape, ceil_shape, tile
from chunkpyramid.errors import ArgumentError
from chunkpyramid.reductions.cache_boxes import box_shape
from chunkpyramid.reductions.kernels import (
    Array,
    Factor,
    Footprints,
    Order,
    check_out,
    coarser_footprints,
    largest_footprint,
    memory_order,
)
from chunkpyramid.reductions.reduction import Part, Reduction, State

__all__ = ["RUNS_PER_VOXEL", "ExactMode", "Runs"]

# So many labels under one voxel are planned for, on average over a piece of a level, or as many as a cubic footprint
# has voxels along its side, if that is more. There can be as many as level-0 voxels, but then even coarse levels would
# take as much memory as level 0, and hardly any plan would fit. A real segmentation of packed neurites had 1.7 with
# footprints of 4^3 voxels, 2.9 with 8^3, 5.7 with 16^3, 13 with 32^3, 36 with 64^3 and 124 with 128^3. A build may use
# what its memory limit leaves for more.
RUNS_PER_VOXEL = 8

# Several levels are made of boxes of about so many voxels, whose runs stay in the caches.
BOX_VOXELS = 2**20


@dataclass(frozen=True, kw_only=True)
class Runs(State):
    """Labels and how often they occur: `values` are the labels of all runs as keys, `counts` their counts.

    Keys are unsigned integers in the order of the labels. The runs of voxel i are those from ``offsets[i]`` to
    ``offsets[i + 1]``, sorted by key; the voxels, `size` per axis, are numbered in the memory order `order`.
    """

    counts: Array
    footprints: Footprints
    offsets: Array
    size: Shape
    order: Order

    @property
    def shape(self) -> Shape:
        return self.size

    @property
    def nbytes(self) -> int:
        return super().nbytes + self.offsets.nbytes

    def starts_and_lengths(self, box: tuple[slice, ...]) -> tuple[Array, Array]:
        """Where the runs of each voxel of a box begin, and how many there are."""
        starts, stops = (
            ends.reshape(self.shape, order=self.order)[box] for ends in (self.offsets[:-1], self.offsets[1:])
        )
        return starts, stops - starts


@dataclass(frozen=True)
class ExactMode(Reduction):
    """The most frequent level-0 label of each footprint, ties to the smallest.

    -0.0 and 0.0 are one label, and so are all NaNs, which come last: numbers win ties against them.
    """

    most_bytes: int | None = None

    can_be_sparse = True
    carries = True
    is_ragged = True

    @property
    def keeps_blank(self) -> bool:
        # zeros are labels that are counted
        return False

    def within(self, nbytes: int) -> ExactMode:
        return replace(self, most_bytes=nbytes)

    def lift(self, piece: Array) -> State:
        values = self._checked(piece)
        return State(values, (AxisFootprint(1, 1),) * values.ndim)

    def render(self, state: State, out: Array | None = None) -> Array:
        """Voxels are rendered too, for then all zeros and all NaNs have the same bits."""
        rendered = self._target(state.shape, self._order(state), out)
        self._fold(state, (1,) * len(state.shape), keep_state=False, out=rendered)
        return rendered

    def fold(self, state: State, factor: Factor) -> State:
        return self._as_runs(state, self._usable_factor(state.shape, factor))

    def _reduce(
        self, state: State, factors: Sequence[Factor], keep_state: bool, outs: Sequence[Array | None]
    ) -> tuple[State | None, list[Array]]:
        levels, shape = [], state.shape
        for factor, out in zip(factors, outs, strict=True):
            shape = ceil_shape(shape, factor)
            levels.append(self._target(shape, self._order(state), out))
        if keep_state or isinstance(state, Runs):
            return self._make_levels(state, factors, keep_state, levels), levels
        turn = slice(None, None, -1) if self._order(state) == "F" else slice(None)
        box = box_shape(state.shape[turn], [factor[turn] for factor in factors], BOX_VOXELS)
        for cell in tile(Box.whole(state.shape), box[turn]):
            part = cell.clip(state.shape)
            voxels = State(state.values[part.slices], state.footprints)
            parts = []
            for factor, level in zip(factors, levels, strict=True):
                part = part.fold(factor)
                parts.append(level[part.slices])
            self._make_levels(voxels, factors, False, parts)
        return None, levels

    def _make_levels(
        self, state: State, factors: Sequence[Factor], keep_state: bool, levels: Sequence[Array]
    ) -> State | None:
        following: State | None = state
        for index, (factor, level) in enumerate(zip(factors, levels, strict=True), 1):
            assert following is not None
            following = self._fold(following, factor, keep_state=keep_state or index < len(factors), out=level)
        return following

    def _order(self, state: State) -> Order:
        return state.order if isinstance(state, Runs) else memory_order(state.values) or "C"

    def _target(self, shape: Shape, order: Order, out: Array | None) -> Array:
        if out is None:
            return np.empty(shape, self.dtype, order=order)
        check_out(out, shape, self.dtype)
        return out

    def _fold(self, state: State, factor: Factor, *, keep_state: bool, out: Array | None) -> Runs | None:
        """The runs of the next level, if they are wanted; its voxels go to `out`."""
        assert state.footprints is not None
        shape = ceil_shape(state.shape, factor)
        footprints = coarser_footprints(state.footprints, state.shape, factor)
        counts = self._count_dtype(largest_footprint(footprints))
        values: Array | None
        if isinstance(state, Runs):
            values, order = None, state.order
            runs = state.offsets, state.values, state.counts.astype(counts, copy=False)
        else:
            order = self._order(state)
            readable = memory_order(state.values) is not None and state.values.flags.aligned
            values = state.values if readable else state.values.copy(order=order)
            runs = None
        writable = out is None or (out.dtype.isnative and out.flags.aligned)
        rendered = out if writable else np.empty(shape, self.dtype, order=order)
        # axes of one voxel would make rows of one voxel
        axes = [axis for axis, size in enumerate(state.shape) if size > 1] or [0]
        if order == "F":
            axes.reverse()

        def oriented(array: Array | None) -> Array | None:
            if array is None:
                return None
            array = array.view(np.uint8) if array.dtype == bool else array
            others = [axis for axis in range(array.ndim) if axis not in axes]
            turned: Array = array.transpose(*others, *axes)[(0,) * len(others)]
            return turned

        try:
            kept = kernels.fold_runs(
                oriented(values),
                runs,
                dtype="uint8" if self.dtype == bool else self.dtype.name,
                shape=tuple(state.shape[axis] for axis in axes),
                factor=tuple(factor[axis] for axis in axes),
                count_itemsize=counts.itemsize,
                rendered=oriented(rendered),
                keep=keep_state,
                most_runs=self._most_runs(state, shape, counts.itemsize),
                background=self._background.tobytes(),
                sparse=self.sparse,
            )
        except kernels.TooManyRuns as error:
            raise MemoryError(
                f"the voxels of a piece of shape {shape} have more labels under them than the planned memory holds: "
                "raise memory_limit"
            ) from error
        if out is not None and rendered is not None and rendered is not out:
            np.copyto(out, rendered)
        if kept is None:
            return None
        memory, at_keys, at_counts, number = kept
        return Runs(
            values=np.frombuffer(memory, self._key_dtype, number, at_keys),
            counts=np.frombuffer(memory, counts, number, at_counts),
            footprints=footprints,
            offsets=np.frombuffer(memory, np.int64, math.prod(shape) + 1),
            size=shape,
            order=order,
        )

    def _most_runs(self, state: State, shape: Shape, count_itemsize: int) -> int | None:
        if self.most_bytes is None:
            return None
        voxels = math.prod(shape)
        taken = voxels * (self._offset_itemsize + self.dtype.itemsize)
        if isinstance(state, Runs):
            taken += state.nbytes
        return int(max(0, self.most_bytes - taken) // (self.dtype.itemsize + count_itemsize))

    _offset_itemsize = 8

    @property
    def _key_dtype(self) -> np.dtype[Any]:
        return np.dtype(f"u{self.dtype.itemsize}")

    @staticmethod
    def _count_dtype(footprint: int) -> np.dtype[Any]:
        return np.dtype(np.uint32 if footprint < 2**32 else np.uint64)

    def state_itemsize(self, footprint: int) -> int:
        run = self.dtype.itemsize + self._count_dtype(footprint).itemsize
        planned = max(RUNS_PER_VOXEL, round(math.cbrt(footprint)))
        return self._offset_itemsize + run * min(footprint, planned, 1 << 8 * self.dtype.itemsize)

    def carry_dtypes(self, footprint: int) -> dict[str, np.dtype[Any]]:
        return {
            "lengths": np.dtype(np.uint32),
            "keys": self._key_dtype,
            "counts": self._count_dtype(footprint),
        }

    def carry_itemsize(self, footprint: int) -> int:
        return self.state_itemsize(footprint)

    def to_carry(self, state: State, footprint: int | None = None) -> dict[str, Array]:
        runs = self._as_runs(state)
        own = largest_footprint(runs.footprints)
        dtypes = self.carry_dtypes(own if footprint is None else max(footprint, own))
        if runs.order == "F" and len(runs.shape) > 1:
            whole = (slice(None),) * len(runs.shape)
            runs = self.assemble(runs.shape, runs.footprints, [Part(whole, runs, whole)])
        fields = {"lengths": np.diff(runs.offsets).reshape(runs.shape), "keys": runs.values, "counts": runs.counts}
        return {name: fields[name].astype(dtype, copy=False) for name, dtype in dtypes.items()}

    def from_carry(self, fields: Mapping[str, Array], footprints: Footprints) -> Runs:
        missing = {"lengths", "keys", "counts"} - fields.keys()
        if missing:
            raise ArgumentError(f"fields: {sorted(missing)} are missing, to_carry gives them")
        lengths = np.asarray(fields["lengths"])
        if len(footprints) != lengths.ndim:
            raise ArgumentError(f"footprints: one per axis of the shape {lengths.shape} is needed")
        counts = np.asarray(fields["counts"]).astype(self._count_dtype(largest_footprint(footprints)), copy=False)
        return Runs(
            values=np.asarray(fields["keys"]),
            counts=counts,
            footprints=footprints,
            offsets=_offsets(lengths),
            size=lengths.shape,
            order="C",
        )

    def assemble(self, shape: Shape, footprints: Footprints, parts: Sequence[Part]) -> Runs:
        # voxels that no part covers have no labels
        lengths = np.zeros(shape, np.int64)
        pieces = []
        for part in parts:
            runs = self._as_runs(part.state)
            starts, lengths[part.target] = runs.starts_and_lengths(part.source)
            pieces.append((runs, part.target, starts))
        offsets = _offsets(lengths)
        to = offsets[:-1].reshape(shape)
        keys = np.empty(offsets[-1], self._key_dtype)
        counts = np.empty(offsets[-1], self._count_dtype(largest_footprint(footprints)))
        for runs, target, starts in pieces:
            source = _members(starts, lengths[target])
            destination = _members(to[target], lengths[target])
            keys[destination] = runs.values[source]
            counts[destination] = runs.counts[source]
        return Runs(values=keys, counts=counts, footprints=footprints, offsets=offsets, size=shape, order="C")

    def _as_runs(self, state: State, factor: Factor | None = None) -> Runs:
        """The runs of a state, or of its next level."""
        if isinstance(state, Runs) and factor is None:
            return state
        folded = self._fold(state, factor or (1,) * len(state.shape), keep_state=True, out=None)
        assert folded is not None
        return folded


def _offsets(lengths: Array) -> Array:
    """Where each of the ranges of these lengths begins, one after the other, and where the last one ends."""
    offsets = np.zeros(lengths.size + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _members(starts: Array, lengths: Array) -> Array:
    """All indices of the ranges that begin at `starts` and have these lengths, one range after the other."""
    lengths = lengths.ravel()
    ends = np.cumsum(lengths)
    members: Array = np.repeat(starts.ravel() - (ends - lengths), lengths)
    members += np.arange(members.size)
    return members
