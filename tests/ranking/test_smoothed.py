"""The size of a ranker is chosen in the middle of the best stretch of its curve."""

from __future__ import annotations

import numpy as np

from recsys.ranking.training import smoothed


def test_each_value_becomes_the_mean_of_those_around_it() -> None:
    values = np.array([4.0, 0.0, 2.0, 6.0])
    assert smoothed(values, 0).tolist() == values.tolist()
    assert smoothed(values, 1).tolist() == [2.0, 2.0, 8.0 / 3.0, 4.0]
    assert smoothed(values, 9).tolist() == [3.0] * 4
    assert smoothed(np.zeros(0), 3).tolist() == []


def test_a_lucky_peak_of_a_flat_curve_is_not_the_best_stretch() -> None:
    curve = np.concatenate([np.linspace(0.60, 0.63, 10), np.full(20, 0.63), np.full(10, 0.629)])
    noise = 0.0005 * np.cos(np.arange(40) * 2.4)
    noise[4] += 0.03
    best = int(np.argmax(smoothed(curve + noise, 8)))
    assert int(np.argmax(curve + noise)) == 4
    assert 12 <= best < 30
