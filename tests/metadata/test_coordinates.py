"""Where the voxels of a level lie, against the positions of the level-0 voxels under them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkpyramid as cp
from chunkpyramid.errors import ArgumentError
from chunkpyramid.metadata.coordinates import Axis, Coordinates, axis_type, named_axes, with_arguments
from chunkpyramid.metadata.physical_units import canonical_unit

SPACE = Coordinates(named_axes("zyx", 3), (1.0,) * 3, (0.0,) * 3)
ALL = Coordinates(named_axes("tczyx", 5), (1.0,) * 5, (0.0,) * 5)


@given(st.floats(1e-6, 1e6), st.floats(-1e6, 1e6), st.integers(1, 64), st.integers(0, 50))
def test_a_voxel_lies_in_the_middle_of_its_footprint(scale: float, translation: float, factor: int, index: int) -> None:
    axes = (Axis("x", "space"),)
    level = Coordinates(axes, (scale,), (translation,)).at((factor,), centre_moves=True)
    under = translation + scale * np.arange(index * factor, (index + 1) * factor)
    assert level.translation[0] + index * level.scale[0] == pytest.approx(under.mean(), rel=1e-9, abs=1e-6)
    assert level.scale[0] == pytest.approx(scale * factor)


@given(st.floats(1e-6, 1e6), st.floats(-1e6, 1e6), st.integers(1, 64))
def test_a_stride_stays_where_its_voxel_is(scale: float, translation: float, factor: int) -> None:
    level = Coordinates((Axis("x", "space"),), (scale,), (translation,)).at((factor,), centre_moves=False)
    assert (level.scale, level.translation) == ((scale * factor,), (translation,))


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=6))
def test_levels_straight_or_one_by_one_agree(factors: list[tuple[int, int]]) -> None:
    base = Coordinates(named_axes("yx", 2), (4.0, 0.5), (100.0, -3.25))
    straight = base.at(tuple(np.prod([(1, 1), *factors], axis=0).tolist()), centre_moves=True)
    by_level = base
    for factor in factors:
        by_level = by_level.at(factor, centre_moves=True)
    assert straight.scale == by_level.scale
    assert straight.translation == pytest.approx(by_level.translation)


def test_the_first_voxels_of_level_1() -> None:
    level = Coordinates(named_axes("yx", 2), (4.0, 4.0), (0.0, 100.0)).at((1, 2), centre_moves=True)
    assert (level.scale, level.translation) == ((4.0, 8.0), (0.0, 102.0))


@pytest.mark.parametrize(("method", "first"), [("mean", 102.0), ("mode", 102.0), ("max", 102.0), ("stride", 100.0)])
def test_a_build_moves_the_centre_for_every_method_but_stride(method: str, first: float) -> None:
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    pyramid = cp.build_pyramid(
        image, {}, method=method, levels=2, voxel_size=(1, 4), translation=(0, 100), unit="nm", chunks=4
    )
    moves = method != "stride"
    assert [c.scale for c in pyramid.coordinates] == [(1, 4), (2, 8), (4, 16)]
    assert [c.translation for c in pyramid.coordinates] == [
        (0, 100),
        (0.5 * moves, first),
        (1.5 * moves, 106 if moves else 100),
    ]
    assert all(axis.unit == "nanometer" for c in pyramid.coordinates for axis in c.axes)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("t", "time"),
        ("time", "time"),
        ("Time", "time"),
        ("c", "channel"),
        ("band", "channel"),
        ("x", "space"),
        ("lat", "space"),
    ],
)
def test_axis_types_by_name(name: str, kind: str) -> None:
    assert axis_type(name) == kind


@pytest.mark.parametrize(("ndim", "names"), [(2, "yx"), (3, "zyx"), (4, "czyx"), (5, "tczyx")])
def test_default_axes_are_the_last_ones(ndim: int, names: str) -> None:
    assert "".join(axis.name for axis in named_axes(None, ndim)) == names


@pytest.mark.parametrize(
    ("axes", "ndim", "message"),
    [
        (None, 1, "2 to 5"),
        (None, 6, "2 to 5"),
        ("zyx", 2, "names 3 axes"),
        ("yy", 2, "twice"),
        ("xt", 2, "time axis"),
        ("czc", 3, "twice"),
        ("zct", 3, "at most one"),
        ("tcx", 3, "2 or 3"),
        (["wz", "z", "y", "x"], 4, "2 or 3"),
        (7, 2, "axes must be"),
        (["y", ""], 2, "axes must be"),
        (["y", 1], 2, "axes must be"),
    ],
)
def test_axes_that_ome_zarr_does_not_allow(axes: Any, ndim: int, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        named_axes(axes, ndim)


@pytest.mark.parametrize(
    ("given_size", "scale"),
    [
        (4, (1, 1, 4, 4, 4)),
        (np.float32(0.5), (1, 1, 0.5, 0.5, 0.5)),
        ((40, 4, 4), (1, 1, 40, 4, 4)),
        ([2, 1, 40, 4, 4], (2, 1, 40, 4, 4)),
        (np.array([40, 4, 4]), (1, 1, 40, 4, 4)),
        ({"z": 40, "t": 0.1}, (0.1, 1, 40, 1, 1)),
        ({}, (1, 1, 1, 1, 1)),
    ],
    ids=str,
)
def test_voxel_sizes_per_axis(given_size: Any, scale: tuple[float, ...]) -> None:
    placed = with_arguments(ALL, given_size)
    assert placed.scale == scale
    assert placed.known
    assert all(type(size) is float for size in placed.scale)


def test_arguments_left_out_keep_what_the_source_tells() -> None:
    told = Coordinates((Axis("y", "space", "nanometer"), Axis("x", "space")), (4.0, 5.0), (1.0, 2.0), known=True)
    assert with_arguments(told) == told
    assert with_arguments(told, {"x": 6}).scale == (4.0, 6.0)
    assert with_arguments(told, translation={"y": 7}).translation == (7.0, 2.0)
    assert [axis.unit for axis in with_arguments(told, unit={"x": "um"}).axes] == ["nanometer", "micrometer"]
    assert not with_arguments(SPACE, translation=3).known


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"voxel_size": 0}, "greater than 0"),
        ({"voxel_size": -4}, "greater than 0"),
        ({"voxel_size": float("nan")}, "finite"),
        ({"voxel_size": float("inf")}, "finite"),
        ({"voxel_size": "4"}, "finite"),
        ({"voxel_size": True}, "finite"),
        ({"voxel_size": (4, 4)}, "2 entries"),
        ({"voxel_size": {"q": 4}}, "'q'"),
        ({"translation": (1, 2, 3, 4)}, "4 entries"),
        ({"translation": (1, 2, None)}, "finite"),
        ({"unit": 3}, "unit"),
        ({"unit": ("nm", "nm", 3)}, "unit"),
    ],
    ids=str,
)
def test_bad_coordinates_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        with_arguments(SPACE, **options)


@pytest.mark.parametrize(("short", "full"), [("nm", "nanometer"), ("\u00b5m", "micrometer"), ("parsec", "parsec")])
def test_units_are_spelled_out(short: str, full: str) -> None:
    assert canonical_unit(short) == full
