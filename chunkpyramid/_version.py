"""The version of the package, as its metadata tell it."""

from importlib.metadata import version

__version__ = version("chunkpyramid")
