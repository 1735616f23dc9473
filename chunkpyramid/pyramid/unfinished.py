"""Builds and updates that have not been finished: whether this one goes on with them, and how they are finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import zarr

from chunkpyramid.boxes import Box
from chunkpyramid.engine.journal import Journal
from chunkpyramid.errors import BuildError, TargetExistsError
from chunkpyramid.text import format_region

__all__ = [
    "check_fingerprint",
    "check_region",
    "level_paths_of",
    "source_of",
    "told_of_build",
    "update_fingerprint",
    "was_consolidated",
]


def told_of_build(level_paths: Sequence[str], *, is_consolidated: bool) -> dict[str, Any]:
    """Return what is told of a build: which arrays it makes or replaces, and whether the metadata were consolidated."""
    return {"levels": list(level_paths), "consolidated": is_consolidated}


def level_paths_of(journal: Journal) -> list[str]:
    """Return the paths of the arrays that an unfinished build makes or replaces."""
    return [str(path) for path in journal.told.get("levels", [])]


def was_consolidated(journal: Journal) -> bool:
    """Whether the group had consolidated metadata when the build began."""
    return bool(journal.told.get("consolidated", False))


def source_of(journal: Journal) -> str | None:
    """Return the identity of what an unfinished build reads; None for an update."""
    source = journal.fingerprint.get("source")
    return None if source is None else str(source)


def check_fingerprint(journal: Journal, fingerprint: Mapping[str, Any], where: str) -> None:
    """Raise `TargetExistsError` unless the unfinished build has this fingerprint, naming what differs."""
    found = journal.fingerprint
    differences = [
        f"{key}: {found.get(key)!r} there, {fingerprint.get(key)!r} now" for key in journal.differences(fingerprint)
    ]
    if "update" in found:
        raise TargetExistsError(
            f"{where} holds a pyramid whose update has not been finished: {_how_to_finish(found)}, or pass "
            "overwrite=True to build anew"
        )
    if differences:
        raise TargetExistsError(
            f"{where} holds an unfinished build with another plan ({'; '.join(differences)}): run it with the "
            "arguments it was begun with, or pass overwrite=True to begin anew"
        )


def check_region(journal: Journal, region: Box | None, group: zarr.Group) -> None:
    """Raise `BuildError` unless an update of this region finishes what is unfinished, saying how to finish it."""
    found = journal.fingerprint
    if "update" in found:
        if region is not None and region.contains(_updated_region(found)):
            return
        raise BuildError(f"an update of {group} has not been finished: {_how_to_finish(found)}")
    raise BuildError(
        f"a build into {group} has not been finished: run build_pyramid again with the same arguments to resume it"
    )


def update_fingerprint(region: Box) -> dict[str, Any]:
    """Return the fingerprint of an update of a region of level 0."""
    return {"update": [list(region.start), list(region.stop)]}


def _updated_region(fingerprint: Mapping[str, Any]) -> Box:
    """Return the region of level 0 that an update is of."""
    start, stop = fingerprint["update"]
    return Box(tuple(start), tuple(stop))


def _how_to_finish(fingerprint: Mapping[str, Any]) -> str:
    region = format_region(_updated_region(fingerprint))
    return f"run update_pyramid for the region {region}, or one around it, to finish it"
