"""Units as people write them."""

from __future__ import annotations

import numpy as np
import pytest
from zarr.storage import MemoryStore

import chunkpyramid as cp
from chunkpyramid.metadata.physical_units import UNITS, canonical_unit, is_known_unit

IMAGE = np.zeros((16, 16), np.uint8)

# https://ngff.openmicroscopy.org/0.5/#axes-md
IN_THE_SPECIFICATION = {
    "space": "angstrom attometer centimeter decimeter exameter femtometer foot gigameter hectometer inch kilometer "
    "megameter meter micrometer mile millimeter nanometer parsec petameter picometer terameter yard yoctometer "
    "yottameter zeptometer zettameter",
    "time": "attosecond centisecond day decisecond exasecond femtosecond gigasecond hectosecond hour kilosecond "
    "megasecond microsecond millisecond minute nanosecond petasecond picosecond second terasecond yoctosecond "
    "yottasecond zeptosecond zettasecond",
}


@pytest.mark.parametrize(
    ("unit", "written"),
    [
        *(
            (u, "micrometer")
            for u in ("\u00b5m", "\u03bcm", "um", "microns", "micron", "Micrometer", "micrometres", " um ")
        ),
        *((u, "nanometer") for u in ("nm", "nanometers", "nanometre", "NANOMETER")),
        *((u, "angstrom") for u in ("Angstroms", "\u00c5", "\u212b", "angstrom")),
        *((u, "second") for u in ("s", "seconds", "sec", "secs", "Second")),
        *((u, "minute") for u in ("min", "mins", "minutes")),
        ("mm", "millimeter"),
        ("Mm", "megameter"),
        ("inches", "inch"),
        ("feet", "foot"),
        ("days", "day"),
        ("hrs", "hour"),
        ("pixel", "pixel"),
        ("px", "px"),
        ("degrees_north", "degrees_north"),
        ("", ""),
    ],
)
def test_units_are_written_as_viewers_know_them(unit: str, written: str) -> None:
    assert canonical_unit(unit) == written
    assert canonical_unit(written) == written


def test_all_units_of_ome_zarr_are_known() -> None:
    for kind, names in IN_THE_SPECIFICATION.items():
        assert UNITS[kind] == set(names.split())
        assert all(canonical_unit(name) == name and is_known_unit(name, kind) for name in UNITS[kind])


def test_the_others_are_warned_of() -> None:
    for unit in ("pixel", "furlong", "second"):
        with pytest.warns(cp.MetadataWarning, match=f"no unit '{unit}' for the space axis 'y'"):
            pyramid = cp.build_pyramid(IMAGE, MemoryStore(), levels=0, unit=unit)
        assert pyramid.coordinates[0].axes[0].unit == unit


def test_the_warning_has_the_line_of_the_caller() -> None:
    with pytest.warns(cp.MetadataWarning) as caught:
        cp.build_pyramid(IMAGE, MemoryStore(), levels=0, unit="px")
    assert {warning.filename for warning in caught} == {__file__}


def test_known_units_are_not_warned_of(recwarn: pytest.WarningsRecorder) -> None:
    cp.build_pyramid(IMAGE, MemoryStore(), levels=0, unit={"y": "microns", "x": "nm"})
    cp.build_pyramid(np.zeros((2, 16, 16), np.uint8), MemoryStore(), levels=0, axes="tyx", unit={"t": "seconds"})
    assert not recwarn.list
