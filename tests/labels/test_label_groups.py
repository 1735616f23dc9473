"""Pairs of labels make groups, each named by its smallest label."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chunkpyramid as cp
from chunkpyramid.labels.label_groups import groups_of_pairs


def oracle(pairs: list[tuple[int, int]]) -> dict[int, int]:
    smallest = {label: label for pair in pairs for label in pair}
    for _ in smallest:
        for first, second in pairs:
            smallest[first] = smallest[second] = min(smallest[first], smallest[second])
    return smallest


@given(st.sampled_from(["i1", "i8", "u2", "u8", ">i4"]), st.data())
def test_groups_are_those_that_chains_of_pairs_join(dtype: str, data: st.DataObject) -> None:
    limits = np.iinfo(dtype)
    label = st.sampled_from([int(limits.min), int(limits.min) + 1, 3, 4, 5, 6, 7, int(limits.max)])
    pairs = data.draw(st.lists(st.tuples(label, label), max_size=12))
    given_pairs = np.array(pairs, dtype).reshape(-1, 2)
    labels, smallest = groups_of_pairs(np.asfortranarray(given_pairs) if len(pairs) % 2 else given_pairs)
    assert labels.dtype == smallest.dtype == np.dtype(dtype).newbyteorder("=")
    assert labels.tolist() == sorted(oracle(pairs))
    assert dict(zip(labels.tolist(), smallest.tolist(), strict=True)) == oracle(pairs)


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_one_long_chain(order: str) -> None:
    chain = np.arange(100_000, dtype=np.uint64) * np.uint64(2**40) + np.uint64(7)
    pairs = np.stack([chain[1:], chain[:-1]], axis=1)
    pairs = {
        "ascending": pairs,
        "descending": pairs[::-1],
        "shuffled": np.random.default_rng(0).permutation(pairs),
    }[order]
    labels, smallest = groups_of_pairs(pairs)
    np.testing.assert_array_equal(labels, chain)
    assert (smallest == 7).all()


def test_no_pairs() -> None:
    for pairs, dtype in (([], np.int64), (np.zeros((0, 2), np.uint16), np.uint16)):
        labels, smallest = groups_of_pairs(pairs)
        assert (labels.size, smallest.size, labels.dtype, smallest.dtype) == (0, 0, dtype, dtype)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([1, 2], r"shape \(n, 2\)"),
        ([(1, 2, 3)], r"shape \(n, 2\)"),
        ([(1.5, 2)], "integers"),
        ([("a", "b")], "integers"),
    ],
)
def test_bad_pairs_are_told(pairs: Any, message: str) -> None:
    with pytest.raises(cp.ArgumentError, match=message):
        groups_of_pairs(pairs)
