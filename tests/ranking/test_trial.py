"""A ranker file that would take its parser's process along is found out by one that may die."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
import pytest

from recsys.errors import BundleError
from recsys.ranking.trial import check_parses


def test_a_ranker_passes_and_a_damaged_one_does_not(tmp_path) -> None:
    rng = np.random.default_rng(1)
    data = lgb.Dataset(rng.random((200, 3)), rng.random(200))
    booster = lgb.train({"verbose": -1, "num_threads": 1}, data, 3)
    good, bad = tmp_path / "ranker.txt", tmp_path / "fallback.txt"
    booster.save_model(good)
    assert check_parses([good, good]) is None
    text = good.read_text()
    bad.write_text(text.replace("num_leaves=", "num_leaves=9"))
    with pytest.raises(BundleError, match="ends the process"):
        check_parses([good, bad])
