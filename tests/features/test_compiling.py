"""Loops that are compiled run where their machine code cannot be kept."""

from __future__ import annotations

import numpy as np
import pytest
from numba.core.caching import IndexDataCacheFile

from recsys.features.compiled import compiled, compiled_loop


@pytest.mark.parametrize("make", [compiled, compiled_loop])
def test_a_full_disk_costs_the_kept_code_and_not_the_call(make, monkeypatch) -> None:
    asked = []

    def full(*given):
        asked.append(given)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(IndexDataCacheFile, "save", full)

    def double(values):
        for i in range(len(values)):
            values[i] *= 2

    loop, values = make(double), np.arange(3)
    loop(values)
    assert values.tolist() == [0, 2, 4]
    assert asked
