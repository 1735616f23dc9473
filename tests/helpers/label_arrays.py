"""Arrays of few labels in any memory order, for hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

Array = npt.NDArray[Any]

INTEGERS = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8")


@st.composite
def label_arrays(
    draw: st.DrawFn, dtypes: Sequence[str] = INTEGERS, min_dims: int = 1, max_dims: int = 4, runs: bool = True
) -> Array:
    """Arrays of extreme, close and scattered labels; C, Fortran, permuted, stepped, reversed, read-only, empty too."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    shape = draw(npst.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=0, max_side=6))
    if max_dims == 1 or (len(shape) == 1 and draw(st.booleans())):
        # blocks of 64 labels, and what is around them
        shape = (draw(st.integers(0, 200)),)
    if dtype.kind == "b":
        palette = [False, True]
    elif dtype.kind == "f":
        palette = [0.0, -0.0, 1.5, -3.0, 1e30]
    else:
        limits = np.iinfo(dtype)
        palette = [0, 1, 2, limits.min, limits.max, draw(st.integers(limits.min, limits.max))]
    picks = draw(npst.arrays(np.int8, shape, elements=st.integers(0, draw(st.integers(0, len(palette) - 1)))))
    labels = np.array(palette, dtype)[picks]
    if runs and draw(st.booleans()):
        labels = np.repeat(labels, draw(st.integers(2, 5)), axis=draw(st.integers(0, labels.ndim - 1)))
    labels = np.asarray(labels, order=draw(st.sampled_from("CF")))
    if draw(st.booleans()):
        steps = draw(st.tuples(*[st.sampled_from([1, -1, 2])] * labels.ndim))
        labels = labels[tuple(slice(None, None, step) for step in steps)]
        labels = labels.transpose(draw(st.permutations(range(labels.ndim))))
    if draw(st.booleans()):
        labels = labels.copy(order="K")
        labels.flags.writeable = False
    return labels


def in_memory(labels: Array) -> list[Any]:
    """Return the labels in the order in which they are met: that of memory if it is C or Fortran, else C."""
    order: Any = "F" if labels.flags.f_contiguous and not labels.flags.c_contiguous else "C"
    items: list[Any] = labels.flatten(order).tolist()
    return items


def same_order(result: Array, labels: Array) -> bool:
    """Tell whether a result is in Fortran order if the labels are, and else in C order."""
    is_fortran = labels.flags.f_contiguous and not labels.flags.c_contiguous
    return bool(result.flags.f_contiguous if is_fortran else result.flags.c_contiguous)
