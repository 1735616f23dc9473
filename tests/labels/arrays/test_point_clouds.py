"""Point clouds have every voxel once, and maps of components every pair of labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from helpers.label_arrays import INTEGERS, label_arrays
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkpyramid as cp
from chunkpyramid.labels import arrays

Array = npt.NDArray[Any]
Points = dict[int, set[tuple[int, ...]]]


def by_label(labels: Array, keep_zero: bool = False) -> Points:
    found: Points = {}
    for index in np.ndindex(labels.shape):
        if keep_zero or labels[index]:
            found.setdefault(int(labels[index]), set()).add(index)
    return found


def as_sets(clouds: dict[int, Array]) -> Points:
    for points in clouds.values():
        assert points.dtype == np.uint16
        assert len({*map(tuple, points.tolist())}) == len(points)
    return {label: {*map(tuple, points.tolist())} for label, points in clouds.items()}


@settings(max_examples=60)
@given(label_arrays((*INTEGERS, "?"), min_dims=2, max_dims=3))
def test_clouds(labels: Array) -> None:
    clouds = arrays.point_cloud(labels)
    assert as_sets(clouds) == by_label(labels)
    assert list(clouds) == sorted(clouds)
    if labels.flags.c_contiguous or not labels.flags.f_contiguous:
        assert all(points.tolist() == sorted(points.tolist()) for points in clouds.values())


@settings(max_examples=40)
@given(label_arrays(("u1", "i4", "u8", "?"), min_dims=3, max_dims=3))
def test_shells(labels: Array) -> None:
    def is_at_the_surface(index: tuple[int, ...]) -> bool:
        for axis in range(3):
            for step in (-1, 1):
                beside = list(index)
                beside[axis] += step
                if not 0 <= beside[axis] < labels.shape[axis] or labels[tuple(beside)] != labels[index]:
                    return True
        return False

    inside = {
        label: {point for point in points if is_at_the_surface(point)}
        for label, points in by_label(labels, keep_zero=True).items()
    }
    assert as_sets(arrays.point_cloud(labels, shell=True)) == {label: p for label, p in inside.items() if p}


@settings(max_examples=50)
@given(label_arrays((*INTEGERS, "?")), st.data())
def test_component_maps(components: Array, data: st.DataObject) -> None:
    parents = np.empty(components.shape, data.draw(st.sampled_from(INTEGERS)), order=data.draw(st.sampled_from("CF")))
    parents[...] = data.draw(st.integers(0, 5)) + np.arange(parents.size).reshape(parents.shape) % 3
    order = "C" if components.flags.c_contiguous else "F"
    pairs = [*zip(components.flatten(order).tolist(), parents.flatten(order).tolist(), strict=True)]
    begins = [pair for at, pair in enumerate(pairs) if not at or pair[0] != pairs[at - 1][0]]
    assert arrays.component_map(components, parents) == dict(begins)
    expected: dict[int, set[int]] = {}
    for component, parent in pairs:
        expected.setdefault(parent, set()).add(component)
    told = arrays.inverse_component_map(parents, components)
    assert {parent: sorted(members) for parent, members in told.items()} == {
        parent: sorted(members) for parent, members in expected.items()
    }


def test_long_runs_and_many_labels() -> None:
    components = np.repeat(np.arange(3000, dtype=np.uint64) * 2**40, 70)
    parents = (components >> np.uint64(41)).astype(np.uint16)
    assert arrays.component_map(components, parents) == {label: label >> 41 for label in components[::70].tolist()}
    told = arrays.inverse_component_map(parents, components)
    assert len(told) == 1500
    assert sorted(told[7]) == [14 * 2**40, 15 * 2**40]


def test_what_is_refused() -> None:
    cases: list[tuple[type[Exception], Any]] = [
        (cp.ArgumentError, lambda: arrays.point_cloud(np.ones(3, int))),
        (NotImplementedError, lambda: arrays.point_cloud(np.ones((3, 3), int), shell=True)),
        (TypeError, lambda: arrays.point_cloud(np.ones((3, 3)))),
        (cp.ArgumentError, lambda: arrays.point_cloud(np.ones((70_000, 2), np.uint8))),
        (AttributeError, lambda: arrays.point_cloud([[1]])),  # type: ignore[arg-type]
        (cp.ArgumentError, lambda: arrays.component_map([1, 2], [1])),
        (TypeError, lambda: arrays.component_map([1, 2], [1.0, 2.0])),
        (cp.ArgumentError, lambda: arrays.inverse_component_map([1, 2], [1])),
    ]
    for error, call in cases:
        with pytest.raises(error):
            call()
    assert arrays.component_map([], []) == arrays.inverse_component_map([], []) == {}
