"""The ranker in worlds with a known answer, and what it promises to callers."""

from __future__ import annotations

import re
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config import RankerConfig
from recsys.errors import BundleError, RankingError, TrainingError
from recsys.ranking.metrics import measure
from recsys.ranking.ranker import Ranker
from recsys.ranking.rows import RankingRows, informative_rows
from recsys.ranking.training import train_ranker

CONFIG = RankerConfig(trees=60, leaves=7, min_rows_per_leaf=5, bags=2, learning_rate=0.1, threads=1)
NAMES = ("clicks", 'odd "name", 推荐 {x}', "noise")


def make_rows(seed: int, n_groups: int = 150, names: tuple[str, ...] = NAMES) -> RankingRows:
    """Candidates whose first feature decides what is done with them; the second is often null."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(3, 15, n_groups)
    matrix = rng.normal(size=(sizes.sum(), len(names))).astype(np.float32)
    matrix[rng.random(len(matrix)) < 0.5, 1] = np.nan
    grades = np.select([matrix[:, 0] > 1.5, matrix[:, 0] > 0.5], [5.0, 1.5], 0.0)
    return RankingRows(matrix, grades.astype(np.float32), sizes.astype(np.int64), names)


@pytest.fixture(scope="module")
def ranker() -> Ranker:
    return train_ranker(make_rows(1), make_rows(2, 60), CONFIG, 17)


def test_a_feature_that_decides_is_learnt_and_noise_is_not(ranker):
    test = make_rows(3)
    assert measure(ranker.score(test.matrix), test.grades, test.group_sizes).means()["auc"] > 0.99
    table = ranker.importance()
    assert table[0].feature == "clicks"
    assert table[0].gain > 10 * table[1].gain
    assert table[0].splits > 0
    assert {row.feature for row in table} == set(NAMES)


def test_what_was_drawn_by_popularity_is_learnt_as_popular():
    # Positives and negatives are drawn in the same proportions: without log q there is nothing to
    # learn, or less, where what was acted on is left out of the negatives of its own list.
    rng = np.random.default_rng(5)
    n_groups, size, n_items = 400, 8, 30
    popularity = 1.0 / np.arange(1, n_items + 1)
    popularity /= popularity.sum()
    lists = [rng.choice(n_items, size, replace=False, p=popularity) for _ in range(n_groups)]
    positives = [rng.choice(n_items, p=popularity) for _ in range(n_groups)]
    items = np.concatenate([[p, *[i for i in drawn if i != p][: size - 1]]
                            for p, drawn in zip(positives, lists, strict=True)])  # fmt: skip
    grades = np.tile([1.0] + [0.0] * (size - 1), n_groups).astype(np.float32)
    matrix = popularity[items].astype(np.float32)[:, None]
    plain = RankingRows(matrix, grades, np.full(n_groups, size), ("popularity",))
    corrected = replace(
        plain, log_q=np.log(-np.expm1(-size * popularity[items])).astype(np.float32)
    )
    every = popularity.astype(np.float32)[:, None]
    ranks = [
        np.corrcoef(train_ranker(rows, rows, CONFIG, 1).score(every), np.log(popularity))[0, 1]
        for rows in (corrected, plain)
    ]
    assert ranks[0] > 0.9
    assert ranks[0] > ranks[1] + 0.2


def test_more_boosters_leave_scores_on_the_scale_of_one():
    # Scores are compared with log q, so their size is no more arbitrary than their order.
    rows = replace(make_rows(1), log_q=np.zeros(len(make_rows(1)), np.float32))
    test = make_rows(6).matrix
    nothing = rows.split(0)[0]
    spreads = [
        train_ranker(rows, nothing, CONFIG.model_copy(update={"bags": n}), 17).score(test).std()
        for n in (1, 4)
    ]
    assert spreads[1] == pytest.approx(spreads[0], rel=0.2)


def test_higher_grades_come_first():
    rows = make_rows(4)
    ranker = train_ranker(rows, make_rows(5, 60), CONFIG, 1)
    low, middle, high = ranker.score(
        np.array([[-1, np.nan, 0], [1, np.nan, 0], [2, np.nan, 0]], dtype=np.float32)
    )
    assert low < middle < high


def test_two_runs_give_the_same_model_and_another_seed_does_not():
    config = CONFIG.model_copy(update={"feature_share": 0.5, "row_share": 0.5})
    test = make_rows(6).matrix
    once, again, other = (
        train_ranker(make_rows(1), make_rows(2, 60), config, seed).score(test)
        for seed in (17, 17, 18)
    )
    assert np.array_equal(once, again)
    assert not np.array_equal(once, other)


def test_any_number_of_threads_gives_the_same_model():
    config = CONFIG.model_copy(update={"feature_share": 0.5, "row_share": 0.5})
    rows, test = make_rows(1), make_rows(6).matrix
    alone, some, chosen = (
        train_ranker(rows, make_rows(2, 60), config.model_copy(update={"threads": n}), 17)
        for n in (1, 3, 0)
    )
    assert np.array_equal(alone.score(test), some.score(test))
    assert np.array_equal(alone.score(test), chosen.score(test))


def test_a_large_log_gets_fewer_boosters_unless_told_otherwise():
    small, large = RankerConfig().for_rows(499_999), RankerConfig().for_rows(500_000)
    assert (small.bags, small.learning_rate) == (5, 0.05)
    assert (large.bags, large.learning_rate) == (3, 0.1)
    told = RankerConfig(bags=4, learning_rate=0.2).for_rows(500_000)
    assert (told.bags, told.learning_rate) == (4, 0.2)


def test_a_tree_learns_from_no_more_rows_than_it_may(tmp_path):
    few = CONFIG.model_copy(update={"rows_per_tree": 200, "bags": 1})
    rows, nothing = make_rows(1), make_rows(2, 60).split(0)[0]
    train_ranker(rows, nothing, few, 17).save(tmp_path / "ranker.txt")
    text = (tmp_path / "ranker.txt").read_text()
    counts = [int(n) for n in re.findall(r"^internal_count=(\d+)", text, re.MULTILINE)]
    assert counts
    assert max(counts) < 400 < CONFIG.row_share * len(rows)  # of lists drawn as a whole


def test_boosters_grow_no_further_than_they_gain():
    told = []
    config = CONFIG.model_copy(update={"trees": 400})
    ranker = train_ranker(
        make_rows(1), make_rows(2, 60), config, 17, progress=lambda *said: told.append(said)
    )
    _, done, total = told[-1]
    assert done == total
    assert 2 * 200 <= total < 2 * 400
    assert ranker.n_trees <= total
    alone = []
    nothing = make_rows(2, 60).split(0)[0]
    train_ranker(make_rows(1), nothing, config, 17, progress=lambda *said: alone.append(said))
    assert alone[-1][1] > total  # nobody says when to stop


def test_boosters_are_cut_where_the_validation_slice_is_ranked_best():
    noisy = make_rows(7)
    rng = np.random.default_rng(0)
    grades = rng.permutation(noisy.grades)
    train = RankingRows(noisy.matrix, grades, noisy.group_sizes, NAMES)
    ranker = train_ranker(train, make_rows(8, 40), CONFIG.model_copy(update={"trees": 500}), 3)
    assert ranker.n_trees < CONFIG.bags * 500
    assert ranker.n_trees % CONFIG.bags == 0
    assert 0 < ranker.validation_ndcg <= 1


def test_without_a_validation_slice_all_trees_are_grown():
    empty = RankingRows(
        np.empty((0, 3), np.float32), np.empty(0, np.float32), np.empty(0, np.int64), NAMES
    )
    ranker = train_ranker(make_rows(1), empty, CONFIG, 17)
    assert ranker.n_trees == CONFIG.bags * CONFIG.trees
    assert ranker.validation_ndcg is None


def test_progress_counts_the_trees():
    calls = []
    train_ranker(
        make_rows(1, 40), make_rows(2, 20), CONFIG, 1, progress=lambda *call: calls.append(call)
    )
    assert calls[0] == ("ranker", 1, CONFIG.bags * CONFIG.trees)
    assert calls[-1] == ("ranker", CONFIG.bags * CONFIG.trees, CONFIG.bags * CONFIG.trees)
    assert [done for _, done, _ in calls] == list(range(1, len(calls) + 1))


def test_the_order_in_which_items_were_shown_decides_nothing():
    rng = np.random.default_rng(9)
    n_groups, size = 300, 8
    matrix = rng.integers(0, 2, size=(n_groups * size, 1)).astype(np.float32)
    grades = np.tile([1.0] + [0.0] * (size - 1), n_groups).astype(np.float32)
    rows = RankingRows(matrix, grades, np.full(n_groups, size), ("noise",))
    shuffled = informative_rows(rows, np.random.default_rng(1))
    first = shuffled.grades.reshape(n_groups, size)[:, 0].mean()
    assert 0.05 < first < 0.25
    ranker = train_ranker(rows, rows, CONFIG, 1)
    assert ranker.validation_ndcg < 0.75


def test_shuffling_keeps_every_row_in_its_impression_and_drops_those_that_teach_nothing():
    grades = np.array([1, 0, 2, 2, 0, 0, 0, 5, 5, 1], dtype=np.float32)
    matrix = np.stack([np.arange(10), grades], axis=1).astype(np.float32)
    matrix[0, 0] = np.inf
    rows = RankingRows(matrix, grades, np.array([2, 2, 0, 3, 3]), ("row", "grade"))
    kept = informative_rows(rows, np.random.default_rng(0))
    assert kept.group_sizes.tolist() == [2, 3]
    assert np.array_equal(kept.matrix[:, 1], kept.grades)
    assert sorted(kept.matrix[2:, 0]) == [7, 8, 9]
    assert np.isnan(kept.matrix[:2, 0]).sum() == 1


def test_missing_features_are_scored_and_infinite_ones_are_missing(ranker):
    row = np.array([[1.0, np.nan, 0.0]], dtype=np.float32)
    for odd in (np.inf, -np.inf):
        other = row.copy()
        other[0, 1] = odd
        assert ranker.score(other) == ranker.score(row)
        assert other[0, 1] == odd
    assert np.isfinite(ranker.score(np.full((4, 3), np.nan, dtype=np.float32))).all()


@given(seed=st.integers(0, 1_000), n_rows=st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_contributions_add_up_to_the_score(ranker, seed, n_rows):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(scale=3, size=(n_rows, 3)).astype(np.float32)
    matrix[rng.random(matrix.shape) < 0.2] = rng.choice([np.nan, np.inf, -np.inf, 1e30])
    contributions, base = ranker.explain(matrix)
    assert contributions.shape == (n_rows, 3)
    assert base.shape == (n_rows,)
    assert np.abs(contributions.sum(axis=1) + base - ranker.score(matrix)).max() < 1e-6


def test_a_row_scores_the_same_alone_in_any_layout_and_in_any_company(ranker):
    matrix = make_rows(10).matrix
    scores = ranker.score(matrix)
    assert np.array_equal(scores[::-1], ranker.score(matrix[::-1]))
    assert np.array_equal(scores, ranker.score(np.asfortranarray(matrix)))
    assert np.array_equal(scores[:5], [ranker.score(matrix[i : i + 1])[0] for i in range(5)])


def test_no_rows_give_no_scores(ranker):
    assert ranker.score(np.empty((0, 3), dtype=np.float32)).shape == (0,)
    contributions, base = ranker.explain(np.empty((0, 3), dtype=np.float32))
    assert contributions.shape == (0, 3)
    assert base.shape == (0,)


@pytest.mark.parametrize("shape", [(4, 2), (4, 4), (3,), (1, 1, 3)])
def test_a_matrix_of_other_columns_is_refused_with_both_shapes(ranker, shape):
    with pytest.raises(RankingError) as caught:
        ranker.score(np.zeros(shape, dtype=np.float32))
    assert str(shape) in str(caught.value)
    assert "(n_rows, 3)" in str(caught.value)
    with pytest.raises(RankingError):
        ranker.explain(np.zeros(shape, dtype=np.float32))


def test_a_saved_ranker_gives_the_same_scores(ranker, tmp_path):
    path = tmp_path / "ranker.txt"
    ranker.save(path)
    loaded = Ranker.load(path, NAMES)
    matrix = make_rows(11).matrix
    assert np.array_equal(loaded.score(matrix), ranker.score(matrix))
    assert loaded.n_trees == ranker.n_trees
    assert loaded.importance()[0] == ranker.importance()[0]


def test_a_saved_ranker_scores_without_lightgbm(ranker, tmp_path, monkeypatch):
    ranker.save(tmp_path / "ranker.txt")
    matrix = make_rows(11).matrix
    expected = ranker.score(matrix)
    monkeypatch.setattr(Ranker, "_booster", lambda _: pytest.fail("LightGBM was asked"))
    loaded = Ranker.load(tmp_path / "ranker.txt", NAMES)
    assert np.array_equal(loaded.score(matrix), expected)


@pytest.mark.parametrize("harm", ["gone", "cut", "of another model", "other scores"])
def test_lightgbm_is_asked_where_what_it_gave_is_not_known(ranker, tmp_path, monkeypatch, harm):
    ranker.save(tmp_path / "ranker.txt")
    probe = tmp_path / "ranker.probe.npy"
    table = np.load(probe)
    if harm == "gone":
        probe.unlink()
    elif harm == "cut":
        probe.write_bytes(probe.read_bytes()[:90])
    else:
        np.save(probe, table[:, 1:] if harm == "of another model" else table + 1.0)
    asked, booster = [], Ranker._booster
    monkeypatch.setattr(Ranker, "_booster", lambda self: asked.append(1) or booster(self))
    loaded = Ranker.load(tmp_path / "ranker.txt", NAMES)
    assert asked
    matrix = make_rows(11).matrix
    assert np.array_equal(loaded.score(matrix), ranker.score(matrix))


def test_a_ranker_of_other_columns_is_not_loaded(ranker, tmp_path):
    path = tmp_path / "ranker.txt"
    ranker.save(path)
    with pytest.raises(BundleError, match=r"3 features; expected 2"):
        Ranker.load(path, NAMES[:2])
    with pytest.raises(BundleError, match=r"feature noise at position 2; expected sound"):
        Ranker.load(path, (*NAMES[:2], "sound"))
    with pytest.raises(BundleError, match="unreadable"):
        Ranker.load(tmp_path / "none.txt", NAMES)


def test_a_model_that_scores_infinity_is_caught(ranker, tmp_path):
    path = tmp_path / "ranker.txt"
    ranker.save(path)
    lines = path.read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.startswith("leaf_value="))
    length = len(lines[at])
    n_leaves = len(lines[at].split(" "))
    infinite = "leaf_value=" + " ".join(["1e999"] * n_leaves)
    lines[at] = infinite.ljust(length - 1) + "\n"
    path.write_text("".join(lines))
    with pytest.raises(RankingError, match="not finite"):
        Ranker.load(path, NAMES).score(np.zeros((1, 3), dtype=np.float32))


def test_threads_share_a_ranker(ranker):
    matrix = make_rows(12).matrix
    expected = ranker.score(matrix)
    wrong = []

    def score() -> None:
        wrong.extend(i for i in range(30) if not np.array_equal(ranker.score(matrix), expected))

    threads = [threading.Thread(target=score) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_rows_that_cannot_teach_are_refused():
    good = make_rows(1, 20)
    flat = RankingRows(good.matrix, np.ones_like(good.grades), good.group_sizes, NAMES)
    with pytest.raises(TrainingError, match="20 impressions, none with candidates of different"):
        train_ranker(flat, good, CONFIG, 1)
    with pytest.raises(TrainingError, match="validation columns"):
        train_ranker(good, make_rows(1, 20, ("a", "b", "c")), CONFIG, 1)
    short = RankingRows(good.matrix[:-1], good.grades, good.group_sizes, NAMES)
    with pytest.raises(TrainingError, match="a matrix of shape"):
        train_ranker(short, good, CONFIG, 1)
    negative = RankingRows(good.matrix, good.grades - 1, good.group_sizes, NAMES)
    with pytest.raises(TrainingError, match="a grade below 0"):
        train_ranker(negative, good, CONFIG, 1)
    off = RankingRows(good.matrix, good.grades, good.group_sizes + 1, NAMES)
    with pytest.raises(TrainingError, match="groups of"):
        train_ranker(off, good, CONFIG, 1)


def test_a_group_longer_than_lightgbm_takes_is_refused_with_the_limit():
    n = 10_001
    rows = RankingRows(np.zeros((n, 1), np.float32), np.zeros(n, np.float32), np.array([n]), ("a",))
    with pytest.raises(TrainingError, match=r"10,001 candidates; expected at most 10,000"):
        train_ranker(rows, rows, CONFIG, 1)


def test_many_distinct_grades_are_levels():
    rows = make_rows(13)
    grades = np.maximum(rows.matrix[:, 0], 0) * 7.3
    free = RankingRows(rows.matrix, grades.astype(np.float32), rows.group_sizes, NAMES)
    ranker = train_ranker(free, make_rows(14, 50), CONFIG, 1)
    assert ranker.validation_ndcg > 0.95


def test_features_that_say_nothing_give_equal_scores_and_no_crash(tmp_path):
    rows = make_rows(15, 5)
    flat = RankingRows(np.zeros_like(rows.matrix), rows.grades, rows.group_sizes, NAMES)
    empty = RankingRows(np.full_like(rows.matrix, np.nan), rows.grades, rows.group_sizes, NAMES)
    for train in (flat, empty):
        ranker = train_ranker(train, rows, CONFIG, 1)
        ranker.save(tmp_path / "ranker.txt")
        loaded = Ranker.load(tmp_path / "ranker.txt", NAMES)
        assert len(set(loaded.score(rows.matrix))) == 1
        contributions, base = loaded.explain(rows.matrix)
        assert np.allclose(contributions.sum(axis=1) + base, loaded.score(rows.matrix))
