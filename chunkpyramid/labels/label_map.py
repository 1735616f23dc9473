"""`LabelMap`: which label is to become which, of any size, and what it makes of the voxels of a piece."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from chunkpyramid.boxes import Box
from chunkpyramid.digests import digest_of
from chunkpyramid.engine.shared_arrays import SharedArrays
from chunkpyramid.errors import ArgumentError, MissingLabelError
from chunkpyramid.labels.arrays.rewrite import Missing, rewrite
from chunkpyramid.labels.arrays.unique import unique
from chunkpyramid.storage.locations import is_local_path
from chunkpyramid.storage.nodes import level_array, open_node

__all__ = ["LabelMap", "MapLabels", "as_integers", "integers", "read_columns", "read_table", "replace_labels"]

Labels = npt.NDArray[Any]

# So many labels are looked up in a table that is made anew for each piece; of larger maps only the labels of the piece
# are.
FEW_LABELS = 2**14

# the names of columns of files that have more than two
COLUMNS_OF_FILES = (("old", "new"), ("label", "new"), ("first", "second"))

LARGEST = np.iinfo(np.int64).max

# of the group in the scratch group that a large map is stored in
NAME = "table"


@dataclass(frozen=True)
class LabelMap:
    """Labels in ascending order, and what each is to become.

    Attributes
    ----------
    shared : SharedArrays
        Of the names "old" and "new".
    """

    shared: SharedArrays

    @staticmethod
    def of(old: Labels, new: Labels, argument: str = "table") -> LabelMap:
        """Return the map of labels in any order.

        Raises
        ------
        ArgumentError
            If they are no integers, of different numbers, or one label is to become two.
        """
        old, new = np.asarray(old).reshape(-1), np.asarray(new).reshape(-1)
        if len(old) == 0:
            old, new = old.astype(np.int64), new.astype(np.int64)
        for labels, what in ((old, "labels"), (new, "new labels")):
            if labels.dtype.kind not in "iub":
                raise ArgumentError(f"the {what} of {argument} must be integers, but they are {labels.dtype}")
        if len(old) != len(new):
            raise ArgumentError(f"{argument} has {len(old)} labels, but {len(new)} new ones: give as many")
        if np.any(old[1:] <= old[:-1]):
            order = np.argsort(old, kind="stable")
            old, new = old[order], new[order]
            same = np.flatnonzero(old[1:] == old[:-1])
            if same.size:
                clash = same[new[same] != new[same + 1]]
                if clash.size:
                    at = int(clash[0])
                    raise ArgumentError(
                        f"{argument} says of the label {old[at]} both that it becomes {new[at]} and {new[at + 1]}"
                    )
                kept = np.concatenate([old[1:] != old[:-1], [True]])
                old, new = old[kept], new[kept]
        return LabelMap(SharedArrays({"old": old, "new": new}))

    @property
    def old(self) -> Labels:
        return self.shared["old"]

    @property
    def new(self) -> Labels:
        return self.shared["new"]

    @property
    def digest(self) -> str:
        new = self.new if self.new.dtype.kind == "u" and self.new.itemsize == 8 else self.new.astype(np.int64)
        # the same for equal numbers, whatever holds them
        return f"{digest_of(self.old)} {digest_of(new if new.max(initial=0) > LARGEST else new.astype(np.int64))}"

    @property
    def is_idempotent(self) -> bool:
        """Whether labels that it makes are, where it has them too, to stay what they are."""
        at, found = self.find(self.new)
        return bool(np.all(self.new[at[found]] == self.new[found]))

    def find(self, labels: Labels) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """Return where labels are in the map, and whether they are there at all."""
        old = self.old
        if len(old) == 0:
            return np.zeros(len(labels), np.intp), np.zeros(len(labels), np.bool_)
        # of signed and unsigned labels of 64 bits NumPy would compare the floats next to them
        limits = np.iinfo(old.dtype) if old.dtype.kind != "b" else None
        inside = np.ones(len(labels), np.bool_)
        if limits is not None and labels.dtype.kind != "b":
            inside = (labels >= limits.min) & (labels <= limits.max)
        known = np.where(inside, labels, labels.dtype.type(0)).astype(old.dtype)
        at = np.minimum(np.searchsorted(old, known), len(old) - 1)
        return at, inside & (old[at] == known)

    def within(self, dtype: np.dtype[Any]) -> LabelMap:
        """Return the map of the labels that an array of this dtype can have, as those of the array."""
        integer = np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")
        limits, old = np.iinfo(integer), self.old
        inside = (old >= limits.min) & (old <= limits.max) if old.dtype.kind != "b" else np.ones(len(old), np.bool_)
        if inside.all():
            return LabelMap(SharedArrays({"old": old.astype(integer, copy=False), "new": self.new}))
        return LabelMap(SharedArrays({"old": old[inside].astype(integer), "new": self.new[inside]}))

    def stored(self, scratch: zarr.Group) -> LabelMap:
        """Return the map as it is sent to other processes."""
        return LabelMap(self.shared.stored(scratch, NAME))


@dataclass(frozen=True)
class MapLabels:
    """Replaces the labels of a piece; those that the map has not stay, or are an error."""

    map: LabelMap
    dtype: np.dtype[Any]
    keeps_missing: bool

    def __call__(self, values: Labels, box: Box) -> Labels:
        values = as_integers(values)
        if len(self.map.old) <= FEW_LABELS:
            with suppress(KeyError):
                missing: Missing = "keep" if self.keeps_missing else "stop"
                return replace_labels(values, self.map.old, self.map.new.astype(self.dtype), missing)
        labels = unique(values)
        at, found = self.map.find(labels)
        if not self.keeps_missing and not found.all():
            label = labels[~found][0]
            voxel = np.unravel_index(int(np.argmax(values.reshape(-1) == label)), values.shape)
            place = tuple(int(a + b) for a, b in zip(box.start, voxel, strict=True))
            raise MissingLabelError(
                f"the label {label} of the voxel {place} is not in the table: add it, or pass "
                "preserve_missing_labels=True"
            )
        made = labels.astype(self.dtype)
        made[found] = self.map.new[at[found]].astype(self.dtype)
        return replace_labels(values, labels, made)


def as_integers(values: Labels) -> Labels:
    """Return labels as they are, bool as 0 and 1."""
    return values.view(np.uint8) if values.dtype.kind == "b" else values


def replace_labels(values: Labels, old: Labels, new: Labels, missing: Missing = "stop") -> Labels:
    """Return an array with other labels, in the dtype of these; what is not among the old ones stays, or is an error.

    Raises
    ------
    KeyError
        If missing labels stop the work, and there is one.
    """
    wide = values.astype(new.dtype) if values.itemsize < new.dtype.itemsize else values
    made = rewrite(wide, old.astype(wide.dtype), new.astype(wide.dtype), missing, in_place=wide is not values)
    return made.astype(new.dtype, copy=False)


def read_table(table: Any, storage_options: Mapping[str, Any] | None = None) -> LabelMap:
    """Return the map that a table of any kind tells, as `read_columns` takes them.

    Raises
    ------
    ArgumentError
        If it is something else, or says two things of one label.
    """
    return table if isinstance(table, LabelMap) else LabelMap.of(*read_columns(table, "table", storage_options))


def read_columns(table: Any, argument: str, storage_options: Mapping[str, Any] | None = None) -> tuple[Labels, Labels]:
    """Return two columns of labels.

    Parameters
    ----------
    table : dict, array of two columns, pair of arrays, path of a Parquet or CSV file, zarr array or path of one
        Of a file with more than two columns those are read that are named "old" and "new", "label" and "new", or
        "first" and "second"; and so it is of tables.
    argument : str
        Its name, for messages.
    storage_options : dict, optional
        For URLs.

    Raises
    ------
    ArgumentError
        If it is something else.
    """
    for names in COLUMNS_OF_FILES[::2]:
        if all(hasattr(table, name) for name in names):
            first, second = (np.asarray(getattr(table, name)) for name in names)
            return first, second
    if isinstance(table, Mapping):
        return integers(list(table.keys()), argument), integers(list(table.values()), argument)
    if isinstance(table, str | os.PathLike):
        return _from_file(table, argument, storage_options)
    if isinstance(table, tuple | list) and len(table) == 2 and all(hasattr(part, "dtype") for part in table):
        return np.asarray(table[0][...]), np.asarray(table[1][...])
    if hasattr(table, "to_numpy"):
        table = table.to_numpy()
    columns = np.asarray(table[...] if hasattr(table, "dtype") else table)
    if columns.size == 0:
        columns = np.zeros((0, 2), np.int64)
    if columns.ndim != 2 or columns.shape[1] != 2:
        raise ArgumentError(
            f"{argument} must be a dict, an array of two columns, a pair of arrays, or the path of a Parquet or CSV "
            f"file or of a zarr array with two columns, but {type(table).__name__} of shape {columns.shape} was given"
        )
    return columns[:, 0], columns[:, 1]


def integers(values: list[Any], argument: str) -> Labels:
    """Return Python's numbers as an array: of small and large ones NumPy would make floats.

    Raises
    ------
    ArgumentError
        If no integers of 64 bits hold them all.
    """
    if all(isinstance(value, int | np.integer | np.bool_) for value in values):
        large = any(value > np.iinfo(np.int64).max for value in values)
        try:
            return np.array([int(value) for value in values], np.uint64 if large else np.int64)
        except OverflowError as error:
            raise ArgumentError(
                f"the labels of {argument} must fit in 64 bits, all with or all without sign: {error}"
            ) from error
    return np.asarray(values)


def _from_file(
    path: str | os.PathLike[str], argument: str, storage_options: Mapping[str, Any] | None
) -> tuple[Labels, Labels]:
    kind = Path(str(path)).suffix.lower()
    if kind in (".parquet", ".csv", ".tsv"):
        if is_local_path(path) and not os.path.exists(path):
            raise ArgumentError(f"{argument} {os.fspath(path)!r} is not there")
        return _columns_of_parquet(path) if kind == ".parquet" else _columns_of_text(path, kind)
    node = open_node(path, storage_options=storage_options)
    if isinstance(node, zarr.Array):
        return read_columns(node, argument)
    if not {"old", "new"} <= set(node.array_keys()):
        raise ArgumentError(f"{argument} {str(path)!r} is a group without the arrays 'old' and 'new'")
    old, new = (np.asarray(level_array(node, name)[...]) for name in ("old", "new"))
    return old, new


def _columns_of_parquet(path: Any) -> tuple[Labels, Labels]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ArgumentError(
            "a Parquet table needs pyarrow, which is not installed: pip install 'chunkpyramid[tables]'"
        ) from error
    told = parquet.ParquetFile(path)
    columns = _two_columns(told.schema_arrow.names, path)
    names = [told.schema_arrow.names[column] for column in columns]
    read = told.read(columns=names)
    first, second = (read.column(name).to_numpy() for name in names)
    return first, second


def _columns_of_text(path: Any, kind: str) -> tuple[Labels, Labels]:
    separator = "\t" if kind == ".tsv" else ","
    with open(path, encoding="utf-8-sig") as file:
        first = file.readline().strip()
    cells = [cell.strip().strip('"') for cell in first.split(separator)]
    heading = 0 if all(map(_is_whole, cells[:2])) else 1
    columns_of = _two_columns(cells if heading else [""] * len(cells), path)
    try:
        # of 64 bits without sign; what is negative is read again
        columns = np.loadtxt(path, np.uint64, delimiter=separator, skiprows=heading, usecols=columns_of, ndmin=2)
    except (ValueError, OverflowError):
        try:
            columns = np.loadtxt(path, np.int64, delimiter=separator, skiprows=heading, usecols=columns_of, ndmin=2)
        except (ValueError, OverflowError, IndexError) as error:
            raise ArgumentError(f"table {str(path)!r} must have two columns of integers: {error}") from error
    return columns[:, 0], columns[:, 1]


def _two_columns(names: list[str], path: Any) -> tuple[int, int]:
    """Return which columns of a file are meant: those of two, else those with the names of labels and new ones.

    Raises
    ------
    ArgumentError
        If that is not to be told.
    """
    if len(names) == 2:
        return 0, 1
    for pair in COLUMNS_OF_FILES:
        if set(pair) <= set(names):
            return names.index(pair[0]), names.index(pair[1])
    raise ArgumentError(
        f"the file {str(path)!r} has {len(names)} columns {names}, but two are needed, or two that are named 'old' and "
        "'new', 'label' and 'new', or 'first' and 'second'"
    )


def _is_whole(cell: str) -> bool:
    return cell.strip().lstrip("+-").isdigit()
