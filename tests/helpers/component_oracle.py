"""Connected components, found voxel by voxel."""

from __future__ import annotations

from collections import deque
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["components_by_flooding", "renumbered"]

REACH = {2: 1, 4: 1, 8: 2, 6: 1, 18: 2, 26: 3}


def components_by_flooding(
    labels: npt.NDArray[Any], connectivity: int, background: int | None = 0, dust: int = 0, axes: int = 3
) -> npt.NDArray[np.int64]:
    """Flood each volume along the last axes from one voxel after the other, in C order."""
    numbers = np.zeros(labels.shape, np.int64)
    leading = labels.shape[: max(0, labels.ndim - axes)]
    count = 0
    for index in np.ndindex(leading):
        count = _flood(labels[index], numbers[index], REACH[connectivity], background, dust, count)
    return numbers


def _flood(
    labels: npt.NDArray[Any], numbers: npt.NDArray[np.int64], reach: int, background: int | None, dust: int, count: int
) -> int:
    steps = [step for step in product((-1, 0, 1), repeat=labels.ndim) if 0 < sum(map(abs, step)) <= reach]
    seen = np.zeros(labels.shape, bool)
    for start in np.ndindex(labels.shape):
        if seen[start] or (background is not None and int(labels[start]) == background):
            continue
        seen[start] = True
        voxels, waiting = [start], deque([start])
        while waiting:
            at = waiting.popleft()
            for step in steps:
                there = tuple(a + s for a, s in zip(at, step, strict=True))
                inside = all(0 <= a < n for a, n in zip(there, labels.shape, strict=True))
                if inside and not seen[there] and labels[there] == labels[start]:
                    seen[there] = True
                    voxels.append(there)
                    waiting.append(there)
        if len(voxels) >= dust:
            count += 1
            numbers[tuple(np.array(voxels).T)] = count
    return count


def renumbered(labels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Number labels from 1 on in the order of their first voxels; 0 stays 0."""
    found, firsts, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = [int(at) for at in np.argsort(firsts) if found[at] != 0]
    table = np.zeros(len(found), np.int64)
    table[order] = np.arange(1, len(order) + 1)
    return table[inverse].reshape(labels.shape)
