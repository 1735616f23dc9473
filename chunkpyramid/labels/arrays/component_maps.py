"""Which labels of one image are part of which labels of another."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import _chunkpyramid_labels as kernels
import numpy as np
import numpy.typing as npt

from chunkpyramid.errors import ArgumentError
from chunkpyramid.labels.arrays.in_memory import Array, as_bits, check_kind

__all__ = ["component_map", "inverse_component_map"]


def component_map(component_labels: npt.ArrayLike, parent_labels: npt.ArrayLike) -> dict[int, int]:
    """Return for each component the label that it has in another image.

    Where a component has several, it is the one at the beginning of its last run of voxels: in C order if the
    components are in C order, else in Fortran order.

    Parameters
    ----------
    component_labels, parent_labels : array_like
        Integers or bool, of one shape.

    Returns
    -------
    dict
        From components to parents, in the order in which they are met.

    Raises
    ------
    ArgumentError
        If the shapes differ, or bytes are in the other order.
    TypeError
        If something else than integers is given.

    Examples
    --------
    >>> component_map([1, 2, 3, 4], [5, 5, 6, 7])
    {1: 5, 2: 5, 3: 6, 4: 7}
    """
    components, parents = np.asarray(component_labels), np.asarray(parent_labels)
    if components.size == 0:
        return {}
    first, second = _pairs(components, parents, distinct=False)
    return dict(zip(first, second, strict=True))


def inverse_component_map(parent_labels: npt.ArrayLike, component_labels: npt.ArrayLike) -> dict[int, list[int]]:
    """Return for each label the components that are at its voxels in another image.

    Parameters
    ----------
    parent_labels, component_labels : array_like
        Integers or bool, of one shape.

    Returns
    -------
    dict
        From parents to lists of components, without a certain order; a ``defaultdict`` of lists.

    Raises
    ------
    ArgumentError
        If the shapes differ, or bytes are in the other order.
    TypeError
        If something else than integers is given.

    Examples
    --------
    >>> dict(inverse_component_map([1, 2, 1, 3], [4, 4, 5, 6]))
    {1: [4, 5], 2: [4], 3: [6]}
    """
    parents, components = np.asarray(parent_labels), np.asarray(component_labels)
    if parents.size == 0:
        return {}
    found: defaultdict[int, set[int]] = defaultdict(set)
    for component, parent in zip(*_pairs(components, parents, distinct=True), strict=True):
        found[parent].add(component)
    mapping: defaultdict[int, list[int]] = defaultdict(list)
    for parent, members in found.items():
        mapping[parent] = list(members)
    return mapping


def _pairs(components: Array, parents: Array, distinct: bool) -> tuple[list[int], list[int]]:
    if components.shape != parents.shape:
        raise ArgumentError(f"the shapes must be the same, but they are {components.shape} and {parents.shape}")
    check_kind(components, "biu", "components")
    check_kind(parents, "biu", "parents")
    order: Any = "C" if components.flags.c_contiguous else "F"
    one, other = (as_bits(np.ravel(array, order)) for array in (components, parents))
    first, second = kernels.label_pairs(one, other, distinct)
    return _labels(first, components.dtype), _labels(second, parents.dtype)


def _labels(told: Any, dtype: np.dtype[Any]) -> list[int]:
    native = np.dtype("u1") if dtype.kind == "b" else dtype
    bits = np.frombuffer(told, np.uint64).astype(f"u{native.itemsize}")
    labels: list[int] = bits.view(native).tolist()
    return labels
