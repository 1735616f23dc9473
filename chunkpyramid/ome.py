"""OME-Zarr metadata: the only module that knows how versions 0.4 and 0.5 spell a pyramid."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chunkpyramid.coordinates import Axis, Coordinates, axis_type
from chunkpyramid.errors import ArgumentError

__all__ = [
    "Multiscale",
    "is_labels",
    "json_number",
    "only_level_0",
    "read_multiscale",
    "resolve_version",
    "with_multiscale",
]

VERSION_OF_FORMAT = {2: "0.4", 3: "0.5"}

# Beside the pyramid an image group may carry these; a new pyramid of the same image keeps them.
KEPT_KEYS = ("omero", "image-label")


@dataclass(frozen=True)
class Multiscale:
    """A pyramid as its metadata tells: the arrays' paths, level 0 first, and the coordinates of every level."""

    paths: tuple[str, ...]
    coordinates: tuple[Coordinates, ...]
    name: str | None = None
    method: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    kept: Mapping[str, Any] = field(default_factory=dict)


def resolve_version(zarr_format: Any, ome_version: Any) -> tuple[int, str]:
    """Return zarr format and OME version, checked against each other.

    Raises
    ------
    ArgumentError
        If either is unknown, or the pair does not exist.
    """
    if isinstance(zarr_format, bool) or zarr_format not in tuple(VERSION_OF_FORMAT):
        raise ArgumentError(f"zarr_format must be 2 or 3, but {zarr_format!r} was given")
    version = VERSION_OF_FORMAT[zarr_format]
    if ome_version is not None and str(ome_version) != version:
        raise ArgumentError(
            f"ome_version={ome_version!r} does not go with zarr_format={zarr_format}: OME-Zarr 0.4 is on zarr format "
            "2, and 0.5 on zarr format 3"
        )
    return int(zarr_format), version


def is_labels(attributes: Mapping[str, Any]) -> bool:
    """Whether a group's attributes mark it as a label image."""
    return "image-label" in attributes.get("ome", attributes)


def read_multiscale(attributes: Mapping[str, Any]) -> Multiscale | None:
    """Return the first multiscale of a group's attributes, or None if there is none.

    Raises
    ------
    ArgumentError
        If there is one, but it is malformed.
    """
    from pydantic import ValidationError
    from yaozarrs import v04, v05

    ome = attributes.get("ome", attributes)
    if not isinstance(ome, Mapping) or not isinstance(ome.get("multiscales"), list) or not ome["multiscales"]:
        return None
    image_type: Any = v05.Image if "ome" in attributes else v04.Image
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = image_type.model_validate(_bare(ome, ome["multiscales"][0]))
    except ValidationError as error:
        raise ArgumentError(f"the group's OME-Zarr metadata is malformed: {error}") from error
    multiscale = image.multiscales[0]
    axes = tuple(Axis(a.name, a.type or axis_type(a.name), a.unit) for a in multiscale.axes)
    shared = multiscale.coordinateTransformations
    coordinates = []
    for dataset in multiscale.datasets:
        scale, translation = _scale_and_translation(dataset.coordinateTransformations, len(axes))
        if shared:
            # transformations of the whole multiscale apply after those of the dataset
            outer_scale, outer_translation = _scale_and_translation(shared, len(axes))
            translation = [t * s + o for t, s, o in zip(translation, outer_scale, outer_translation, strict=True)]
            scale = [a * b for a, b in zip(scale, outer_scale, strict=True)]
        coordinates.append(Coordinates(axes, tuple(scale), tuple(translation), known=True))
    metadata = multiscale.metadata
    parameters = metadata.get("kwargs") if isinstance(metadata, Mapping) else None
    return Multiscale(
        paths=tuple(dataset.path for dataset in multiscale.datasets),
        coordinates=tuple(coordinates),
        name=multiscale.name,
        method=multiscale.type,
        parameters=parameters if isinstance(parameters, Mapping) else {},
        kept={key: ome[key] for key in KEPT_KEYS if key in ome},
    )


def _scale_and_translation(transformations: Sequence[Any], ndim: int) -> tuple[list[float], list[float]]:
    scale, translation = [1.0] * ndim, [0.0] * ndim
    for transformation in transformations:
        if transformation.type == "scale":
            scale = list(transformation.scale)
        elif transformation.type == "translation":
            translation = list(transformation.translation)
    return scale, translation


def with_multiscale(
    attributes: Mapping[str, Any], multiscale: Multiscale, version: str, software_version: str
) -> dict[str, Any]:
    """Return a group's attributes with this pyramid as their multiscale, everything else kept.

    The metadata follow https://ngff.openmicroscopy.org/0.5/#multiscale-md (and the same section of 0.4).
    """
    from yaozarrs import v04, v05

    models: Any = v05 if version == "0.5" else v04
    datasets = []
    for path, coordinates in zip(multiscale.paths, multiscale.coordinates, strict=True):
        transformations: list[dict[str, Any]] = [{"type": "scale", "scale": list(coordinates.scale)}]
        if any(coordinates.translation):
            transformations.append({"type": "translation", "translation": list(coordinates.translation)})
        datasets.append({"path": path, "coordinateTransformations": transformations})
    axes = [
        {"name": axis.name, "type": axis.type} | ({"unit": axis.unit} if axis.unit else {})
        for axis in multiscale.coordinates[0].axes
    ]
    description: dict[str, Any] = {
        "name": multiscale.name,
        "axes": axes,
        "datasets": datasets,
        "type": multiscale.method,
        "metadata": {
            "description": "every level computed by chunkpyramid from the level-0 voxels",
            "method": "chunkpyramid.build_pyramid",
            "version": software_version,
            "kwargs": dict(multiscale.parameters),
        },
    }
    if version == "0.4":
        description["version"] = version
    old = attributes.get("ome", {}) if version == "0.5" else attributes
    others = [m for m in old.get("multiscales", []) if _first_path(m) != multiscale.paths[0]]
    content: dict[str, Any] = {**old, "multiscales": [description, *others], **multiscale.kept}
    if version == "0.5":
        content["version"] = version
    with warnings.catch_warnings():
        # the models warn of units that OME-Zarr only advises against, such as degrees
        warnings.simplefilter("ignore")
        models.Image.model_validate(_bare(content, description))
    return {**attributes, "ome": content} if version == "0.5" else content


def _bare(ome: Mapping[str, Any], multiscale: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of one multiscale alone: what others wrote beside it is theirs to get right."""
    return {"multiscales": [multiscale]} | ({"version": ome["version"]} if "version" in ome else {})


def only_level_0(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a group's attributes with all levels but level 0 taken out of the first multiscale."""
    old = attributes.get("ome", attributes)
    first, *others = old["multiscales"]
    content = {**old, "multiscales": [{**first, "datasets": first["datasets"][:1]}, *others]}
    return {**attributes, "ome": content} if "ome" in attributes else content


def _first_path(multiscale: Mapping[str, Any]) -> str | None:
    datasets = multiscale.get("datasets") or [{}]
    path: str | None = datasets[0].get("path")
    return path


def json_number(value: Any) -> Any:
    """Return a number as JSON can hold it: NaN and infinities as strings."""
    number = value.item() if hasattr(value, "item") else value
    if isinstance(number, float) and not math.isfinite(number):
        return str(number)
    return number
