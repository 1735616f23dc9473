"""Labels of an image: a pyramid that goes to ``labels/<name>`` of an OME-Zarr image, and is as that image is."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import zarr
from zarr.storage import LocalStore, StorePath

from chunkpyramid.arguments import whole_number
from chunkpyramid.boxes import Shape
from chunkpyramid.errors import ArgumentError, TargetExistsError
from chunkpyramid.metadata import ome
from chunkpyramid.metadata.coordinates import Coordinates
from chunkpyramid.pyramid.factors import FactorLike
from chunkpyramid.sources.source import Image
from chunkpyramid.storage.locations import is_local_path, plain_path
from chunkpyramid.storage.nodes import as_it_is, groups_around, level_array, open_node, shape_in, writable_group
from chunkpyramid.warn import warn

__all__ = ["LabelledImage", "kept_elsewhere", "open_labelled"]

LABELS = "labels"

# Voxel sizes of level 0 have to agree up to rounding; those of coarser levels depend on how an edge was divided.
TOLERANCE, TOLERANCE_BELOW = 1e-6, 1e-2


@dataclass(frozen=True)
class LabelledImage:
    """The image that labels are made for."""

    group: zarr.Group
    multiscale: ome.Multiscale

    @property
    def zarr_format(self) -> int:
        return int(self.group.metadata.zarr_format)

    def target(self, name: str) -> Any:
        """Return where the labels of this name go."""
        path = f"{self.group.path}/{LABELS}/{name}".lstrip("/")
        store = self.group.store
        # folders by their path, as everybody gives them
        return str(store.root / path) if isinstance(store, LocalStore) else StorePath(store, path)

    def placed(self, coordinates: Coordinates) -> Coordinates:
        """Return the coordinates of the labels: their own, or those of the image if they tell none."""
        image = self.multiscale.coordinates[0]
        if coordinates.known:
            return coordinates
        axes, scale, translation = list(coordinates.axes), list(coordinates.scale), list(coordinates.translation)
        for axis, name in enumerate(coordinates.names):
            if name in image.names:
                other = image.names.index(name)
                axes[axis] = replace(axes[axis], unit=axes[axis].unit or image.axes[other].unit)
                scale[axis], translation[axis] = image.scale[other], image.translation[other]
        return Coordinates(tuple(axes), tuple(scale), tuple(translation), known=image.known)

    def levels(self, levels: int | None) -> int:
        """Return how many levels below level 0 the labels have: as many as the image."""
        count = len(self.multiscale.paths) - 1
        if levels is not None and whole_number(levels, "levels", least=0) != count:
            raise ArgumentError(
                f"levels={levels} was given, but labels have as many levels as their image, and {self.group} has "
                f"{count} below level 0: leave levels out"
            )
        return count

    def factor(self, factor: FactorLike, coordinates: Coordinates) -> FactorLike:
        """Return the factors from level to level: those of the image, unless others than the default were given."""
        if factor != 2:
            return factor
        image = self.multiscale.coordinates
        factors: list[Shape] = []
        for finer, coarser in pairwise(image):
            steps = dict(
                zip(finer.names, (b / a for a, b in zip(finer.scale, coarser.scale, strict=True)), strict=True)
            )
            factors.append(tuple(max(1, round(steps.get(name, 1))) for name in coordinates.names))
        return factors or factor

    def check_values(self, dtype: np.dtype[Any], method: str) -> None:
        """Raise `ArgumentError` unless levels of this method hold labels."""
        if dtype.kind not in "iu":
            raise ArgumentError(
                f"the source has dtype {dtype}, but labels are integers: convert it, or give target=, not labels_of="
            )
        if method == "mean":
            raise ArgumentError("method='mean' makes no labels of labels: give 'mode' or 'exact_mode' with labels_of=")

    def check(self, levels: tuple[Coordinates, ...], shape: Shape) -> None:
        """Check that level 0 of this shape lies where the image does, and the levels too.

        Raises
        ------
        ArgumentError
            Unless the voxels of every level are as large as those of the image.
        """
        self._warn_of_shape(levels[0], shape)
        for index, (own, image) in enumerate(zip(levels, self.multiscale.coordinates, strict=True)):
            for name, size in zip(own.names, own.scale, strict=True):
                other = dict(zip(image.names, image.scale, strict=True)).get(name, size)
                if not math.isclose(size, other, rel_tol=TOLERANCE_BELOW if index else TOLERANCE):
                    raise ArgumentError(
                        f"the labels have voxels of {size:g} along {name!r} at level {index}, but those of the image "
                        f"{self.group} are {other:g}: change voxel_size or factor, or give target=, not labels_of="
                    )

    def _warn_of_shape(self, own: Coordinates, shape: Shape) -> None:
        image = self.multiscale.coordinates[0]
        array = level_array(self.group, self.multiscale.paths[0])
        places = {
            name: (position, int(n))
            for name, position, n in zip(image.names, image.translation, array.shape, strict=True)
        }
        for name, position, n in zip(own.names, own.translation, shape, strict=True):
            other = places.get(name)
            if other is not None and other[0] == position and other[1] != n:
                warn(
                    f"the labels have {n} voxels along {name!r}, and the image {self.group} has {other[1]}, though "
                    "both begin at one place: give translation= if the labels are of a part of it"
                )

    def list_labels(self, name: str) -> None:
        """Add the name to the list of the image's labels."""
        group = self.group.require_group(LABELS)
        attributes: dict[str, Any] = group.attrs.asdict()
        content = attributes.get("ome", {}) if self.zarr_format == 3 else attributes
        names = content.get(LABELS) or []
        if name in names:
            return
        content = {**content, LABELS: [*names, name]}
        if self.zarr_format == 3:
            content = {**attributes, "ome": {"version": "0.5", **content}}
        group.attrs.put(content)


