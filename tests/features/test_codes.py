"""Texts become numbers: the same texts get the same one, in order of first sight."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from recsys.features import interning
from recsys.features.codes import number_texts
from recsys.features.interning import KeyTable


class _Colliding(KeyTable):
    def look_up(self, keys: np.ndarray) -> np.ndarray:
        return super().look_up(keys) // 2


@pytest.mark.parametrize("table", [KeyTable, _Colliding])
@pytest.mark.parametrize("n_rows", [0, 3, 5_000])
def test_texts_are_numbered_in_order_of_first_sight(monkeypatch, table, n_rows) -> None:
    monkeypatch.setattr(interning, "KeyTable", table)
    drawn = np.random.default_rng(3).integers(0, 700, n_rows)
    texts = ["" if number == 0 else f"i{number}" for number in drawn]
    numbers, distinct = number_texts(pl.Series(texts, dtype=pl.String))
    assert distinct.to_list() == list(dict.fromkeys(texts))
    assert [distinct[int(number)] for number in numbers] == texts
