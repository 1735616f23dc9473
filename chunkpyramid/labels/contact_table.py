"""`ContactTable`: the pairs of labels of a volume that touch, each with its faces and their area."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.engine.result import arrays_of
from chunkpyramid.labels.contact_counts import ContactCounts
from chunkpyramid.labels.exported_table import ExportedTable, check_installed
from chunkpyramid.labels.kept_columns import save_columns
from chunkpyramid.metadata.coordinates import Axis, Coordinates
from chunkpyramid.text import format_table

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["ContactRow", "ContactTable", "load_contacts", "save_contacts"]

COLUMNS = ("first", "second", "count", "faces_per_axis")
SHOWN = ("first", "second", "count", "faces", "area")
ROWS_SHOWN = 10


@dataclass(frozen=True)
class ContactRow:
    """Two labels of a `ContactTable`.

    Attributes
    ----------
    first, second : int
        The labels, the lesser first.
    count : int
        How many pairs of voxels touch.
    faces : int
        How many of them share a face.
    area : float
        The area of these faces in physical units; in 2-D their length.
    """

    first: int
    second: int
    count: int
    faces: int
    area: float


class ContactTable(ExportedTable, Mapping[tuple[int, int], ContactRow]):
    """The pairs of labels of a volume that touch, in ascending order, each with its faces and their area.

    ``table[first, second]`` is a `ContactRow`, whichever of the two is named first, ``len(table)`` the number of pairs,
    and ``(first, second) in table`` tells whether two labels touch; the attributes have them all.

    Attributes
    ----------
    first, second : ndarray of shape (n,)
        The labels in the dtype of the volume, the lesser first.
    count : ndarray of int64, shape (n,)
        How many pairs of voxels touch, in the connectivity that was asked for.
    faces : ndarray of int64, shape (n,)
        How many of them share a face.
    faces_per_axis : ndarray of int64, shape (n, number of spatial axes)
        And how many one that is normal to an axis.
    area : ndarray of float64, shape (n,)
        The area of the faces in physical units; in 2-D their length.
    coordinates : Coordinates
        Axes, voxel size and translation of the volume.

    Examples
    --------
    >>> import numpy as np
    >>> import chunkpyramid as cp
    >>> table = cp.labels.contacts(np.array([[7, 7, 5], [0, 7, 5], [9, 9, 5]]), voxel_size=(4.0, 3.0))
    >>> table
    <ContactTable of 3 pairs of labels (int64), axes y, x>
    first  second  count  faces  area
    5      7       2      2      8
    5      9       1      1      4
    7      9       1      1      3
    >>> table[7, 5].area, table.neighbours(9).tolist()
    (8.0, [5, 7])
    """

    def __init__(self, counts: ContactCounts, coordinates: Coordinates):
        self.first = counts.first
        self.second = counts.second
        self.count = counts.count
        self.faces_per_axis = counts.faces_per_axis
        self.coordinates = coordinates

    @property
    def faces(self) -> npt.NDArray[np.int64]:
        total: npt.NDArray[np.int64] = self.faces_per_axis.sum(axis=1)
        return total

    @property
    def area(self) -> npt.NDArray[np.float64]:
        areas: npt.NDArray[np.float64] = self.faces_per_axis @ self._area_per_face
        return areas

    @property
    def _area_per_face(self) -> npt.NDArray[np.float64]:
        """The area of a face normal to each spatial axis: what a voxel measures along the others."""
        spatial = zip(self.coordinates.scale, self.coordinates.spatial, strict=True)
        sizes = [size for size, is_space in spatial if is_space]
        return np.array([math.prod(sizes[:axis] + sizes[axis + 1 :]) for axis in range(len(sizes))])

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.first.tolist(), self.second.tolist(), strict=True)

    def __contains__(self, pair: object) -> bool:
        return self._find(pair) is not None

    def __getitem__(self, pair: tuple[int, int]) -> ContactRow:
        at = self._find(pair)
        if at is None:
            raise KeyError(f"there is no contact of {pair!r} in the table")
        faces = self.faces_per_axis[at]
        return ContactRow(
            first=self.first[at].item(),
            second=self.second[at].item(),
            count=int(self.count[at]),
            faces=int(faces.sum()),
            area=float(faces @ self._area_per_face),
        )

    def _find(self, pair: object) -> int | None:
        """Return in which row two labels are, None if they do not touch."""
        if not isinstance(pair, tuple) or len(pair) != 2 or not all(map(self._is_label, pair)):
            return None
        lesser, greater = sorted(pair)
        rows = self._rows_of_first(lesser)
        at = rows.start + int(np.searchsorted(self.second[rows], self.second.dtype.type(greater)))
        return at if at < rows.stop and self.second[at] == greater else None

    def _is_label(self, label: object) -> bool:
        if not isinstance(label, int | np.integer | np.bool_):
            return False
        limits = np.iinfo(self.first.dtype) if self.first.dtype.kind in "iu" else None
        return limits is None or limits.min <= int(label) <= limits.max

    def _rows_of_first(self, label: Any) -> slice:
        start, stop = (
            int(np.searchsorted(self.first, self.first.dtype.type(label), side=side)) for side in ("left", "right")
        )
        return slice(start, stop)

    def neighbours(self, label: int) -> npt.NDArray[Any]:
        """Return the labels that touch one, in ascending order; none for a label that is not there."""
        if not self._is_label(label):
            return self.first[:0]
        # the lesser ones come first
        return np.concatenate([self.first[self.second == label], self.second[self._rows_of_first(label)]])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ContactTable)
            and self.coordinates == other.coordinates
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in COLUMNS)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        axes = ", ".join(self.coordinates.names)
        told = f"<ContactTable of {len(self)} pairs of labels ({self.first.dtype}), axes {axes}>"
        if not len(self):
            return told
        some = [self[pair] for pair in islice(self, ROWS_SHOWN)]
        rows = [[str(row.first), str(row.second), str(row.count), str(row.faces), f"{row.area:g}"] for row in some]
        more = ["..."] if len(self) > ROWS_SHOWN else []
        return "\n".join([told, format_table(SHOWN, rows), *more])

    def to_dataset(self) -> xr.Dataset:
        """Return the table as a Dataset, its variables along "contact"; "faces_per_axis" along "axis" too."""
        import xarray as xr

        axes = _spatial_axes(self.coordinates)
        return xr.Dataset(
            {name: (("contact", "axis")[: values.ndim], values) for name, values in self.columns().items()},
            {
                "axis": np.array([axis.name for axis in axes], dtype=np.str_),
                "unit": ("axis", np.array([axis.unit or "" for axis in axes], dtype=np.str_)),
            },
        )

    def to_dataframe(self) -> pd.DataFrame:
        """Return the table as a DataFrame, indexed by first and second: count, faces, area, z_faces, y_faces, ...

        Raises
        ------
        ArgumentError
            If pandas is not installed.
        """
        check_installed("to_dataframe", "pandas")
        import pandas as pd

        told = {name: getattr(self, name) for name in ("count", "faces", "area")}
        for at, axis in enumerate(_spatial_axes(self.coordinates)):
            told[f"{axis.name}_faces"] = self.faces_per_axis[:, at]
        index = pd.MultiIndex.from_arrays([self.first, self.second], names=["first", "second"])
        return pd.DataFrame(told, index=index)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        return {name: getattr(self, name) for name in (*COLUMNS, "faces", "area")}


def _spatial_axes(coordinates: Coordinates) -> Sequence[Axis]:
    return [axis for axis in coordinates.axes if axis.type == "space"]


def save_contacts(group: zarr.Group, counts: ContactCounts, coordinates: Coordinates) -> list[str]:
    """Write contacts to a group that xarray opens, and return the names of its arrays."""
    columns = ContactTable(counts, coordinates).columns()
    return save_columns(group, columns, "contact", _spatial_axes(coordinates))


def load_contacts(group: zarr.Group) -> ContactCounts:
    """Return the contacts that `save_contacts` has written."""
    return ContactCounts.from_arrays({name: np.asarray(array[...]) for name, array in arrays_of(group).items()})
