"""The xarray accessor: ``da.pyramid.build``, ``da.pyramid.plan`` and ``da.pyramid.levels``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from chunkpyramid.build import build_pyramid, plan_pyramid
from chunkpyramid.coordinates import Coordinates
from chunkpyramid.dataarray import coordinates_of_dataarray, regular_step
from chunkpyramid.errors import ArgumentError
from chunkpyramid.factors import FactorLike, cumulative_factors, resolve_factors, whole_number
from chunkpyramid.grid import Shape, ceil_div, ceil_shape
from chunkpyramid.level_coordinates import dimension_coordinates
from chunkpyramid.methods import Reduction, auto_method, resolve_method
from chunkpyramid.plan import PyramidPlan
from chunkpyramid.pyramid import Pyramid

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["PyramidAccessor"]


@xr.register_dataarray_accessor("pyramid")
class PyramidAccessor:
    """Pyramids of a DataArray: dimensions become axes, and regular coordinates become scale and translation."""

    def __init__(self, array: xr.DataArray):
        self._array = array

    def build(self, target: Any, **options: Any) -> Pyramid:
        """Build a pyramid of this DataArray.

        Parameters
        ----------
        target : path, URL or zarr store
            The output group.
        **options
            As `chunkpyramid.build_pyramid` takes them; ``name`` defaults to the DataArray's name.

        Returns
        -------
        Pyramid

        Examples
        --------
        >>> import numpy as np, xarray as xr, zarr
        >>> import chunkpyramid
        >>> grid = xr.DataArray(np.ones((8, 8)), dims=("y", "x"), coords={"x": 100 + 4 * np.arange(8)})
        >>> pyramid = grid.pyramid.build(zarr.storage.MemoryStore(), levels=1)
        >>> pyramid.coordinates[1].scale, pyramid.coordinates[1].translation
        ((2.0, 8.0), (0.5, 102.0))
        """
        return build_pyramid(self._array, target, **self._named(options))

    def plan(self, **options: Any) -> PyramidPlan:
        """Plan a pyramid of this DataArray without building it.

        Parameters
        ----------
        **options
            As `chunkpyramid.build_pyramid` takes them.

        Returns
        -------
        PyramidPlan
        """
        return plan_pyramid(self._array, **self._named(options))

    def levels(
        self,
        n: int,
        *,
        method: str = "auto",
        factor: FactorLike = 2,
        sparse: bool = False,
        background: Any = 0,
        rounding: str = "nearest",
    ) -> xr.DataTree:
        """Return this DataArray and ``n`` coarser levels, lazily.

        Parameters
        ----------
        n : int
            How many levels below level 0.
        method, factor, sparse, background, rounding
            As `chunkpyramid.build_pyramid` takes them.

        Returns
        -------
        xarray.DataTree
            The groups "s0", "s1", ..., each with one variable (named as the DataArray, or "image") and the coordinates
            of its level: the same values that `build` would write.

        Raises
        ------
        ArgumentError
            If an argument is malformed.

        Examples
        --------
        >>> import numpy as np, xarray as xr
        >>> import chunkpyramid
        >>> grid = xr.DataArray(np.arange(16.0).reshape(4, 4), dims=("y", "x"), name="height")
        >>> grid.pyramid.levels(1)["s1/height"].values
        array([[ 2.5,  4.5],
               [10.5, 12.5]])
        """
        array = self._array
        if 0 in array.shape or array.ndim == 0:
            raise ArgumentError(f"the DataArray has shape {array.shape}: there are no voxels to downsample")
        n = whole_number(n, "n", least=0)
        coordinates = coordinates_of_dataarray(array, strict=False)
        dtype = np.dtype(array.dtype).newbyteorder("=")
        reduction = resolve_method(
            auto_method(dtype) if method == "auto" else method,
            dtype,
            sparse=sparse,
            background=background,
            rounding=rounding,
        )
        names = coordinates.names
        scale = coordinates.scale if coordinates.known else None
        factors = resolve_factors(factor, n, array.shape, names, coordinates.spatial, scale, array.shape)
        name = self._named({})["name"]
        nodes = {"/s0": self._without_other_coordinates().to_dataset(name=name)}
        lazy = lazy_levels(array.chunk() if array.chunks is None else array, factors, reduction)
        for index, (values, total) in enumerate(zip(lazy, cumulative_factors(factors, array.ndim)[1:], strict=True), 1):
            level = coordinates.at(total, centre_moves=reduction.name != "stride")
            nodes[f"/s{index}"] = xr.DataArray(
                values, dims=array.dims, coords=self._coordinates(level, total), name=name, attrs=array.attrs
            ).to_dataset()
        return xr.DataTree.from_dict(nodes)

    def _named(self, options: dict[str, Any]) -> dict[str, Any]:
        name = self._array.name
        usable = isinstance(name, str) and name not in self._array.dims and "/" not in name
        if self._array.chunks is not None and name == self._array.data.name:
            usable = False  # xarray takes over the name of the graph, which tells nobody anything
        return {"name": name if usable else "image", **options}

    def _without_other_coordinates(self) -> xr.DataArray:
        return self._array.drop_vars([c for c in self._array.coords if c not in self._array.dims])

    def _coordinates(self, level: Coordinates, total: Sequence[int]) -> dict[str, Any]:
        """Return the coordinates of a level along those axes where the DataArray has some."""
        array = self._array
        regular = dimension_coordinates(level, ceil_shape(array.shape, total))
        result: dict[str, Any] = {}
        for dim, factor in zip(array.dims, total, strict=True):
            if dim not in array.coords:
                continue
            values = array[dim].values
            if factor == 1:
                values = values.copy()
            elif regular_step(values) is not None:
                values = regular[str(dim)][1]
            else:
                # uneven coordinates have no centre that a formula knows: the level keeps the first of each footprint
                values = values[::factor]
            result[str(dim)] = (dim, values, array[dim].attrs)
        return result


def lazy_levels(array: xr.DataArray, factors: Sequence[Shape], reduction: Reduction) -> list[da.Array]:
    """Return the levels below level 0 of a dask-backed DataArray as dask arrays, each block computed from level 0."""
    import dask.array as da

    if not factors:
        return []
    totals = cumulative_factors(factors, array.ndim)[1:]
    # whole footprints of the coarsest level in every block: a level then needs no voxel of another block
    blocks = tuple(ceil_div(max(c), f) * f for c, f in zip(array.data.chunks, totals[-1], strict=True))
    source = array.data.rechunk(blocks)

    def reduce_block(block: npt.NDArray[Any], *, depth: int) -> npt.NDArray[Any]:
        state: Any = reduction.lift(block.astype(reduction.dtype, copy=False))
        for index, factor in enumerate(factors[:depth], 1):
            state, values = reduction.step(state, factor, keep_state=index < depth)
        return values

    return [
        da.map_blocks(
            reduce_block,
            source,
            depth=depth,
            chunks=tuple(
                tuple(ceil_div(n, f) for n in lengths) for lengths, f in zip(source.chunks, total, strict=True)
            ),
            dtype=reduction.dtype,
            meta=np.empty((0,) * array.ndim, dtype=reduction.dtype),
        )
        for depth, total in enumerate(totals, 1)
    ]
