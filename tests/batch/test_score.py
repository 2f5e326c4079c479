"""Batch lists are what the server would have answered."""

from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from recsys.batch.lists_file import check_out, lists_file, schema_of
from recsys.batch.score import relate_items, score_users
from recsys.errors import BatchError
from recsys.pipeline.engine import load_engine
from recsys.pipeline.requests import RankQuery, RecommendQuery


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
    assert report.n_lists == len(users)
    assert report.n_rows == lists.height == 5 * len(users)
    assert seen[-1] == (len(users), len(users))
    for (user,), rows in lists.group_by(["user_id"], maintain_order=True):
        assert rows["rank"].to_list() == [1, 2, 3, 4, 5]
        ranked = engine.rank(RankQuery(user, rows["item_id"].to_list(), as_of))
        assert ranked.item_ids == rows["item_id"].to_list()
        assert ranked.scores == rows["score"].to_list()


def test_related_items_are_those_of_recommend(engine, tmp_path) -> None:
    out, as_of = tmp_path / "related.parquet", engine.now("log")
    seeds = [*engine.item_ids()[:5], "never heard of"]
    report = relate_items(
        engine,
        out,
        item_ids=seeds,
        top_k=4,
        as_of=as_of,
        progress=lambda label, done, total: None,
    )
    rows = pl.read_parquet(out)
    assert report.n_rows == rows.height == 24
    assert report.warnings == {"1 unknown seed items were passed over": 1}
    assert rows["seed_item_id"].unique(maintain_order=True).to_list() == seeds
    mine = rows.filter(pl.col("seed_item_id") == seeds[1])
    asked = RecommendQuery("", as_of, top_k=4, seed_item_ids=[seeds[1]])
    assert mine["item_id"].to_list() == engine.recommend(asked).item_ids


def test_warnings_of_lists_are_counted_not_lost(engine, tmp_path, monkeypatch) -> None:
    plain = type(engine).recommend

    def warned(self, query, *arguments):
        ranked = plain(self, query, *arguments)
        return replace(ranked, warnings=["incomplete"]) if query.user_id == "user1" else ranked

    monkeypatch.setattr(type(engine), "recommend", warned)
    report = score_users(
        engine,
        tmp_path / "top.parquet",
        user_ids=["user1", "user2"],
        top_k=2,
        as_of=engine.now("log"),
        progress=lambda label, done, total: None,
    )
    assert report.warnings == {"incomplete": 1}


def test_nothing_half_written_stands_under_the_name(engine, tmp_path) -> None:
    out = tmp_path / "top.parquet"

    def stop(label: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_users(engine, out, user_ids=["a"], top_k=1, as_of=engine.now("log"), progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_json_lines_say_the_same_as_parquet(engine, tmp_path) -> None:
    outs, as_of = [tmp_path / "top.parquet", tmp_path / "top.jsonl"], engine.now("log")
    for out in outs:
        score_users(
            engine,
            out,
            user_ids=["user1", "zoë"],
            top_k=3,
            as_of=as_of,
            progress=lambda label, done, total: None,
        )
    rows = [json.loads(line) for line in outs[1].read_text(encoding="utf-8").splitlines()]
    assert rows == pl.read_parquet(outs[0]).to_dicts()
    assert len(rows) == 6


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("top.csv", "no known format"),
        ("folder.parquet", "a folder"),
        ("file/top.parquet", "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(tmp_path, name, found) -> None:
    (tmp_path / "folder.parquet").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(BatchError, match=found):
        check_out(tmp_path / name)


@pytest.mark.parametrize("name", ["top.parquet", "top.jsonl"])
def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path, name) -> None:
    table = pa.table(
        {"user_id": ["u"] * 9, "rank": [1] * 9, "item_id": ["i"] * 9, "score": [0.5] * 9,
         "model_version": ["v"] * 9},
        schema=schema_of("user_id"),
    )  # fmt: skip
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, limits[1]))
    try:
        with pytest.raises(BatchError, match="cannot be written"):
            _write(tmp_path / name, table)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def _write(out: Path, table: pa.Table) -> None:
    with lists_file(out, schema_of("user_id")) as writer:
        for _ in range(1_000):
            writer.write_table(table)