def kept_elsewhere(image: Image, target: Any) -> Mapping[str, Any]:
    """Return what a pyramid at a target keeps of the metadata beside the multiscale of labels.

    That is all, but for where the image of the labels is: as they tell it, it is not to be found from the target.
    """
    kept = dict(image.multiscale.kept)
    labels = kept.get("image-label")
    source = labels.get("source") if isinstance(labels, Mapping) else None
    told = source.get("image") if isinstance(source, Mapping) else None
    steps = told.strip("/").split("/") if isinstance(told, str) else []
    if not isinstance(labels, Mapping) or not isinstance(source, Mapping) or set(steps) != {".."}:
        return kept
    around = (group for group, name in groups_around(image.group) if len(name.split("/")) == len(steps))
    of = next(around, None)
    if of is None:
        # it is not to be found from the labels either
        return kept
    if isinstance(of.store, LocalStore) and is_local_path(plain_path(target)):
        where = os.path.relpath(os.path.realpath(of.store.root / of.path), os.path.realpath(plain_path(target)))
        return {**kept, "image-label": {**labels, "source": {**source, "image": where}}}
    warn(f"that these are labels of the image {of} is left out: from {target} there is no path to it")
    others = {key: value for key, value in source.items() if key != "image"}
    return {**kept, "image-label": {**labels, "source": others}}


def open_labelled(labels_of: Any, target: Any, storage_options: Mapping[str, Any] | None = None) -> LabelledImage:
    """Return the image that labels are made for.

    Raises
    ------
    ArgumentError
        If there is a ``target`` too, or no OME-Zarr image.
    SourceNotFoundError
        If there is nothing.
    """
    if target is not None:
        raise ArgumentError("labels_of= tells where the labels go: leave target out, or give it instead of labels_of=")
    node = open_node(labels_of, "r+", storage_options)
    if not isinstance(node, zarr.Group):
        raise ArgumentError(f"labels_of={labels_of!r} is an array: give the group of the OME-Zarr image")
    multiscale = ome.read_multiscale(node.attrs.asdict(), shape_in(node))
    if multiscale is None:
        raise ArgumentError(f"labels_of={labels_of!r} is no OME-Zarr image: it has no multiscales metadata")
    if isinstance(node.get(LABELS), zarr.Array):
        raise TargetExistsError(f"{node} has an array {LABELS!r}, where the group of its labels is to go")
    _check_list(node)
    return LabelledImage(as_it_is(writable_group(node)), multiscale)


def _check_list(image: zarr.Group) -> None:
    """Raise `ArgumentError` unless the list of an image's labels, if there is one, can be added to."""
    own: Any = image.metadata.zarr_format
    other: Any = 5 - own
    path = f"{image.path}/{LABELS}".lstrip("/")
    try:
        zarr.open_group(image.store, path=path, mode="r", zarr_format=other, use_consolidated=False)
    except (FileNotFoundError, ValueError):
        pass
    else:
        raise ArgumentError(
            f"the labels of {image} are a group of zarr format {other}, and the image is of format {own}: give target="
        )
    labels = image.get(LABELS)
    attributes: Any = labels.attrs.asdict() if labels is not None else {}
    content = attributes.get("ome", {}) if own == 3 else attributes
    listed = content.get(LABELS, []) if isinstance(content, Mapping) else content
    if not isinstance(listed, list):
        raise ArgumentError(
            f"the metadata of {labels} are malformed, so no labels can be listed there: mend them, or give target="
        )
