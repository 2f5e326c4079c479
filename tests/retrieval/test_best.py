"""The best few are those that a sort of everything would begin with."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsys.features.best import best_rows
from recsys.retrieval.exact import NearestRows

VALUES = st.one_of(st.integers(-3, 3).map(float), st.sampled_from([np.nan, np.inf, -np.inf]))


@given(st.lists(VALUES, max_size=30), st.integers(0, 35))
def test_best_rows_are_the_beginning_of_a_stable_sort(values, n) -> None:
    array = np.array(values, dtype=np.float64)
    expected = [row for row in np.argsort(-array, kind="stable") if not np.isnan(array[row])]
    assert best_rows(array, n).tolist() == expected[:n]


def test_nearest_finds_no_row_without_a_vector() -> None:
    vectors = np.array([[1, 0], [0, 0], [0, 1], [1, 0]], dtype=np.float32)
    rows = NearestRows()
    assert rows.find(vectors[[0]], vectors[:3], 9).tolist() == [0, 2]
    assert rows.find(vectors[[0]], vectors, 9).tolist() == [0, 3, 2]
    assert rows.find(vectors[[0, 2]], vectors, 2).tolist() == [0, 2]
