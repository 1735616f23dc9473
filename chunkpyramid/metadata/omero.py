"""How channels are shown: the smallest and largest value of each, and the ``omero`` metadata that viewers read.

https://ngff.openmicroscopy.org/0.5/#omero-md
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Extremes", "channel_extremes", "merged_extremes", "with_windows"]

# By channel: the smallest and the largest value that were seen.
Extremes = dict[int, tuple[Any, Any]]

# So many channels are shown at first: more of them are a blur.
MOST_ACTIVE = 4
COLORS = ("FF0000", "00FF00", "0000FF", "FFFFFF", "FFFF00", "FF00FF", "00FFFF")


def channel_extremes(
    values: npt.NDArray[Any], axis: int | None, first: int, background: npt.NDArray[Any] | None
) -> Extremes:
    """Return the extremes of the channels in a box of voxels.

    Parameters
    ----------
    values : ndarray
        The voxels.
    axis : int or None
        The axis of the channels; None: all voxels are of channel 0.
    first : int
        The channel that the box begins with.
    background : ndarray or None
        A value that does not count, if there is one. NaN and infinities never count.

    Examples
    --------
    >>> channel_extremes(np.array([[1, 5], [7, 3]]), 0, 2, None)
    {2: (1, 5), 3: (3, 7)}
    """
    channels = [values] if axis is None else [values.take(c, axis=axis) for c in range(values.shape[axis])]
    found: Extremes = {}
    for channel, voxels in enumerate(channels, first if axis is not None else 0):
        low, high = voxels.min(), voxels.max()
        if not (np.isfinite(low) and np.isfinite(high)) or (background is not None and low <= background <= high):
            # row by row, because what counts takes memory
            rows = voxels if voxels.ndim > 1 else voxels[np.newaxis]
            seen = [extremes for row in rows if (extremes := _counted(row, background)) is not None]
            if not seen:
                continue
            low, high = min(low for low, _ in seen), max(high for _, high in seen)
        found[channel] = (number(low), number(high))
    return found


def _counted(voxels: npt.NDArray[Any], background: npt.NDArray[Any] | None) -> tuple[Any, Any] | None:
    """Return the extremes of the voxels that count, None if none does."""
    counted = np.isfinite(voxels)
    if background is not None:
        counted &= voxels != background
    return (voxels[counted].min(), voxels[counted].max()) if counted.any() else None


def number(value: Any) -> int | float:
    """Return a voxel as a number that JSON can hold."""
    return int(value) if isinstance(value, np.bool_) else value.item()


def merged_extremes(parts: Iterable[Mapping[int, tuple[Any, Any]]]) -> Extremes:
    """Return the extremes of all parts together."""
    merged: Extremes = {}
    for part in parts:
        for channel, (low, high) in part.items():
            before = merged.get(channel, (low, high))
            merged[channel] = (min(low, before[0]), max(high, before[1]))
    return merged


def with_windows(omero: Any, channels: int, extremes: Extremes, *, keep: bool) -> dict[str, Any]:
    """Return ``omero`` metadata whose channels have windows: ``min`` and ``max`` are what was seen.

    Parameters
    ----------
    omero : dict or anything
        The metadata of the source, if it has any: all that they tell is kept. Of windows, ``min`` and ``max`` are made
        anew unless ``keep``; ``start`` and ``end``, between which a viewer shows shades, always stay.
    channels : int
        How many channels there are.
    extremes : dict
        By channel.
    keep : bool
        Leave windows as they are where they are.
    """
    told = dict(omero) if isinstance(omero, Mapping) else {}
    described = told.get("channels")
    old = [dict(c) if isinstance(c, Mapping) else {} for c in described] if isinstance(described, list) else []
    old += [{} for _ in range(channels - len(old))]
    for index, channel in enumerate(old[:channels]):
        low, high = extremes.get(index, (0, 0))
        # a window of no width would divide by zero
        seen = {"min": low, "max": high, "start": low, "end": high if high > low else low + 1}
        window = channel.get("window")
        window = dict(window) if isinstance(window, Mapping) else {}
        exact = {} if keep else {"min": low, "max": high}
        color = COLORS[index % len(COLORS)] if channels > 1 else "FFFFFF"
        shown = {"color": color, "active": index < MOST_ACTIVE, "label": str(index)}
        old[index] = {**shown, **channel, "window": {**seen, **window, **exact}}
    return {**told, "channels": old}
