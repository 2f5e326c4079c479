"""A column's spread, and how far other values are from it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recsys.ranking.distribution import distribution_of

COLUMNS = arrays.arrays(
    np.float32, st.integers(1, 50), elements=st.floats(width=32, allow_infinity=True)
)


def values(seed: int, n: int = 5_000, loc: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(loc, 1.0, n).astype(np.float32)


def test_other_draws_of_the_same_are_stable_and_shifted_ones_are_not() -> None:
    reference = distribution_of(values(1))
    assert len(reference.shares) == 10
    assert np.allclose(reference.shares, 0.1, atol=1e-3)
    assert reference.shift(values(1)) == pytest.approx(0.0, abs=1e-12)
    assert reference.shift(values(2)) < 0.01
    assert 0.1 < reference.shift(values(3, loc=0.5)) < 0.5
    assert reference.shift(values(4, loc=3.0)) > 2


def test_the_index_is_that_of_the_formula() -> None:
    reference = distribution_of(np.array([0, 0, 1, 1], dtype=np.float32))
    assert (reference.edges, reference.shares) == ((1.0,), (0.5, 0.5))
    now = np.array([0, 1, 1, 1], dtype=np.float32)
    expected = 0.25 * np.log(0.75 / 0.5) - 0.25 * np.log(0.25 / 0.5)
    assert reference.shift(now) == pytest.approx(expected, abs=1e-3)


def test_what_is_missing_is_a_bin_of_its_own() -> None:
    there, half = values(1), values(1)
    half[::2] = np.nan
    assert distribution_of(half).missing == 0.5
    assert sum(distribution_of(half).shares) == pytest.approx(0.5)
    assert distribution_of(there).shift(half) > 2
    nothing = distribution_of(np.full(3, np.nan, dtype=np.float32))
    assert (nothing.edges, nothing.missing) == ((), 1.0)
    assert nothing.shift(there) > 2
    assert nothing.shift(np.full(9, np.nan, dtype=np.float32)) == pytest.approx(0.0, abs=1e-12)


def test_a_constant_column_is_one_bin() -> None:
    constant = distribution_of(np.ones(7, dtype=np.float32))
    assert (constant.edges, constant.shares) == ((), (1.0,))


@given(COLUMNS, COLUMNS)
def test_any_columns_have_a_finite_index(first, second) -> None:
    reference = distribution_of(first)
    assert sum(reference.shares) + reference.missing == pytest.approx(1.0)
    assert np.isfinite(reference.shift(second))
    assert reference.shift(second) >= 0
    assert reference.shift(first) == pytest.approx(0.0, abs=1e-9)
