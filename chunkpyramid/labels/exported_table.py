"""Tables as DataFrames, and as files that other programs read."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from chunkpyramid.arguments import true_or_false
from chunkpyramid.errors import ArgumentError, TargetExistsError
from chunkpyramid.storage.locations import is_local_path, plain_path

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ExportedTable", "check_installed"]


def check_installed(function: str, *packages: str) -> None:
    """Raise `ArgumentError` unless these packages, which a function needs, can be imported."""
    for package in packages:
        if find_spec(package) is None:
            raise ArgumentError(
                f"{function} needs {package}, which is not installed: pip install 'chunkpyramid[tables]'"
            )


class ExportedTable(ABC):
    """A table that makes a DataFrame of itself, and so files of any kind that pandas writes."""

    @abstractmethod
    def to_dataframe(self) -> pd.DataFrame:
        """Return the table as a DataFrame."""

    def to_csv(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the table to a file of comma-separated values, with the columns of `to_dataframe`.

        Parameters
        ----------
        path : path
            Of the file.
        overwrite : bool
            Whether to replace a file that is there.

        Raises
        ------
        ArgumentError
            If pandas is not installed, or an argument is malformed.
        TargetExistsError
            If there is something at the path.
        """
        check_installed("to_csv", "pandas")
        _write(path, overwrite, self.to_dataframe().to_csv)

    def to_parquet(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the table to a Parquet file, with the columns of `to_dataframe`.

        Parameters
        ----------
        path : path
            Of the file.
        overwrite : bool
            Whether to replace a file that is there.

        Raises
        ------
        ArgumentError
            If pandas or pyarrow is not installed, or an argument is malformed.
        TargetExistsError
            If there is something at the path.
        """
        check_installed("to_parquet", "pandas", "pyarrow")
        frame = self.to_dataframe()
        _write(path, overwrite, lambda file: frame.to_parquet(file, engine="pyarrow"))


def _write(path: Any, overwrite: bool, write: Callable[[Path], Any]) -> None:
    """Write a file as a whole: who is interrupted leaves what was there."""
    overwrite = true_or_false(overwrite, "overwrite")
    if not is_local_path(plain_path(path)):
        raise ArgumentError(f"path must be that of a file, but {path!r} was given")
    file = Path(os.fspath(plain_path(path)))
    if file.is_dir() or (file.exists() and not overwrite):
        remedy = "choose another path" if file.is_dir() else "pass overwrite=True to replace it, or choose another path"
        raise TargetExistsError(f"there is something at {str(file)!r}: {remedy}")
    unfinished = file.with_name(f".{file.name}.{uuid4().hex}")
    try:
        write(unfinished)
        os.replace(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)
