"""The xarray accessor: ``da.pyramid.build``, ``da.pyramid.plan`` and ``da.pyramid.levels``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from chunkpyramid.arguments import whole_number
from chunkpyramid.boxes import Shape, ceil_div
from chunkpyramid.errors import ArgumentError
from chunkpyramid.metadata.missing import check_signs, leaving_out_missing
from chunkpyramid.pyramid.build import build_pyramid, plan_pyramid
from chunkpyramid.pyramid.factors import FactorLike, cumulative_factors, resolve_factors
from chunkpyramid.pyramid.level_coordinates import dropped_coordinates, level_variables
from chunkpyramid.pyramid.plan import PyramidPlan
from chunkpyramid.pyramid.pyramid import Pyramid
from chunkpyramid.reductions.methods import Reduction, auto_method, can_be_sparse, resolve_method
from chunkpyramid.sources.dataarray import attributes_of_dataarray, coordinates_of_dataarray
from chunkpyramid.warn import warn

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
            As `chunkpyramid.build_pyramid` takes them; ``name`` defaults to the DataArray's name, and ``layout`` to
            "datatree", which `xarray.open_datatree` opens. As in the reductions of xarray there is ``skipna``: True
            leaves out NaN (of means and modes), False does not, and None, the default, leaves out NaN of floats.

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
        sparse: bool | None = None,
        background: Any = None,
        rounding: str = "nearest",
        skipna: bool | None = None,
    ) -> xr.DataTree:
        """Return this DataArray and ``n`` coarser levels, lazily.

        Parameters
        ----------
        n : int
            How many levels below level 0.
        method, factor, sparse, background, rounding
            As `chunkpyramid.build_pyramid` takes them.
        skipna : bool, optional
            As for `build`.

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
        check_signs(array.attrs, dtype)
        method = auto_method(dtype) if method == "auto" else method
        told = {"sparse": sparse, "background": background} | self._skipping(skipna, method, sparse, background)
        _, missing = attributes_of_dataarray(array)
        sparse, background = leaving_out_missing(missing, method, told["sparse"], told["background"])
        reduction = resolve_method(method, dtype, sparse=sparse, background=background, rounding=rounding)
        names = coordinates.names
        scale = coordinates.scale if coordinates.known else None
        factors = resolve_factors(factor, n, array.shape, names, coordinates.spatial, scale, array.shape)
        name = self._named({})["name"]
        variables = {str(coordinate): array.coords[coordinate].variable for coordinate in array.coords}
        totals = cumulative_factors(factors, array.ndim)
        dropped = dropped_coordinates(variables, array.dims, totals[-1])
        if dropped:
            warn(
                f"the coordinates {dropped} have several axes and are left out of the levels that are coarser along one"
            )
        nodes = {"/s0": array.rename(name).to_dataset()}
        lazy = lazy_levels(array.chunk() if array.chunks is None else array, factors, reduction)
        for index, (values, total) in enumerate(zip(lazy, totals[1:], strict=True), 1):
            own = level_variables(variables, array.dims, total, is_first=reduction.name == "stride")
            level = xr.DataArray(values, dims=array.dims, name=name, attrs=array.attrs)
            nodes[f"/s{index}"] = level.assign_coords(own).to_dataset()
        return xr.DataTree.from_dict(nodes)

    def _named(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options of a build, with the defaults of the accessor."""
        name = self._array.name
        taken = {*self._array.dims, *self._array.coords}
        usable = isinstance(name, str) and name not in taken and "/" not in name
        if self._array.chunks is not None and name == self._array.data.name:
            usable = False  # xarray takes over the name of the graph, which tells nobody anything
        defaults = {"name": name if usable else "image", "layout": "datatree"}
        skipna = options.pop("skipna", None)
        method, sparse, background = (options.get(key) for key in ("method", "sparse", "background"))
        return {**defaults, **options, **self._skipping(skipna, method or "auto", sparse, background)}

    def _skipping(self, skipna: bool | None, method: str, sparse: bool | None, background: Any) -> dict[str, Any]:
        """Return what ``skipna`` means for ``sparse`` and ``background``."""
        if skipna is not None and not isinstance(skipna, bool | np.bool_):
            raise ArgumentError(f"skipna must be True, False or None, but {skipna!r} was given")
        is_told = sparse is not None or background is not None
        if skipna and is_told:
            raise ArgumentError("skipna=True leaves out NaN: give either this or sparse= and background=")
        if self._array.dtype.kind != "f" or is_told or skipna is False:
            return {"sparse": False} if skipna is False and not is_told else {}
        if not can_be_sparse("mean" if method == "auto" else method):
            if skipna:
                raise ArgumentError(f"skipna=True: method {method!r} cannot leave out NaN, only means and modes can")
            return {}
        _, missing = attributes_of_dataarray(self._array)
        if missing is not None and skipna is None:
            return {}
        return {"sparse": True, "background": float("nan")}


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
