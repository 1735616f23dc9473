"""OME-Zarr metadata: the only module that knows how versions 0.4 and 0.5 spell a pyramid."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chunkpyramid.boxes import Shape
from chunkpyramid.errors import ArgumentError
from chunkpyramid.metadata.coordinates import DEFAULT_AXES, Axis, Coordinates, axis_type
from chunkpyramid.metadata.missing import with_finite_numbers

__all__ = [
    "Multiscale",
    "carried",
    "check_version",
    "format_beside",
    "is_labels",
    "json_number",
    "only_level_0",
    "other_paths",
    "read_multiscale",
    "resolve_version",
    "with_multiscale",
]

VERSION_OF_FORMAT = {2: "0.4", 3: "0.5"}

OLD_VERSIONS = ("0.1", "0.2", "0.3")
# Some libraries leave the version of 0.5 out.
VERSIONS = (*OLD_VERSIONS, "0.4", "0.5", "")

ShapeOf = Callable[[str], Shape | None]

# Beside the pyramid an image group may carry these; a new pyramid of the same image keeps them.
KEPT_KEYS = ("omero", "image-label")

# What a multiscale tells of its levels and of how they were made, which is not so of another pyramid of the image.
OF_LEVELS = ("datasets", "coordinateTransformations", "metadata", "type", "version")

# What a group tells of others around it or in it.
OF_OTHERS = ("multiscales", "version", "labels", "plate", "well", "series", "bioformats2raw.layout")


@dataclass(frozen=True)
class Multiscale:
    """A pyramid as its metadata tells: the arrays' paths, level 0 first, and the coordinates of every level.

    ``digest`` tells the build that made it from others, and ``index`` tells it from the others of its group, which may
    have arrays in common with it; None if it is in no group yet.
    """

    paths: tuple[str, ...]
    coordinates: tuple[Coordinates, ...]
    name: str | None = None
    method: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    kept: Mapping[str, Any] = field(default_factory=dict)
    digest: str | None = None
    index: int | None = None


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


def format_beside(zarr_format: Any, own: int, beside: str) -> int:
    """Return the zarr format of what goes beside something that has its ``own``, which others must not contradict.

    Raises
    ------
    ArgumentError
        If another one than the default was given.
    """
    if zarr_format not in (own, max(VERSION_OF_FORMAT)):
        raise ArgumentError(
            f"zarr_format={zarr_format!r} was given, but {beside} has zarr format {own}, and so has what is built "
            "there: leave zarr_format out, or give target="
        )
    return own


def is_labels(attributes: Mapping[str, Any]) -> bool:
    """Whether a group's attributes mark it as a label image."""
    return "image-label" in attributes.get("ome", attributes)


def read_multiscale(
    attributes: Mapping[str, Any], shape_of: ShapeOf | None = None, *, dataset: str | None = None
) -> Multiscale | None:
    """Return a multiscale of a group's attributes: that with this dataset, or the first; None if there is none.

    Of several with the dataset it is the first of those whose level 0 it is, or else the first of all. ``shape_of``
    gives the shape of the array at a path, None if there is no array: the metadata of OME-Zarr 0.1 to 0.3 do not tell
    how many axes there are, nor what the scales of levels are.

    Raises
    ------
    ArgumentError
        If there is one, but it is malformed or of a version that is not known.
    """
    from pydantic import ValidationError
    from yaozarrs import v04, v05

    index = _index(attributes, dataset)
    if index is None:
        return None
    described = _multiscales(attributes)[index]
    ome = attributes.get("ome", attributes)
    version = check_version(attributes, described)
    if version in OLD_VERSIONS:
        described = _modernised(described, version, shape_of)
    image_type: Any = v05.Image if "ome" in attributes else v04.Image
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = image_type.model_validate(_bare(ome, described))
    except ValidationError as error:
        raise ArgumentError(f"the group's OME-Zarr metadata is malformed: {error}") from error
    multiscale = image.multiscales[0]
    axes = tuple(Axis(a.name, a.type or axis_type(a.name), a.unit) for a in multiscale.axes)
    shared = multiscale.coordinateTransformations
    coordinates = []
    for level in multiscale.datasets:
        scale, translation = _scale_and_translation(level.coordinateTransformations, len(axes))
        if shared:
            # transformations of the whole multiscale apply after those of the dataset
            outer_scale, outer_translation = _scale_and_translation(shared, len(axes))
            translation = [t * s + o for t, s, o in zip(translation, outer_scale, outer_translation, strict=True)]
            scale = [a * b for a, b in zip(scale, outer_scale, strict=True)]
        coordinates.append(Coordinates(axes, tuple(scale), tuple(translation), known=version not in OLD_VERSIONS))
    metadata = multiscale.metadata
    parameters = metadata.get("kwargs") if isinstance(metadata, Mapping) else None
    digest = metadata.get("digest") if isinstance(metadata, Mapping) else None
    return Multiscale(
        paths=tuple(level.path for level in multiscale.datasets),
        coordinates=tuple(coordinates),
        name=multiscale.name,
        method=multiscale.type,
        parameters=parameters if isinstance(parameters, Mapping) else {},
        kept={key: ome[key] for key in KEPT_KEYS if key in ome},
        digest=digest if isinstance(digest, str) else None,
        index=index,
    )


