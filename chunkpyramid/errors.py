"""The exceptions of this package. Each message says what was given, what is allowed, and what to change."""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "BuildError",
    "ChunkError",
    "ChunkPyramidError",
    "MetadataWarning",
    "MissingLabelError",
    "OvertakenError",
    "PlanError",
    "SourceNotFoundError",
    "TargetExistsError",
]


class ChunkPyramidError(Exception):
    """Base of all exceptions raised on purpose by this package."""


class ArgumentError(ChunkPyramidError, ValueError):
    """An argument has a value, or a type, that is not allowed."""


class PlanError(ChunkPyramidError, ValueError):
    """The pyramid cannot be planned within the limits given."""


class TargetExistsError(ChunkPyramidError, FileExistsError):
    """The target holds something that may not be overwritten."""


class SourceNotFoundError(ChunkPyramidError, FileNotFoundError):
    """There is no array where the source should be."""


class BuildError(ChunkPyramidError, RuntimeError):
    """A build could not go on, or its result is not what it must be."""


class OvertakenError(BuildError):
    """A newer run on the same target has taken over from this one."""


class MissingLabelError(BuildError, KeyError):
    """A label of the volume is not in the table that it is to be replaced by."""

    # that of KeyError puts messages in quotes
    __str__ = Exception.__str__


class ChunkError(BuildError):
    """A chunk is there, but it cannot be read."""


class MetadataWarning(UserWarning):
    """The pyramid is right, but its metadata do not tell all that the source tells, or viewers do not understand it."""
