"""A checked and planned build: what it makes, where it goes, and what tells it from all others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import zarr

from chunkpyramid.engine.job import Step
from chunkpyramid.engine.journal import Journal
from chunkpyramid.engine.operation import BlockOperation
from chunkpyramid.engine.process_memory import keeping_to_limit
from chunkpyramid.metadata import ome
from chunkpyramid.metadata.coordinates import Coordinates
from chunkpyramid.pyramid.extremes import SeeExtremes
from chunkpyramid.pyramid.fold import Fold, fold_steps
from chunkpyramid.pyramid.labelled import LabelledImage
from chunkpyramid.pyramid.naming import own_levels
from chunkpyramid.pyramid.plan import BegunStage, Level, PlanRequest, PyramidPlan
from chunkpyramid.pyramid.plan_stages import make_plan
from chunkpyramid.reductions.methods import Reduction
from chunkpyramid.sources.coordinate_values import values_digest
from chunkpyramid.sources.source import Source
from chunkpyramid.storage.new_arrays import create_array
from chunkpyramid.storage.nodes import entries, level_array
from chunkpyramid.storage.presence import Presence, metadata_digest

__all__ = ["CheckedBuild", "FoldRecipe", "LevelFormat", "Recipe"]


@dataclass(frozen=True)
class LevelFormat:
    """How the arrays of the levels are stored."""

    zarr_format: int
    dtype: np.dtype[Any]
    compressors: Any
    fill_value: Any
    dimension_names: tuple[str, ...] | None
    attributes: Mapping[str, Any]

    @property
    def fills_with_zeros(self) -> bool:
        """Whether all bits of voxels of missing chunks are zero."""
        return self.fill_value is not None and not any(np.asarray(self.fill_value, dtype=self.dtype).tobytes())

    def create(self, group: Any, level: Level) -> Any:
        """Create the array of a level in the group."""
        return create_array(
            group,
            level.path,
            level.shape,
            self.dtype,
            chunks=level.chunks,
            shards=level.shards,
            compressors=self.compressors,
            fill_value=self.fill_value,
            dimension_names=self.dimension_names,
            attributes=self.attributes,
        )


class Recipe(Protocol):
    """How the levels are made of a source: ``dtype`` is that of level 0, None if it is the source's.

    Where one ``keeps_values``, level 0 is the source, and where it ``keeps_labels``, each label means what it does
    there; ``held_bytes`` are those that every process holds for it beside its tasks; and ``fingerprint`` is what else
    tells it from others.
    """

    @property
    def dtype(self) -> np.dtype[Any] | None: ...
    @property
    def keeps_values(self) -> bool: ...
    @property
    def keeps_labels(self) -> bool: ...
    @property
    def held_bytes(self) -> int: ...
    @property
    def fingerprint(self) -> Mapping[str, Any]: ...

    def plan(self, request: PlanRequest) -> PyramidPlan:
        """Return the plan that makes these levels."""

    def steps(self, checked: CheckedBuild, group: zarr.Group, journal: Journal) -> Sequence[Step]:
        """Return the stages of the plan with what they do to the blocks."""


class FoldRecipe:
    """Every level is folded from the voxels of the source."""

    dtype = None
    keeps_values = True
    keeps_labels = True
    held_bytes = 0
    fingerprint: Mapping[str, Any] = MappingProxyType({})

    def plan(self, request: PlanRequest) -> PyramidPlan:
        return make_plan(request)

    def steps(self, checked: CheckedBuild, group: zarr.Group, journal: Journal) -> Sequence[Step]:
        def wrap(fold: Fold) -> BlockOperation:
            if checked.has_windows and fold.stage.reads == "source":
                return SeeExtremes(fold, checked.reduction, checked.channel_axis)
            return fold

        return fold_steps(
            checked.plan,
            checked.reduction,
            checked.source.array,
            {level.index: level_array(group, level.path) for level in checked.plan.levels},
            journal.scratch,
            skips_blank=checked.format.fills_with_zeros,
            present=checked.present,
            wrap=wrap,
        )


@dataclass(frozen=True)
class CheckedBuild:
    """A checked and planned build.

    ``present`` tells whether the arrays that are read are still those that were planned with. ``group`` is the group of
    the source in a build in place, else None, ``image`` the image that labels are made for, and ``variables`` the
    coordinate variables of every level. ``recipe`` is how the levels are made.
    """

    source: Source
    present: tuple[Presence, ...]
    target: Any
    group: zarr.Group | None
    image: LabelledImage | None
    reduction: Reduction
    coordinates: tuple[Coordinates, ...]
    variables: tuple[Mapping[str, Any], ...]
    request: PlanRequest
    plan: PyramidPlan
    format: LevelFormat
    ome_version: str
    name: str
    layout: str
    recipe: Recipe

    @property
    def in_place(self) -> bool:
        return self.group is not None

    @property
    def index(self) -> int | None:
        """Which multiscale of the group of the source is built anew, None if it is none of them."""
        image = self.source.image
        return None if image is None or not self.in_place else image.multiscale.index

    @property
    def own_paths(self) -> tuple[str, ...]:
        """The paths of levels that are there already, of the same multiscale as the source and of no other."""
        image = self.source.image
        if not self.in_place or image is None:
            return ()
        return own_levels(image)

    @property
    def multiscale(self) -> ome.Multiscale:
        """The metadata of the finished pyramid."""
        return ome.Multiscale(
            paths=tuple(level.path for level in self.plan.levels),
            coordinates=self.coordinates,
            # an image that has a name keeps it, unless it is given another; a variable's name is its path
            name=self.source.name or self.name if (self.name, self.layout) == ("image", "flat") else self.name,
            method=self.reduction.name,
            parameters=self.parameters,
            kept=self.kept,
            digest=self.digest,
            index=self.index,
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """What the metadata tell of how the levels are made."""
        reduction = self.reduction
        parameters: dict[str, Any] = {"method": reduction.name}
        if reduction.name == "mean":
            parameters["rounding"] = reduction.rounding
        if reduction.sparse:
            parameters |= {"sparse": True, "background": ome.json_number(reduction.background)}
        return parameters

    @cached_property
    def digest(self) -> str:
        """What tells this build from all others, those with other attributes or coordinates included."""
        variables = [
            (name, variable.dims, str(variable.dtype), repr(variable.attrs), values_digest(variable))
            # the layout "flat" has no place for those of several axes
            for name, variable in sorted(self.source.variables.items())
            if variable.ndim < 2 or self.layout == "datatree"
        ]
        attributes = repr(sorted(self.format.attributes.items()))
        beside = [self.carried, {} if self.in_place else self.kept]
        return _digest([self.fingerprint, self.name, repr(self.coordinates), attributes, variables, beside])

    @property
    def kept(self) -> dict[str, Any]:
        """What the metadata tell beside the multiscale."""
        kept = dict(self.source.kept)
        told = kept.pop("image-label", None)
        labels = dict(told) if isinstance(told, Mapping) else {}
        if self.is_labels or told is not None:
            labels.pop("version", None)
            version = {"version": self.ome_version} if self.ome_version == "0.4" else {}
            source = {"source": {"image": "../../"}} if self.image is not None else {}
            kept["image-label"] = {**version, **labels, **source}
        return kept

    @property
    def carried(self) -> dict[str, Any]:
        """The attributes that a new group begins with: those of the image that the source is of."""
        image = self.source.image
        if image is None or self.in_place:
            return {}
        return ome.carried(image.group.attrs.asdict(), image.multiscale, self.ome_version, self.plan.levels[0].path)

    @property
    def channel_axis(self) -> int | None:
        """The axis of the channels, None if there is none."""
        types = [axis.type for axis in self.coordinates[0].axes]
        return types.index("channel") if "channel" in types else None

    @property
    def has_windows(self) -> bool:
        """Whether the metadata tell between which values viewers show the channels; in place only of one image."""
        if self.reduction.name != "mean":
            return False
        is_alone = self.group is None or not ome.other_paths(self.group.attrs.asdict(), self.index)
        return "omero" in self.source.kept or (self.channel_axis is not None and is_alone)

    @property
    def is_labels(self) -> bool:
        """Whether the levels hold labels; in place only if the group is of nothing else."""
        if self.image is not None:
            return True
        if self.reduction.name not in ("mode", "exact_mode") or self.format.dtype.kind not in "iu":
            return False
        if self.group is None:
            return True
        arrays = {name for name in entries(self.group) if isinstance(self.group.get(name), zarr.Array)}
        beside = arrays | ome.other_paths(self.group.attrs.asdict(), self.index)
        return beside <= {*(level.path for level in self.plan.levels), *self.own_paths}

    @property
    def block_shapes(self) -> list[list[Any]]:
        """The stages as source level, last level, block and piece: what a build keeps to when it is continued."""
        return [
            [stage.source_level, stage.last_level, list(stage.block), list(stage.piece)] for stage in self.plan.stages
        ]

    def continuing(self, begun: Sequence[Sequence[Any]]) -> CheckedBuild:
        """Return this build with the blocks of one that was begun, maybe with other memory or on another machine."""
        stages = tuple(
            BegunStage(int(first), int(last), tuple(map(int, block)), tuple(map(int, piece)))
            for first, last, block, piece in begun
        )
        request = replace(self.request, begun=stages)
        plan = keeping_to_limit(
            lambda baseline: self.recipe.plan(replace(request, baseline=baseline)), self.request.baseline
        )
        request = replace(request, baseline=plan.baseline)
        return replace(self, request=request, plan=replace(plan, hints=self.plan.hints))

    def steps(self, group: zarr.Group, journal: Journal) -> Sequence[Step]:
        """Return the stages with what they do to the blocks, once the arrays are there."""
        return self.recipe.steps(self, group, journal)

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """What must agree for a build to continue an unfinished one, in values that JSON can hold."""
        return {
            "source": self.source.identity(),
            "source_metadata": metadata_digest(self.present),
            "shape": list(self.source.shape),
            "dtype": str(self.reduction.dtype),
            **self.parameters,
            "levels": [
                [level.path, *map(list, (level.shape, level.chunks, level.shards or ()))] for level in self.plan.levels
            ],
            "axes": list(self.coordinates[0].names),
            "fill_value": ome.json_number(self.format.fill_value),
            "zarr_format": self.format.zarr_format,
            "layout": self.layout,
            "compressors": repr(self.format.compressors),
            **self.recipe.fingerprint,
        }


def _digest(told: Any) -> str:
    """Return a digest of values that JSON can hold."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
