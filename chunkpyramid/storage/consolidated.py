"""Consolidated metadata, which some groups have."""

from __future__ import annotations

import warnings

import zarr

from chunkpyramid.storage.nodes import groups_around

__all__ = ["consolidate", "consolidate_around", "is_consolidated"]


def is_consolidated(group: zarr.Group) -> bool:
    """Whether a group has consolidated metadata, be they up to date or not."""
    zarr_format = group.metadata.zarr_format
    there = zarr.open_group(group.store, path=group.path, mode="r", zarr_format=zarr_format)
    return there.metadata.consolidated_metadata is not None


def consolidate(group: zarr.Group) -> None:
    """Consolidate the metadata of the group, which xarray looks for first."""
    with warnings.catch_warnings():
        # zarr format 3 has no specification of it yet, but zarr and xarray read and write it alike
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        # what is no part of the hierarchy, such as notes beside the arrays
        warnings.filterwarnings("ignore", message="Object at")
        zarr.consolidate_metadata(group.store, path=group.path, zarr_format=group.metadata.zarr_format)


def consolidate_around(node: zarr.Group) -> None:
    """Consolidate again those of the groups around a node whose metadata are consolidated."""
    for group, _ in groups_around(node):
        if not group.store.read_only and is_consolidated(group):
            consolidate(group)
