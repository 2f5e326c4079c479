"""Batch lists are what the server would have answered."""

from __future__ import annotations

import polars as pl
import pytest

from recsys.batch.score import score_users
from recsys.pipeline.engine import load_engine
from recsys.pipeline.requests import RankQuery


@pytest.fixture
def engine(plain_workspace, monkeypatch):
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')
    return load_engine(plain_workspace)


def test_batch_scores_are_those_of_rank(engine, tmp_path) -> None:
    as_of = engine.now("log")
    users = [*engine.user_ids(), "stranger"]
    out = tmp_path / "lists" / "top.parquet"
    seen = []
    report = score_users(
        engine,
        out,
        user_ids=users,
        top_k=5,
        as_of=as_of,
        progress=lambda label, done, total: seen.append((done, total)),
    )
    lists = pl.read_parquet(out)
    assert report.n_users == len(users)
    assert report.n_rows == lists.height == 5 * len(users)
    assert seen[-1] == (len(users), len(users))
    for (user,), rows in lists.group_by(["user_id"], maintain_order=True):
        assert rows["rank"].to_list() == [1, 2, 3, 4, 5]
        ranked = engine.rank(RankQuery(user, rows["item_id"].to_list(), as_of))
        assert ranked.item_ids == rows["item_id"].to_list()
        assert ranked.scores == rows["score"].to_list()


def test_nothing_half_written_stands_under_the_name(engine, tmp_path) -> None:
    out = tmp_path / "top.parquet"

    def stop(label: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_users(engine, out, user_ids=["a"], top_k=1, as_of=engine.now("log"), progress=stop)
    assert not out.exists()
