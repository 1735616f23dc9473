"""Warnings that point at the line of the user's that they are about."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path

from chunkpyramid.errors import MetadataWarning

__all__ = ["warn"]

PACKAGE = str(Path(__file__).parent)


def warn(message: str) -> None:
    """Warn that metadata say less than they should; the warning has the line that called this package."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, MetadataWarning, stacklevel=level)
