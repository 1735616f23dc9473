"""`LabelTable`: the labels of a volume, each with its count, bounding box and centroid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.engine.result import arrays_of
from chunkpyramid.errors import ArgumentError
from chunkpyramid.labels.counts import LabelCounts
from chunkpyramid.metadata.coordinates import Coordinates
from chunkpyramid.storage.new_arrays import create_array, default_compressors

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["LabelRow", "LabelTable"]


@dataclass(frozen=True)
class LabelRow:
    """One label of a `LabelTable`.

    Attributes
    ----------
    label : int
    count : int
        Number of voxels.
    box : tuple of slice
        Bounding box in voxels: what is to be cut out of the volume to see all of the label.
    centroid : tuple of float
        Mean of the voxel coordinates.
    position : tuple of float
        The centroid in physical coordinates.
    """

    label: int
    count: int
    box: tuple[slice, ...]
    centroid: tuple[float, ...]
    position: tuple[float, ...]


class LabelTable(Mapping[int, LabelRow]):
    """The labels of a volume, in ascending order, each with its count, bounding box and centroid.

    ``table[label]`` is a `LabelRow`, ``len(table)`` the number of labels, and ``label in table`` tells whether one is
    there; the attributes have them all.

    Attributes
    ----------
    label : ndarray of shape (n,)
        In the dtype of the volume.
    count : ndarray of int64, shape (n,)
        Numbers of voxels.
    start, stop : ndarray of int64, shape (n, ndim)
        Half-open bounding boxes in voxels.
    centroid : ndarray of float64, shape (n, ndim)
        Means of the voxel coordinates.
    position : ndarray of float64, shape (n, ndim)
        The centroids in physical coordinates.
    coordinates : Coordinates
        Axes, voxel size and translation of the volume.

    Examples
    --------
    >>> import numpy as np
    >>> import chunkpyramid as cp
    >>> table = cp.labels.statistics(np.array([[0, 7, 7], [0, 0, 7]]))
    >>> len(table), table[7].count, table[7].box
    (1, 3, (slice(0, 2, None), slice(1, 3, None)))
    """

    def __init__(self, counts: LabelCounts, coordinates: Coordinates):
        self.label = counts.label
        self.count = counts.count
        self.start = counts.start
        self.stop = counts.stop
        self.centroid = counts.centroid
        self.coordinates = coordinates

    @property
    def position(self) -> npt.NDArray[np.float64]:
        where: npt.NDArray[np.float64] = self.centroid * self.coordinates.scale + np.asarray(
            self.coordinates.translation
        )
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
            box=tuple(slice(int(a), int(b)) for a, b in zip(self.start[at], self.stop[at], strict=True)),
            centroid=tuple(self.centroid[at].tolist()),
            position=tuple(self.position[at].tolist()),
        )

    def _find(self, label: object) -> int | None:
        """Return where a label is, None if it is not there."""
        if not isinstance(label, int | np.integer | np.bool_):
            return None
        limits = np.iinfo(self.label.dtype) if self.label.dtype.kind in "iu" else None
        if limits is not None and not limits.min <= int(label) <= limits.max:
            return None
        at = int(np.searchsorted(self.label, self.label.dtype.type(label)))
        return at if at < len(self.label) and self.label[at] == label else None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, LabelTable)
            and self.coordinates == other.coordinates
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in COLUMNS)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        axes = ", ".join(self.coordinates.names)
        return f"<LabelTable of {len(self)} labels ({self.label.dtype}), {int(self.count.sum())} voxels, axes {axes}>"

    def to_dataset(self) -> xr.Dataset:
        """Return the table as a Dataset, its variables along "label", and "axis" where there is one value per axis."""
        import xarray as xr

        dims = ("label", "axis")
        return xr.Dataset(
            {
                "count": ("label", self.count),
                "start": (dims, self.start),
                "stop": (dims, self.stop),
                "centroid": (dims, self.centroid),
                "position": (dims, self.position),
            },
            {
                "label": self.label,
                "axis": np.array(self.coordinates.names, dtype=np.str_),
                "unit": ("axis", np.array([axis.unit or "" for axis in self.coordinates.axes], dtype=np.str_)),
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return the table as a DataFrame, indexed by label, with a column for each axis where there is one value per
        axis: count, z_start, z_stop, z_centroid, z_position, ...

        Raises
        ------
        ArgumentError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ArgumentError("to_dataframe needs pandas: pip install pandas") from error
        columns: dict[str, Any] = {"count": self.count}
        for at, axis in enumerate(self.coordinates.names):
            for name in ("start", "stop", "centroid", "position"):
                columns[f"{axis}_{name}"] = getattr(self, name)[:, at]
        return pd.DataFrame(columns, index=pd.Index(self.label, name="label"))


COLUMNS = ("label", "count", "start", "stop", "centroid")


def save_counts(group: zarr.Group, counts: LabelCounts, coordinates: Coordinates) -> list[str]:
    """Write counts to a group that xarray opens, along with the exact sums, and return the names of its arrays."""
    table = LabelTable(counts, coordinates)
    columns: dict[str, tuple[Sequence[str], npt.NDArray[Any]]] = {
        name: (("label", "axis")[: values.ndim], values)
        for name, values in {
            **counts.to_arrays(),
            "centroid": table.centroid,
            "position": table.position,
        }.items()
    }
    for name, (dims, values) in columns.items():
        array = create_array(
            group,
            name,
            values.shape,
            values.dtype,
            # a chunk for a column would be encoded as a whole
            chunks=tuple(max(1, min(n, ROWS_PER_CHUNK)) for n in values.shape),
            compressors=default_compressors(values.dtype, group.metadata.zarr_format, labels=False),
            dimension_names=dims,
            overwrite=True,
        )
        array[...] = values
    texts = {"axis": coordinates.names, "unit": [axis.unit or "" for axis in coordinates.axes]}
    for name, words in texts.items():
        text = group.create_array(name, shape=(len(words),), dtype=str, dimension_names=("axis",), overwrite=True)
        text[...] = np.array(words, dtype=object)
    # so xarray tells coordinates from other variables
    group.attrs.update({"axes": list(coordinates.names), "coordinates": "unit"})
    return [*columns, *texts]


ROWS_PER_CHUNK = 2**20


def load_counts(group: zarr.Group) -> LabelCounts:
    """Return the counts that `save_counts` has written."""
    return LabelCounts.from_arrays({name: np.asarray(array[...]) for name, array in arrays_of(group).items()})
