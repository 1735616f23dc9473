"""What a method is to the rest of the package: it lifts voxels to a state, folds states and renders them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .errors import ArgumentError
from .reduce import Array, Factor

__all__ = ["NUMBERS", "Part", "Reduction", "State", "changes_nothing"]

NUMBERS = frozenset(map(np.dtype, ("?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")))


@dataclass(frozen=True)
class State:
    """A piece of a level in exact form.

    values
        The voxels, or their sums.
    weights
        For sums: per axis, how many level-0 voxels lie under each index.
    counts
        For sparse sums: how many voxels went into each.
    """

    values: Array
    weights: tuple[Array, ...] | None = None
    counts: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
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
        factor = self._usable_factor(state, factor)
        if changes_nothing(state.shape, factor):
            return state, self.render(state, out)
        rendered = self._reduce(state.values, factor, out)
        return State(rendered), rendered

    def _reduce(self, values: Array, factor: Factor, out: Array | None) -> Array:
        raise NotImplementedError

    def carry_dtypes(self, footprint: int) -> dict[str, np.dtype[Any]]:
        """The arrays that hold a state whose voxels stand for at most `footprint` level-0 voxels."""
        return {}

    def to_carry(self, state: State, footprint: int | None = None) -> dict[str, Array]:
        """A state as the arrays of `carry_dtypes(footprint)`, by default for the footprint the state has."""
        return {}

    def from_carry(self, fields: Mapping[str, Array], weights: tuple[Array, ...]) -> State:
        """The state that was carried. `weights`: per axis, the level-0 voxels under each index (int64)."""
        raise ArgumentError(f"method {self.name!r} carries nothing: lift the rendered level instead")

    def carry_itemsize(self, footprint: int) -> int:
        """Bytes per voxel of the arrays of `carry_dtypes(footprint)`; 0 if there are none."""
        return sum(dtype.itemsize for dtype in self.carry_dtypes(footprint).values())

    def assemble(self, weights: tuple[Array, ...], parts: Sequence[Part]) -> State:
        """The state that parts of other states make up, for ragged ones; `weights` as for `from_carry`."""
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

    def _usable_factor(self, state: State, factor: Factor) -> Factor:
        """The factor, checked, and no longer than the axes: a footprint has no voxels beyond them."""
        if len(factor) != len(state.shape) or min(factor) < 1:
            raise ArgumentError(
                f"factor: {tuple(factor)} was given for an array of shape {state.shape}: "
                "give one integer of at least 1 per axis"
            )
        self.check_factor(factor)
        return tuple(map(min, factor, state.shape))

    @property
    def _background(self) -> Array:
        return np.array(self.background, self.dtype)


def changes_nothing(shape: tuple[int, ...], factor: Factor) -> bool:
    return all(size == 1 or step == 1 for size, step in zip(shape, factor, strict=True))
