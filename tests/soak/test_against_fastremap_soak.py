"""A hundred thousand random calls give what fastremap gives."""

from __future__ import annotations

import pytest
from helpers.fastremap_cases import compare

from chunkpyramid.labels import arrays


@pytest.mark.parametrize("part", range(20))
def test_random_calls(part: int) -> None:
    fastremap = pytest.importorskip("fastremap")
    differences = [compare(arrays, fastremap, seed) for seed in range(10**6 + part * 5000, 10**6 + part * 5000 + 5000)]
    assert [text for text in differences if text] == []
