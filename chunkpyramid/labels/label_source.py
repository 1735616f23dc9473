"""The volume of labels that is to be looked at, and the arguments that all who do so take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chunkpyramid.errors import ArgumentError
from chunkpyramid.metadata.coordinates import Coordinates, with_arguments
from chunkpyramid.sources.open import open_source
from chunkpyramid.sources.source import Source
from chunkpyramid.sources.uneven_axes import warn_of_uneven_axes

__all__ = ["check_background", "open_labels", "physical_coordinates"]


def open_labels(source: Any, axes: Any, storage_options: Mapping[str, Any] | None, *, writable: bool = False) -> Source:
    """Open a source of labels, for writing too if it is to be changed in place.

    Raises
    ------
    SourceNotFoundError
        If there is none.
    ArgumentError
        If it holds no labels.
    """
    opened = open_source(source, axes, writable=writable, storage_options=storage_options)
    if opened.dtype.kind not in "iub":
        raise ArgumentError(f"source must hold labels, which are integers or bool, but it holds {opened.dtype}")
    return opened


def check_background(background: Any) -> None:
    """Raise `ArgumentError` for what is neither a label nor None."""
    if background is not None and (isinstance(background, bool) or not isinstance(background, int | np.integer)):
        raise ArgumentError(f"background must be a label or None, but {background!r} was given")


def physical_coordinates(
    source: Source, voxel_size: Any, translation: Any, unit: Any, *, consequence: str
) -> Coordinates:
    """Return the coordinates of a source, those that the user has given in place of its own.

    What they cannot tell is warned of, with the ``consequence`` that this has.

    Raises
    ------
    ArgumentError
        If the arguments are malformed, or the axes are in another order than those of the source.
    """
    coordinates = with_arguments(source.coordinates, voxel_size, translation, unit)
    if source.order is not None:
        raise ArgumentError("axes must be in the order of those of the source: transpose the source, or leave out axes")
    warn_of_uneven_axes(source, coordinates, consequence)
    return coordinates