def check_version(attributes: Mapping[str, Any], described: Any = None) -> str:
    """Return the version of a group's metadata; of format 2, the version of this multiscale, or the first one.

    Raises
    ------
    ArgumentError
        If that is not known.
    """
    ome = attributes.get("ome")
    if isinstance(ome, Mapping):
        version = str(ome.get("version", ""))
    else:
        version = _version(next(iter(_multiscales(attributes)), None) if described is None else described)
    if version not in VERSIONS:
        raise ArgumentError(
            f"the group's OME-Zarr metadata have version {version!r}, and those known are {', '.join(VERSIONS[:-1])}: "
            "give the path of an array in it, another target, and what the metadata would tell as axes=, voxel_size= "
            "and translation="
        )
    return version


def other_paths(attributes: Mapping[str, Any], own: int | None) -> set[str]:
    """Return the paths of all datasets of all multiscales but the one with this index."""
    others = [multiscale for index, multiscale in enumerate(_multiscales(attributes)) if index != own]
    return {path for multiscale in others for path in _paths(multiscale)}


def _multiscales(attributes: Mapping[str, Any]) -> list[Any]:
    ome = attributes.get("ome", attributes)
    found = ome.get("multiscales") if isinstance(ome, Mapping) else None
    return found if isinstance(found, list) else []


def _index(attributes: Mapping[str, Any], dataset: str | None) -> int | None:
    """Return the index of the multiscale that has a dataset, or of the first one; None if there is none."""
    described = [_paths(multiscale) for multiscale in _multiscales(attributes)]
    if dataset is None:
        return 0 if described else None
    having = [index for index, paths in enumerate(described) if dataset in paths]
    return min(having, key=lambda index: (described[index][0] != dataset, index), default=None)


def _paths(described: Any) -> list[str]:
    datasets = described.get("datasets") if isinstance(described, Mapping) else None
    entries = datasets if isinstance(datasets, list) else []
    return [str(entry.get("path")) for entry in entries if isinstance(entry, Mapping)]


def _version(described: Any) -> str:
    """Return the version of a multiscale of zarr format 2, which not all that wrote it tell."""
    if not isinstance(described, Mapping):
        return "0.4"
    axes = described.get("axes")
    is_named = isinstance(axes, list) and all(isinstance(axis, str) for axis in axes)
    told = "0.3" if is_named else "0.4" if "axes" in described else "0.2"
    version = described.get("version")
    return str(version) if version in OLD_VERSIONS or version not in (None, "0.4") else told


