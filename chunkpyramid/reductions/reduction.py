"""What a method is to the rest of the package: it lifts voxels to a state, folds states and renders them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from chunkpyramid.boxes import Shape, ceil_shape
from chunkpyramid.errors import ArgumentError
from chunkpyramid.reductions.kernels import Array, Factor, Footprints, Step, reduce_levels

__all__ = ["NUMBERS", "Part", "Reduction", "State", "changes_nothing"]

NUMBERS = frozenset(map(np.dtype, ("?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")))


@dataclass(frozen=True)
class State:
    """A piece of a level in exact form.

    values
        The voxels, or their sums.
    footprints
        For sums: per axis, how many level-0 voxels lie under its indices.
    counts
        For sparse sums: how many voxels went into each.
    """

    values: Array
    footprints: Footprints | None = None
    counts: Array | None = None

    @property
    def shape(self) -> Shape:
        return self.values.shape

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + (0 if self.counts is None else self.counts.nbytes)


@dataclass(frozen=True)
class Part:
    """The voxels `source` of a state, which are the voxels `target` of another."""

    target: tuple[slice, ...]
    state: State
    source: tuple[slice, ...]


@dataclass(frozen=True)
class Reduction:
    """One method for one dtype. The states of all but means are the rendered arrays themselves."""

    name: str
    dtype: np.dtype[Any]
    sparse: bool = False
    background: Any = 0
    rounding: str = "nearest"

    can_be_sparse: ClassVar[bool] = False
    carries: ClassVar[bool] = False
    # Whether voxels of a state differ in size. Then its carry is not arrays of the level's shape, but of any length,
    # and states are put together by `assemble`.
    is_ragged: ClassVar[bool] = False

    @property
    def keeps_blank(self) -> bool:
        """Whether voxels of zeros make levels and a carry of zeros, so that neither has to be computed."""
        return True

    @classmethod
    def supports(cls, dtype: np.dtype[Any]) -> bool:
        return dtype in NUMBERS

    @classmethod
    def supported(cls) -> str:
        return "bool, integers of 8 to 64 bits, float16, float32 and float64"

    def lift(self, piece: Array) -> State:
        """The state of level-0 voxels. Nothing is copied, but for a foreign byte order."""
        return State(self._checked(piece))

    def fold(self, state: State, factor: Factor) -> State:
        """The state of the next level. An edge that the factor does not divide gives a smaller footprint."""
        folded, _ = self.step(state, factor)
        assert folded is not None
        return folded

    def render(self, state: State, out: Array | None = None) -> Array:
        """The voxels of a state, written to `out` if it is given; else they may share memory with the state."""
        if out is None:
            return state.values
        np.copyto(out, state.values, casting="no")
        return out

    def step(
        self, state: State, factor: Factor, *, keep_state: bool = True, out: Array | None = None
    ) -> tuple[State | None, Array]:
        """`fold` and `render` in one go. The state may share memory with the array, and so with `out`."""
        folded, (level,) = self.steps(state, [factor], keep_state=keep_state, outs=None if out is None else [out])
        return folded, level

    def steps(
        self, state: State, factors: Sequence[Factor], *, keep_state: bool = True, outs: Sequence[Array] | None = None
    ) -> tuple[State | None, list[Array]]:
        """`step` for several levels, and the state of the last one, while what they read is in the caches."""
        shape = state.shape
        usable = []
        for factor in factors:
            usable.append(self._usable_factor(shape, factor))
            shape = ceil_shape(shape, factor)
        targets: list[Array | None] = [None] * len(usable) if outs is None else list(outs)
        same = next((i for i, f in enumerate(usable) if not changes_nothing(state.shape, f)), len(usable))
        levels = [self.render(state, out) for out in targets[:same]]
        if same == len(usable):
            return state, levels
        folded, made = self._reduce(state, usable[same:], keep_state, targets[same:])
        return folded, levels + made

    def _reduce(
        self, state: State, factors: Sequence[Factor], keep_state: bool, outs: Sequence[Array | None]
    ) -> tuple[State | None, list[Array]]:
        raise NotImplementedError

    def _reduce_levels(
        self, method: str, state: State, factors: Sequence[Factor], outs: Sequence[Array | None]
    ) -> tuple[State, list[Array]]:
        """`_reduce` by a kernel whose results are levels and states at once."""
        steps = [Step(method, f, self.dtype, keep=True, out=out) for f, out in zip(factors, outs, strict=True)]
        results = reduce_levels(state.values, steps, background=self._background)
        levels = [result.values for result in results if result.values is not None]
        return State(levels[-1]), levels

    def carry_dtypes(self, footprint: int) -> dict[str, np.dtype[Any]]:
        """The arrays that hold a state whose voxels stand for at most `footprint` level-0 voxels."""
        return {}

    def to_carry(self, state: State, footprint: int | None = None) -> dict[str, Array]:
        """A state as the arrays of `carry_dtypes(footprint)`, by default for the footprint the state has."""
        return {}

    def from_carry(self, fields: Mapping[str, Array], footprints: Footprints) -> State:
        """The state that was carried. `footprints`: per axis, the level-0 voxels under its indices."""
        raise ArgumentError(f"method {self.name!r} carries nothing: lift the rendered level instead")

    def carry_itemsize(self, footprint: int) -> int:
        """Bytes per voxel of the arrays of `carry_dtypes(footprint)`; 0 if there are none."""
        return sum(dtype.itemsize for dtype in self.carry_dtypes(footprint).values())

    def assemble(self, shape: Shape, footprints: Footprints, parts: Sequence[Part]) -> State:
        """The state that parts of other states make up, for ragged ones; `footprints` as for `from_carry`."""
        raise ArgumentError(f"the states of method {self.name!r} are arrays: put those together")

    def within(self, nbytes: int) -> Reduction:
        """This reduction, but raising `MemoryError` where two successive states would take more than so many bytes."""
        return self

    def state_itemsize(self, footprint: int) -> int:
        """Bytes of memory per voxel of a state whose voxels stand for at most `footprint` level-0 voxels."""
        return self.dtype.itemsize

    def _checked(self, piece: Array) -> Array:
        array = np.asarray(piece)
        if array.dtype.newbyteorder("=") != self.dtype:
            raise ArgumentError(f"method {self.name!r} was resolved for {self.dtype}, the array has {array.dtype}")
        if array.ndim == 0 or array.size == 0:
            raise ArgumentError(f"array: at least one axis and one voxel are needed, its shape is {array.shape}")
        return array.astype(self.dtype, copy=False)

    def check_factor(self, factor: Factor) -> None:
        """Raise `ArgumentError` if the method cannot go from a level to the next by this factor."""

    def _usable_factor(self, shape: Shape, factor: Factor) -> Factor:
        """The factor, checked, and no longer than the axes: a footprint has no voxels beyond them."""
        if len(factor) != len(shape) or min(factor) < 1:
            raise ArgumentError(
                f"factor must be one whole number of at least 1 per axis of the shape {shape}, but {tuple(factor)} was "
                "given"
            )
        self.check_factor(factor)
        return tuple(map(min, factor, shape))

    @property
    def _background(self) -> Array:
        return np.array(self.background, self.dtype)


def changes_nothing(shape: Shape, factor: Factor) -> bool:
    return all(size == 1 or step == 1 for size, step in zip(shape, factor, strict=True))
