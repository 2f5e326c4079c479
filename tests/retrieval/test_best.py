"""The best few are those that a sort of everything would begin with."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsys.features.best import best_rows

VALUES = st.one_of(st.integers(-3, 3).map(float), st.sampled_from([np.nan, np.inf, -np.inf]))


@given(st.lists(VALUES, max_size=30), st.integers(0, 35))
def test_best_rows_are_the_beginning_of_a_stable_sort(values, n) -> None:
    array = np.array(values, dtype=np.float64)
    expected = [row for row in np.argsort(-array, kind="stable") if not np.isnan(array[row])]
    assert best_rows(array, n).tolist() == expected[:n]
