"""A finished pyramid: its levels as zarr arrays, dask arrays or an xarray DataTree."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import zarr

from chunkpyramid.engine.journal import Journal
from chunkpyramid.errors import ArgumentError
from chunkpyramid.metadata import ome
from chunkpyramid.metadata.coordinates import Coordinates
from chunkpyramid.pyramid.level_coordinates import dimension_coordinates
from chunkpyramid.pyramid.plan import PyramidPlan
from chunkpyramid.pyramid.unfinished import check_region
from chunkpyramid.storage.nodes import groups_around, level_array, open_node, shape_in
from chunkpyramid.text import format_shape, format_table

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr

__all__ = ["Pyramid", "open_pyramid"]


class Pyramid:
    """A multiscale pyramid in a zarr group.

    Attributes
    ----------
    group : zarr.Group
        The group that holds the OME-Zarr metadata.
    levels : list of zarr.Array
        The levels, level 0 first.
    coordinates : tuple of Coordinates
        Axes, voxel size (``scale``) and ``translation`` of every level.
    name, method : str or None
        Name and downsampling method as the metadata tell.
    plan : PyramidPlan or None
        The plan that was run; None for a pyramid that was opened.
    """

    def __init__(self, group: zarr.Group, multiscale: ome.Multiscale, plan: PyramidPlan | None = None):
        self.group = group
        self.multiscale = multiscale
        self.plan = plan
        self.levels = [level_array(group, path) for path in multiscale.paths]

    def to_source(self) -> zarr.Group:
        """Return what the functions of this package that take a source read of the pyramid: the group."""
        return self.group

    @property
    def coordinates(self) -> tuple[Coordinates, ...]:
        return self.multiscale.coordinates

    @property
    def name(self) -> str | None:
        return self.multiscale.name

    @property
    def method(self) -> str | None:
        return self.multiscale.method

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes, slowest first."""
        return self.coordinates[0].names

    def to_dask(self) -> list[da.Array]:
        """Return the levels as dask arrays in chunks of their own (shards where they are sharded)."""
        import dask.array as da

        return [da.from_zarr(level, chunks=level.shards or level.chunks) for level in self.levels]

    def to_datatree(self) -> xr.DataTree:
        """Return the levels as an `xarray.DataTree` with the groups "s0", "s1", ..., lazily.

        Each group holds one variable with the coordinates of its level: those that are stored beside it in the layout
        "datatree", else those that scale and translation tell, and the pyramid's name.
        """
        import xarray as xr

        if re.fullmatch(r"s0/[^/]+", self.multiscale.paths[0]):
            store: Any = self.group.store
            return xr.open_datatree(store, group=f"/{self.group.path}", engine="zarr", chunks={})
        name = self.name or "image"
        if name in self.axes:
            name = "image"
        nodes: dict[str, xr.Dataset] = {}
        for index, (array, coordinates) in enumerate(zip(self.to_dask(), self.coordinates, strict=True)):
            variable = xr.DataArray(
                array, dims=coordinates.names, coords=dimension_coordinates(coordinates, array.shape), name=name
            )
            nodes[f"/s{index}"] = variable.to_dataset()
        return xr.DataTree.from_dict(nodes)

    def __repr__(self) -> str:
        rows = [
            (
                str(index),
                path,
                format_shape(level.shape),
                str(level.dtype),
                format_shape(level.chunks),
                format_shape(level.shards),
                ", ".join(
                    f"{a.name} {s:g}{' ' + a.unit if a.unit else ''}" for a, s in zip(c.axes, c.scale, strict=True)
                ),
                ", ".join(f"{t:g}" for t in c.translation),
            )
            for index, (path, level, c) in enumerate(
                zip(self.multiscale.paths, self.levels, self.coordinates, strict=True)
            )
        ]
        header = ("level", "path", "shape", "dtype", "chunks", "shards", "scale", "translation")
        title = f"Pyramid {self.name or ''} of {len(self.levels)} levels, method {self.method or 'unknown'}"
        return f"{title}: {self.group.store}\n{format_table(header, rows)}"


def open_pyramid(target: Any) -> Pyramid:
    """Open a pyramid.

    Parameters
    ----------
    target : path, URL, zarr store or zarr.Group
        Where an OME-Zarr image of version 0.4 or 0.5 is, written by this or any other library.

    Returns
    -------
    Pyramid

    Raises
    ------
    SourceNotFoundError
        If nothing is there, or a level is missing.
    BuildError
        If a build into this group was begun and has not been finished.
    ArgumentError
        If there is no OME-Zarr image.

    Examples
    --------
    >>> import numpy as np, zarr
    >>> import chunkpyramid as cp
    >>> store = zarr.storage.MemoryStore()
    >>> _ = cp.build_pyramid(np.zeros((64, 64), np.uint8), store, levels=1)
    >>> cp.open_pyramid(store).levels[1].shape
    (32, 32)
    """
    pyramid = pyramid_at(target, "r")
    journal = Journal.find(pyramid.group)
    if journal is not None:
        check_region(journal, None, pyramid.group)
    return pyramid


def pyramid_at(target: Any, mode: str = "r+") -> Pyramid:
    """Return the pyramid at a path, URL, store or group, be it finished or not.

    That of a group is its first multiscale, and that of an array the one it is a level of.
    """
    node = open_node(target.group if isinstance(target, Pyramid) else target, mode)
    if mode == "r+" and not node.store.supports_deletes:
        raise ArgumentError(
            f"the pyramid {target!r} cannot be changed in the store {node.store}, in which nothing can be deleted: "
            "unpack it to a folder, and pack that again"
        )
    if mode == "r+" and node.store.read_only:
        if not isinstance(target, Pyramid):
            raise ArgumentError(f"target {target!r} was opened read-only: open it with mode='r+', or give its path")
        node = open_node(zarr.open_group(node.store.with_read_only(False), path=node.path, mode="r+"))
    if isinstance(node, zarr.Array):
        return _pyramid_around(node)
    dataset = target.multiscale.paths[0] if isinstance(target, Pyramid) else None
    multiscale = ome.read_multiscale(node.attrs.asdict(), shape_in(node), dataset=dataset)
    if multiscale is None:
        # they are written last
        journal = Journal.find(node)
        if journal is not None:
            check_region(journal, None, node)
        raise ArgumentError(f"the group {target!r} has no OME-Zarr multiscales metadata")
    return Pyramid(node, multiscale)


def _pyramid_around(array: zarr.Array[Any]) -> Pyramid:
    for group, path in groups_around(array):
        multiscale = ome.read_multiscale(group.attrs.asdict(), shape_in(group), dataset=path)
        if multiscale is not None:
            return Pyramid(group, multiscale)
    raise ArgumentError(f"the array {array} is no level of an OME-Zarr image: give the path of the image's group")