def _modernised(described: Mapping[str, Any], version: str, shape_of: ShapeOf | None) -> dict[str, Any]:
    """Return the metadata of a multiscale of OME-Zarr 0.1 to 0.3 as 0.4 has them.

    Before 0.3 the axes were always t, c, z, y and x, or the last of these; the scales followed from the shapes.
    """
    paths = _paths(described)
    shapes = [shape_of(path) if shape_of is not None else None for path in paths]
    first = shapes[0] if shapes else None
    names = described.get("axes") if version == "0.3" else None
    if names is None:
        if first is None:
            raise ArgumentError(f"the OME-Zarr {version} metadata of a group name no array of it: give the path of one")
        names = DEFAULT_AXES[-len(first) :]
    datasets = []
    for path, shape in zip(paths, shapes, strict=True):
        scale = [1.0] * len(names)
        if first is not None and shape is not None and len(shape) == len(first) == len(names):
            scale = [float(max(1, round(n / m))) if m else 1.0 for n, m in zip(first, shape, strict=True)]
        datasets.append({"path": path, "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    others = {key: value for key, value in described.items() if key not in ("version", "coordinateTransformations")}
    axes = [{"name": name, "type": axis_type(name)} if isinstance(name, str) else name for name in names]
    return {**others, "version": "0.4", "axes": axes, "datasets": datasets}


def _scale_and_translation(transformations: Sequence[Any], ndim: int) -> tuple[list[float], list[float]]:
    scale, translation = [1.0] * ndim, [0.0] * ndim
    for transformation in transformations:
        if transformation.type == "scale":
            scale = list(transformation.scale)
        elif transformation.type == "translation":
            translation = list(transformation.translation)
    return scale, translation


def carried(attributes: Mapping[str, Any], multiscale: Multiscale, version: str, first: str) -> dict[str, Any]:
    """Return the attributes that the group of another pyramid of an image begins with: all that is not of its levels.

    Level 0 of the other pyramid is called ``first``, and its metadata have this ``version``.
    """
    old = attributes.get("ome", attributes)
    told = {key: value for key, value in old.items() if key not in OF_OTHERS}
    others = {key: value for key, value in attributes.items() if key != "ome"} if "ome" in attributes else {}
    if "ome" not in attributes and version == "0.5":
        # what is OME's own and what is not are side by side in format 2
        others, told = told, {}
    described = _multiscales(attributes)[multiscale.index or 0]
    entry = {key: value for key, value in described.items() if key not in (*OF_LEVELS, "axes")}
    axes = [axis for axis in described.get("axes") or () if isinstance(axis, Mapping)]
    # what else they tell is in the coordinates
    entry["axes"] = [{k: v for k, v in axis.items() if k not in ("type", "unit")} for axis in axes]
    content = {**told, "multiscales": [{**entry, "datasets": [{"path": first}]}]}
    content = {key: value for key, value in content.items() if key not in KEPT_KEYS}
    others = {key: value for key, value in others.items() if key not in KEPT_KEYS}
    carried = {**others, "ome": content} if version == "0.5" else {**others, **content}
    return {key: with_finite_numbers(value) for key, value in carried.items()}


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
            "digest": multiscale.digest,
        },
    }
    if version == "0.4":
        description["version"] = version
    old = attributes.get("ome", {}) if version == "0.5" else attributes
    multiscales = list(_multiscales(attributes))
    at = _place(multiscales, multiscale)
    if at < len(multiscales):
        description = _merged(multiscales[at], description)
    multiscales[at : at + 1] = [description]
    content: dict[str, Any] = {**old, **multiscale.kept, "multiscales": multiscales}
    if version == "0.5":
        content["version"] = version
    with warnings.catch_warnings():
        # the models warn of units that OME-Zarr only advises against, such as degrees
        warnings.simplefilter("ignore")
        models.Image.model_validate(_bare(content, description))
    return {**attributes, "ome": content} if version == "0.5" else content


def _place(multiscales: Sequence[Any], multiscale: Multiscale) -> int:
    """Return where in a list the metadata of a multiscale are, or go: others may have written theirs since."""
    begins = [index for index, described in enumerate(multiscales) if _paths(described)[:1] == [multiscale.paths[0]]]
    if multiscale.index is not None and multiscale.index in begins:
        return multiscale.index
    return begins[0] if begins else len(multiscales)


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the new metadata of a multiscale with what the old ones tell beside them, also of axes and levels."""
    # transformations of the whole multiscale are in those of the levels now
    merged = {key: value for key, value in old.items() if key != "coordinateTransformations"} | dict(new)
    for key, name in (("axes", "name"), ("datasets", "path")):
        known = {entry.get(name): entry for entry in old.get(key) or () if isinstance(entry, Mapping)}
        merged[key] = [{**known.get(entry[name], {}), **entry} for entry in new[key]]
    return merged


def _bare(ome: Mapping[str, Any], multiscale: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of one multiscale alone: what others wrote beside it is theirs to get right."""
    return {"multiscales": [multiscale]} | ({"version": ome["version"]} if "version" in ome else {})


def only_level_0(attributes: Mapping[str, Any], own: int | None) -> dict[str, Any]:
    """Return a group's attributes with all levels but level 0 taken out of the multiscale with this index."""
    old = attributes.get("ome", attributes)
    multiscales = [
        {**described, "datasets": described["datasets"][:1]} if index == own else described
        for index, described in enumerate(_multiscales(attributes))
    ]
    content = {**old, "multiscales": multiscales}
    return {**attributes, "ome": content} if "ome" in attributes else content


def json_number(value: Any) -> Any:
    """Return a number as JSON can hold it: NaN, infinities and complex numbers as strings."""
    number = value.item() if hasattr(value, "item") else value
    if isinstance(number, complex) or (isinstance(number, float) and not math.isfinite(number)):
        return str(number)
    return number
