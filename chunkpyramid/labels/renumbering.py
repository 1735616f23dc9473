"""`Renumbering`: which label of a volume has become which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from chunkpyramid.labels.label_map import LabelMap

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["Renumbering"]


class Renumbering(Mapping[int, int]):
    """Old and new labels of a volume, the old ones in ascending order: ``table[old]`` is the new one.

    Attributes
    ----------
    old, new : ndarray of shape (n,)

    Examples
    --------
    >>> import numpy as np, zarr
    >>> import chunkpyramid as cp
    >>> _, table = cp.labels.renumber(np.array([[70, 9]]), target=zarr.storage.MemoryStore())
    >>> dict(table)
    {0: 0, 9: 2, 70: 1}
    """

    def __init__(self, labels: LabelMap):
        self._labels = labels
        self.old: npt.NDArray[Any] = labels.old
        self.new: npt.NDArray[Any] = labels.new

    def __len__(self) -> int:
        return len(self.old)

    def __iter__(self) -> Iterator[int]:
        return iter(self.old.tolist())

    def __getitem__(self, label: int) -> int:
        if isinstance(label, int | np.integer | np.bool_):
            number = int(label)
            kind = np.uint64 if number > np.iinfo(np.int64).max else np.int64
            at, found = self._labels.find(np.array([number], kind))
            if found[0]:
                return int(self.new[at[0]])
        raise KeyError(f"there is no label {label!r} in the table")

    def __repr__(self) -> str:
        return f"<Renumbering of {len(self)} labels>"

    def to_dataset(self) -> xr.Dataset:
        """Return the new labels as a dataset along the old ones, which are "label"."""
        import xarray as xr

        return xr.Dataset({"new": ("label", self.new)}, {"label": self.old})

    def to_dataframe(self) -> pd.DataFrame:
        """Return the new labels as a table of pandas', by the old ones.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        return self.to_dataset().to_dataframe()
