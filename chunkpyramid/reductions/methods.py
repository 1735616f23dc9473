"""The ways to make a level from a finer one, as data: a new way is one more entry of `_REDUCTIONS`.

`lift(piece) -> state`, `fold(state, factor) -> state` and `render(state) -> array` are all that the rest of the
package knows of them. What a state holds is a matter of its reduction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from chunkpyramid.arguments import one_of, true_or_false
from chunkpyramid.boxes import AxisFootprint, ceil_shape
from chunkpyramid.errors import ArgumentError
from chunkpyramid.reductions.exact_mode import ExactMode
from chunkpyramid.reductions.kernels import (
    INT128,
    UINT128,
    Array,
    Factor,
    Footprints,
    Reduced,
    Step,
    checked_background,
    coarser_footprints,
    largest_footprint,
    narrow,
    reduce_levels,
    widen,
)
from chunkpyramid.reductions.reduction import NUMBERS, Reduction, State, changes_nothing

__all__ = ["METHODS", "Reduction", "State", "auto_method", "can_be_sparse", "resolve_method"]

# The kernel holds all votes of a footprint, and counts them in 32 bits.
MOST_VOTES = 2**20

ROUNDINGS = ("nearest", "truncate")

_LABELS = frozenset(map(np.dtype, ("?", "u4", "u8", "i4", "i8")))


class Mode(Reduction):
    """The majority of each footprint of the level below."""

    can_be_sparse = True

    def check_factor(self, factor: Factor) -> None:
        if math.prod(factor) > MOST_VOTES:
            raise ArgumentError(
                f"factor must be of at most {MOST_VOTES} voxels for a mode, all of which vote, but {tuple(factor)} was "
                "given: give a smaller factor and more levels"
            )

    def _usable_factor(self, shape: tuple[int, ...], factor: Factor) -> Factor:
        super()._usable_factor(shape, factor)
        return factor  # the replicas beyond the edge vote too

    def _reduce(
        self, state: State, factors: Sequence[Factor], keep_state: bool, outs: Sequence[Array | None]
    ) -> tuple[State | None, list[Array]]:
        return self._reduce_levels("sparse_mode" if self.sparse else "mode", state, factors, outs)


class Extreme(Reduction):
    """The smallest or the largest voxel. NaN and NaT propagate."""

    @classmethod
    def supports(cls, dtype: np.dtype[Any]) -> bool:
        return dtype in NUMBERS or dtype.kind in "mM"

    @classmethod
    def supported(cls) -> str:
        return super().supported() + ", datetime64 and timedelta64"

    def _reduce(
        self, state: State, factors: Sequence[Factor], keep_state: bool, outs: Sequence[Array | None]
    ) -> tuple[State | None, list[Array]]:
        if self.dtype.kind not in "mM":
            return self._reduce_levels(self.name, state, factors, outs)
        extreme = np.minimum if self.name == "min" else np.maximum
        levels: list[Array] = []
        for factor, out in zip(factors, outs, strict=True):
            values = state.values
            for axis, step in enumerate(factor):
                values = extreme.reduceat(values, np.arange(0, values.shape[axis], step), axis=axis)
            state = State(values)
            levels.append(self.render(state, out))
        return state, levels


class Stride(Reduction):
    """The first voxel of each footprint."""

    @classmethod
    def supports(cls, dtype: np.dtype[Any]) -> bool:
        return not dtype.hasobject

    @classmethod
    def supported(cls) -> str:
        return "every dtype without objects"

    def _reduce(
        self, state: State, factors: Sequence[Factor], keep_state: bool, outs: Sequence[Array | None]
    ) -> tuple[State | None, list[Array]]:
        levels: list[Array] = []
        for factor, out in zip(factors, outs, strict=True):
            first = state.values[tuple(slice(None, None, step) for step in factor)]
            # A view would keep the whole piece in memory.
            levels.append(first.copy(order="K") if out is None else self.render(State(first), out))
            state = State(levels[-1])
        return state, levels


class Mean(Reduction):
    """The mean of the level-0 voxels: sums are exact, and rounded once for each level.

    The dtype of integer sums depends on the largest footprint alone: the smallest one, at least twice as wide as the
    voxels, that holds the sum of as many voxels whatever they are. Sums of 64-bit voxels have 128 bits. Sums of
    floats are float64, added in the order of the scan (last axis fastest), level by level.
    """

    can_be_sparse = True
    carries = True

    @property
    def keeps_blank(self) -> bool:
        # zeros that are not the background are counted
        return not self.sparse or bool(self.background == 0)

    def lift(self, piece: Array) -> State:
        values = self._checked(piece)
        return State(values, (AxisFootprint(1, 1),) * values.ndim)

    def render(self, state: State, out: Array | None = None) -> Array:
        assert state.footprints is not None
        if self._is_lifted(state):
            return super().render(state, out)
        step = Step(
            None,
            (1,) * len(state.shape),
            state.values.dtype,
            rendered_dtype=self.dtype,
            footprints=state.footprints,
            out=out,
        )
        (result,) = self._run(state, [step])
        assert result.rendered is not None
        return result.rendered

    def fold(self, state: State, factor: Factor) -> State:
        factor = self._usable_factor(state.shape, factor)
        if changes_nothing(state.shape, factor):
            return state
        footprints = self._footprints(state, [factor])
        (result,) = self._run(state, self._sums(state, [factor], footprints))
        assert result.values is not None
        return State(result.values, footprints[0], result.counts)

    def _reduce(
        self, state: State, factors: Sequence[Factor], keep_state: bool, outs: Sequence[Array | None]
    ) -> tuple[State | None, list[Array]]:
        footprints = self._footprints(state, factors)
        sums = self._sums(state, factors, footprints)
        results = self._run(
            state,
            [
                replace(
                    step, keep=keep_state and step is sums[-1], rendered_dtype=self.dtype, footprints=voxels, out=out
                )
                for step, voxels, out in zip(sums, footprints, outs, strict=True)
            ],
        )
        levels = [result.rendered for result in results if result.rendered is not None]
        last = results[-1]
        return None if last.values is None else State(last.values, footprints[-1], last.counts), levels

    def _run(self, state: State, steps: Sequence[Step]) -> list[Reduced]:
        return reduce_levels(
            state.values,
            steps,
            counts=state.counts,
            sparse=self.sparse,
            background=self._background,
            truncate=self.rounding == "truncate",
        )

    def _footprints(self, state: State, factors: Sequence[Factor]) -> list[Footprints]:
        """The footprints of each level below a state."""
        footprints, shape, levels = state.footprints, state.shape, []
        assert footprints is not None
        for factor in factors:
            footprints = coarser_footprints(footprints, shape, factor)
            shape = ceil_shape(shape, factor)
            levels.append(footprints)
        return levels

    def _sums(self, state: State, factors: Sequence[Factor], footprints: Sequence[Footprints]) -> list[Step]:
        """The steps that sum a state, in sums as narrow as is safe for each level."""
        sparse = self.sparse and state.counts is None
        dtype = state.values.dtype
        steps: list[Step] = []
        for factor, footprint in zip(factors, footprints, strict=True):
            dtype = max(dtype, self._sum_dtype(largest_footprint(footprint)), key=lambda dtype: dtype.itemsize)
            steps.append(Step("sparse_sum" if sparse and not steps else "sum", factor, dtype, keep=True))
        return steps

    @property
    def _kind(self) -> str:
        return "u" if self.dtype.kind == "b" else self.dtype.kind

    def _sum_dtype(self, footprint: int) -> np.dtype[Any]:
        if self._kind == "f":
            return np.dtype(np.float64)
        bits = 8 * self.dtype.itemsize
        for width in (16, 32, 64):
            if width > bits and footprint <= 1 << (width - bits):
                return np.dtype(f"{self._kind}{width // 8}")
        if bits >= 32 and footprint < 1 << 63:
            return INT128 if self._kind == "i" else UINT128
        raise ArgumentError(
            f"a mean of {footprint} {self.dtype} voxels is not supported: at most "
            f"2**{63 if bits >= 32 else 64 - bits} can be under one voxel of a level; ask for fewer levels"
        )

    def _is_lifted(self, state: State) -> bool:
        assert state.footprints is not None
        if self.sparse:
            return state.counts is None
        return state.values.dtype == self.dtype and largest_footprint(state.footprints) == 1

    def state_itemsize(self, footprint: int) -> int:
        if footprint == 1:
            return self.dtype.itemsize
        return self._sum_dtype(footprint).itemsize * (2 if self.sparse else 1)

    def carry_dtypes(self, footprint: int) -> dict[str, np.dtype[Any]]:
        if footprint == 1 and not self.sparse:
            return {"sum": self.dtype}
        dtype = self._sum_dtype(footprint)
        if dtype.names is None:
            fields = {"sum": dtype}
        else:
            fields = {f"sum_{name}": dtype[name] for name in dtype.names}
        if self.sparse:
            fields["count"] = dtype if dtype.names is None else np.dtype(np.uint64)
        return fields

    def to_carry(self, state: State, footprint: int | None = None) -> dict[str, Array]:
        assert state.footprints is not None
        own = largest_footprint(state.footprints)
        dtypes = self.carry_dtypes(own if footprint is None else max(footprint, own))
        values, counts = state.values, state.counts
        wide = "sum_low" in dtypes
        sum_dtype = (INT128 if self._kind == "i" else UINT128) if wide else dtypes["sum"]
        if self.sparse and counts is None:
            # Level 0 itself: a fold by 1 counts it.
            values, counts = self._count_foreground(values, sum_dtype)
        elif wide and values.dtype.names is None:
            # Pieces at an edge can have footprints so small that their sums are narrower.
            values = widen(values, sum_dtype)
        fields = {}
        for name, dtype in dtypes.items():
            source = values if name.startswith("sum") else counts
            assert source is not None
            fields[name] = narrow(source, name.partition("_")[2] or "low").astype(dtype, copy=False)
        return fields

    def _count_foreground(self, values: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        background = self._background
        counted = ~np.isnan(values) if background != background else values != background
        sums = np.where(counted, values, np.zeros((), self.dtype))
        return widen(sums, dtype), widen(counted.astype(np.uint8), dtype)

    def from_carry(self, fields: Mapping[str, Array], footprints: Footprints) -> State:
        dtypes = {name: np.asarray(array).dtype for name, array in fields.items()}
        if "sum" in fields:
            values = np.asarray(fields["sum"])
        elif {"sum_low", "sum_high"} <= fields.keys():
            values = np.empty(np.shape(fields["sum_low"]), INT128 if self._kind == "i" else UINT128)
            values["low"], values["high"] = fields["sum_low"], fields["sum_high"]
        else:
            raise ArgumentError(f"fields: a sum is needed, as to_carry gives it, not {dtypes}")
        if len(footprints) != values.ndim:
            raise ArgumentError(f"footprints: one per axis of the shape {values.shape} is needed")
        if not self.sparse:
            return State(values, footprints)
        return State(values, footprints, widen(np.asarray(fields["count"]), values.dtype))


_REDUCTIONS: dict[str, type[Reduction]] = {
    "mean": Mean,
    "mode": Mode,
    "exact_mode": ExactMode,
    "min": Extreme,
    "max": Extreme,
    "stride": Stride,
}
METHODS = tuple(_REDUCTIONS)


def auto_method(dtype: Any) -> str:
    """The method for data nobody has said more about: the mode of what may be labels, the mean of the rest."""
    return "mode" if np.dtype(dtype) in _LABELS else "mean"


def can_be_sparse(name: Any) -> bool:
    """Whether the method of this name, if there is one, can leave out the background."""
    return isinstance(name, str) and name in _REDUCTIONS and _REDUCTIONS[name].can_be_sparse


def resolve_method(
    name: str,
    dtype: Any,
    *,
    sparse: bool = False,
    background: Any = 0,
    rounding: str = "nearest",
) -> Reduction:
    """Look up the reduction of this name (not "auto") for a dtype."""
    reduction = _REDUCTIONS.get(one_of(name, "method", METHODS, default="auto"))
    if reduction is None:
        raise ArgumentError(f"method {name!r} stands for one of {', '.join(METHODS)}: see auto_method")
    sparse = true_or_false(sparse, "sparse")
    try:
        given = np.dtype(dtype)
    except TypeError as error:
        raise ArgumentError(f"dtype: {dtype!r} is not a dtype") from error
    native = given if given.isnative else given.newbyteorder("=")
    if not reduction.supports(native):
        alternatives = [other for other, kind in _REDUCTIONS.items() if kind.supports(native)]
        raise ArgumentError(
            f"method {name!r} does not support dtype {native}, only {reduction.supported()}; "
            f"methods for {native}: {', '.join(alternatives) or 'none'}"
        )
    if sparse and not reduction.can_be_sparse:
        capable = [other for other, kind in _REDUCTIONS.items() if kind.can_be_sparse]
        raise ArgumentError(f"sparse: method {name!r} cannot leave out the background, only {', '.join(capable)} can")
    one_of(rounding, "rounding", ROUNDINGS)
    # A background is of no use to dtypes without numbers.
    value = checked_background(background, native) if native in NUMBERS else background
    return reduction(name=name, dtype=native, sparse=sparse, background=value, rounding=rounding)
