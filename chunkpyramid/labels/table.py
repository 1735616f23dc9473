"""`LabelTable`: the labels of a volume, each with its count, place and voxels at the border."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.arguments import one_of, true_or_false, whole_number
from chunkpyramid.boxes import Box
from chunkpyramid.engine.result import arrays_of
from chunkpyramid.labels.counts import LabelCounts
from chunkpyramid.labels.exported_table import ExportedTable, check_installed
from chunkpyramid.labels.kept_columns import save_columns
from chunkpyramid.metadata.coordinates import Coordinates
from chunkpyramid.text import format_region, format_table

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["LabelRow", "LabelTable", "load_counts", "save_counts"]

Floats = npt.NDArray[np.float64]

# what a table is made of, and what follows from that and the coordinates
COLUMNS = ("label", "count", "border_count", "start", "stop", "centroid")
PHYSICAL_COLUMNS = ("physical_size", "position", "position_start", "position_stop")

# what can be sorted by
SORTABLE = ("label", "count", "border_count")

ROWS_SHOWN = 10


@dataclass(frozen=True)
class LabelRow:
    """One label of a `LabelTable`.

    Attributes
    ----------
    label : int
    count : int
        Number of voxels.
    border_count : int
        How many of them are at the border of the volume, the outermost along one of its spatial axes.
    box : tuple of slice
        Bounding box in voxels: what is to be cut out of the volume to see all of the label.
    centroid : tuple of float
        Mean of the voxel coordinates.
    physical_size : float
        What all voxels together fill: a volume in physical units, an area in 2-D.
    position : tuple of float
        The centroid in physical coordinates.
    position_start, position_stop : tuple of float
        The edges of the bounding box in physical coordinates: those of its voxels, not their centres.
    """

    label: int
    count: int
    border_count: int
    box: tuple[slice, ...]
    centroid: tuple[float, ...]
    physical_size: float
    position: tuple[float, ...]
    position_start: tuple[float, ...]
    position_stop: tuple[float, ...]


class LabelTable(ExportedTable, Mapping[int, LabelRow]):
    """The labels of a volume, in ascending order, each with its count, bounding box, centroid and voxels at the border.

    ``table[label]`` is a `LabelRow`, ``len(table)`` the number of labels, and ``label in table`` tells whether one is
    there; the attributes have them all.

    Attributes
    ----------
    label : ndarray of shape (n,)
        In the dtype of the volume.
    count : ndarray of int64, shape (n,)
        Numbers of voxels.
    border_count : ndarray of int64, shape (n,)
        Numbers of voxels at the border of the volume, the outermost along one of its spatial axes: what has none of
        them is all inside.
    start, stop : ndarray of int64, shape (n, ndim)
        Half-open bounding boxes in voxels.
    centroid : ndarray of float64, shape (n, ndim)
        Means of the voxel coordinates.
    physical_size : ndarray of float64, shape (n,)
        What the voxels fill: volumes in physical units, areas in 2-D.
    position : ndarray of float64, shape (n, ndim)
        The centroids in physical coordinates.
    position_start, position_stop : ndarray of float64, shape (n, ndim)
        The edges of the bounding boxes in physical coordinates: those of the voxels, not their centres.
    coordinates : Coordinates
        Axes, voxel size and translation of the volume.

    Examples
    --------
    >>> import numpy as np
    >>> import chunkpyramid as cp
    >>> table = cp.labels.statistics(np.array([[0, 7, 7], [0, 0, 7], [5, 5, 5]]), voxel_size=2.0)
    >>> len(table), table[7].count, table[7].box, table[7].position_stop
    (2, 3, (slice(0, 2, None), slice(1, 3, None)), (3.0, 5.0))
    >>> table.sorted(by="count", descending=False)
    <LabelTable of 2 labels (int64), 6 voxels, axes y, x>
    label  count  border_count  box         position
    5      3      3             [2:3, 0:3]  (4, 2)
    7      3      3             [0:2, 1:3]  (0.666667, 3.33333)
    """

    def __init__(self, counts: LabelCounts, coordinates: Coordinates):
        self.label = counts.label
        self.count = counts.count
        self.border_count = counts.border_count
        self.start = counts.start
        self.stop = counts.stop
        self.centroid = counts.centroid
        self.coordinates = coordinates
        # rows by ascending label, where they are in another order
        self.ascending: npt.NDArray[np.intp] | None = None

    @property
    def physical_size(self) -> Floats:
        return self.count.astype(np.float64) * self._voxel_size

    @property
    def position(self) -> Floats:
        return self._positions(self.centroid)

    @property
    def position_start(self) -> Floats:
        return self._positions(self.start - 0.5)

    @property
    def position_stop(self) -> Floats:
        return self._positions(self.stop - 0.5)

    @property
    def _voxel_size(self) -> float:
        coordinates = self.coordinates
        return math.prod(
            size for size, is_space in zip(coordinates.scale, coordinates.spatial, strict=True) if is_space
        )

    def _positions(self, voxels: npt.NDArray[Any]) -> Floats:
        where: Floats = voxels * np.asarray(self.coordinates.scale) + np.asarray(self.coordinates.translation)
        return where

    def __len__(self) -> int:
        return len(self.label)

    def __iter__(self) -> Iterator[int]:
        return iter(self.label.tolist())

    def __contains__(self, label: object) -> bool:
        return self._find(label) is not None

    def __getitem__(self, label: int) -> LabelRow:
        at = self._find(label)
        if at is None:
            raise KeyError(f"there is no label {label!r} in the table")
        return LabelRow(
            label=self.label[at].item(),
            count=int(self.count[at]),
            border_count=int(self.border_count[at]),
            box=self._box(at).slices,
            centroid=tuple(self.centroid[at].tolist()),
            physical_size=float(self.count[at] * self._voxel_size),
            position=tuple(self._positions(self.centroid[at]).tolist()),
            position_start=tuple(self._positions(self.start[at] - 0.5).tolist()),
            position_stop=tuple(self._positions(self.stop[at] - 0.5).tolist()),
        )

    def _box(self, at: int) -> Box:
        return Box(tuple(self.start[at].tolist()), tuple(self.stop[at].tolist()))

    def _find(self, label: object) -> int | None:
        """Return in which row a label is, None if it is not there."""
        if not isinstance(label, int | np.integer | np.bool_):
            return None
        limits = np.iinfo(self.label.dtype) if self.label.dtype.kind in "iu" else None
        if limits is not None and not limits.min <= int(label) <= limits.max:
            return None
        at = int(np.searchsorted(self.label, self.label.dtype.type(label), sorter=self.ascending))
        if at == len(self.label):
            return None
        row = at if self.ascending is None else int(self.ascending[at])
        return row if self.label[row] == label else None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, LabelTable)
            and self.coordinates == other.coordinates
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in COLUMNS)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        axes = ", ".join(self.coordinates.names)
        told = f"<LabelTable of {len(self)} labels ({self.label.dtype}), {int(self.count.sum())} voxels, axes {axes}>"
        if not len(self):
            return told
        rows = [
            [
                *(str(getattr(self, name)[at]) for name in SORTABLE),
                format_region(self._box(at)),
                f"({', '.join(f'{x:g}' for x in self._positions(self.centroid[at]))})",
            ]
            for at in range(min(ROWS_SHOWN, len(self)))
        ]
        more = ["..."] if len(self) > ROWS_SHOWN else []
        return "\n".join([told, format_table([*SORTABLE, "box", "position"], rows), *more])

    def sorted(self, by: str = "count", *, descending: bool = True) -> LabelTable:
        """Return the table with its rows in another order.

        Parameters
        ----------
        by : {"count", "border_count", "label"}
            The column that tells the order; labels that are equal in it are in ascending order.
        descending : bool
            Whether the largest come first.

        Returns
        -------
        LabelTable
            ``table[label]`` finds labels as before.

        Raises
        ------
        ArgumentError
            If an argument is none of these.
        """
        column = getattr(self, one_of(by, "by", SORTABLE))
        if true_or_false(descending, "descending"):
            # the complement of integers is in descending order, and overflows for none of them
            column = ~column
        return self.rows(np.lexsort((self.label, column)))

    def largest(self, n: int) -> LabelTable:
        """Return the ``n`` labels that have most voxels, the largest first; all of them if there are fewer.

        Raises
        ------
        ArgumentError
            If ``n`` is no whole number.
        """
        return self.sorted().rows(np.arange(min(whole_number(n, "n", least=0), len(self))))

    def rows(self, rows: npt.NDArray[np.intp]) -> LabelTable:
        """Return the table of these rows, in this order."""
        table = copy.copy(self)
        for name in COLUMNS:
            setattr(table, name, getattr(self, name)[rows])
        table.ascending = np.argsort(table.label)
        return table

    def to_dataset(self) -> xr.Dataset:
        """Return the table as a Dataset, its variables along "label", and "axis" where there is one value per axis."""
        import xarray as xr

        axes = self.coordinates.axes
        return xr.Dataset(
            {
                name: (("label", "axis")[: values.ndim], values)
                for name, values in self.columns().items()
                if name != "label"
            },
            {
                "label": self.label,
                "axis": np.array([axis.name for axis in axes], dtype=np.str_),
                "unit": ("axis", np.array([axis.unit or "" for axis in axes], dtype=np.str_)),
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return the table as a DataFrame, indexed by label, with a column for each axis where there is one value per
        axis: count, border_count, physical_size, z_start, z_stop, z_centroid, z_position, z_position_start, ...

        Raises
        ------
        ArgumentError
            If pandas is not installed.
        """
        check_installed("to_dataframe", "pandas")
        import pandas as pd

        columns = {name: values for name, values in self.columns().items() if name != "label"}
        told = {name: values for name, values in columns.items() if values.ndim == 1}
        for at, axis in enumerate(self.coordinates.names):
            told |= {f"{axis}_{name}": values[:, at] for name, values in columns.items() if values.ndim == 2}
        return pd.DataFrame(told, index=pd.Index(self.label, name="label"))

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        return {name: getattr(self, name) for name in (*COLUMNS, *PHYSICAL_COLUMNS)}


def save_counts(group: zarr.Group, counts: LabelCounts, coordinates: Coordinates) -> list[str]:
    """Write counts to a group that xarray opens, along with the exact sums, and return the names of its arrays."""
    columns = {**counts.to_arrays(), **LabelTable(counts, coordinates).columns()}
    return save_columns(group, columns, "label", coordinates.axes)


def load_counts(group: zarr.Group) -> LabelCounts:
    """Return the counts that `save_counts` has written."""
    return LabelCounts.from_arrays({name: np.asarray(array[...]) for name, array in arrays_of(group).items()})
