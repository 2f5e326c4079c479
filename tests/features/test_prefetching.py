"""Fetching rows ahead changes nothing but the time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from recsys.features.compiled import compiled_loop
from recsys.features.prefetching import prefetch


@compiled_loop
def _fetch_all(table: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
    for row in rows:
        prefetch(table, row)


@pytest.mark.parametrize("width", [0, 1, 12, 40])
def test_rows_are_left_as_they_are_and_those_that_do_not_exist_do_no_harm(width: int):
    table = np.arange(5 * width, dtype=np.uint32).reshape(5, width)
    before = table.copy()
    _fetch_all(table, np.array([0, 4, -1, 5, 2**40, -(2**62)]))
    np.testing.assert_array_equal(table, before)
