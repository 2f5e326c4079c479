"""Ranking metrics against hand-made answers, brute force over tie orders, and scikit-learn."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score, roc_auc_score

from recsys.errors import RankingError
from recsys.ranking.metrics import (
    bootstrap_difference,
    bootstrap_means,
    bootstrap_trainings,
    hit_at_k,
    measure,
    ndcg_at_k,
    rank_impressions,
    recall_at_k,
)


def measure_one(scores, grades):
    return measure(np.array(scores, float), np.array(grades, float), np.array([len(scores)]))


def test_a_perfect_list_scores_one_and_a_reversed_one_zero_auc():
    perfect = measure_one([3, 2, 1, 0], [5, 2, 0, 0]).means()
    names = {"auc", "mrr", "ndcg@5", "ndcg@10", "recall@10", "hit@10"}
    assert perfect == dict.fromkeys(names, 1.0)
    reverse = measure_one([0, 1, 2, 3], [1, 0, 0, 0]).means()
    assert reverse["auc"] == 0.0
    assert reverse["mrr"] == 0.25
    assert reverse["ndcg@5"] == pytest.approx(1 / np.log2(5))


def test_only_impressions_with_both_labels_count():
    grades = np.array([0, 0, 1, 0, 2, 2, 0, 3.0])
    found = measure(np.arange(8.0), grades, np.array([2, 2, 0, 2, 1, 1]))
    assert found.impressions.tolist() == [1]
    assert found.auc.tolist() == [0.0]


def test_nothing_to_measure_gives_nan_and_no_impressions():
    found = measure(np.zeros(2), np.zeros(2), np.array([2]))
    assert len(found.impressions) == 0
    assert all(np.isnan(value) for value in found.means().values())
    assert len(measure(np.empty(0), np.empty(0), np.empty(0, dtype=np.int64)).auc) == 0


def test_equal_scores_are_worth_a_random_order_wherever_the_relevant_item_was_shown():
    found = [measure_one(np.zeros(5), np.eye(5)[shown]).means() for shown in range(5)]
    assert all(one == pytest.approx(found[0]) for one in found)
    assert found[0]["auc"] == 0.5
    assert found[0]["mrr"] == pytest.approx(np.mean(1 / np.arange(1, 6)))


def test_a_click_only_log_has_binary_ndcg_whatever_the_grade_of_a_click():
    rng = np.random.default_rng(0)
    clicks = (rng.random(400) < 0.2).astype(float)
    scores, sizes = rng.random(400), np.full(20, 20)
    assert measure(scores, clicks, sizes).means() == pytest.approx(
        measure(scores, 2 * clicks, sizes).means()
    )


small_lists = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.0, 1.0, 2.0, 5.0])), min_size=2, max_size=6
).filter(lambda rows: 0 < sum(grade > 0 for _, grade in rows) < len(rows))


def strict_metrics(grades):
    ideal = sorted(grades, reverse=True)
    discounts = [1 / np.log2(i + 2) for i in range(3)]
    dcg = sum(g * d for g, d in zip(grades, discounts, strict=False))
    relevant = [i for i, g in enumerate(grades) if g > 0]
    others = [i for i, g in enumerate(grades) if g == 0]
    wins = sum(i < j for i in relevant for j in others)
    best = sum(g * d for g, d in zip(ideal, discounts, strict=False))
    n_found = sum(i < 3 for i in relevant)
    return (
        wins / (len(relevant) * len(others)),
        1 / (1 + relevant[0]),
        dcg / best,
        n_found / len(relevant),
        float(n_found > 0),
    )


@given(rows=small_lists)
@settings(max_examples=150, deadline=None)
def test_ties_give_the_mean_over_all_orders_of_the_tied(rows):
    orders = [
        strict_metrics([grade for _, grade in order])
        for order in permutations(rows)
        if all(x[0] >= y[0] for x, y in pairwise(order))
    ]
    scores, grades = np.array(rows).T
    found = measure_one(scores, grades)
    ranked = rank_impressions(scores, grades, np.array([len(rows)]))
    at_3 = [metric(ranked, 3)[0] for metric in (ndcg_at_k, recall_at_k, hit_at_k)]
    expected = np.mean(orders, axis=0)
    assert np.allclose([found.auc[0], found.mrr[0], *at_3], expected, atol=1e-12)


def test_hits_are_counted_per_impression():
    ranked = rank_impressions(
        np.array([3, 2, 1, 1, 2, 3.0, 0, 0, 0, 0]),
        np.array([1, 0, 0, 1, 0, 0.0, 1, 0, 0, 0]),
        np.array([3, 3, 4]),
    )
    assert np.allclose(hit_at_k(ranked, 1), [1, 0, 0.25])
    assert np.allclose(hit_at_k(ranked, 2), [1, 0, 0.5])
    assert np.allclose(recall_at_k(ranked, 3), [1, 1, 0.75])


def test_columns_share_their_resamples():
    rng = np.random.default_rng(8)
    one = rng.normal(0.2, 1, 300)
    together = bootstrap_means(np.stack([one, -one, one * 0], axis=1), np.random.default_rng(9))
    alone = bootstrap_difference(one, np.zeros(300), np.random.default_rng(9))
    assert together[0] == pytest.approx(alone)
    assert together[1] == pytest.approx((-alone.mean, -alone.high, -alone.low))
    assert together[2] == (0.0, 0.0, 0.0)


def test_the_luck_of_trainings_widens_an_interval():
    rng = np.random.default_rng(8)
    users = np.repeat(np.arange(150), 2)
    one = rng.normal(0.2, 1, 300)
    luck = np.array([-0.2, -0.1, 0.0, 0.1, 0.2])
    lucky = (one[:, None] + luck)[:, :, None]
    alike = np.broadcast_to(one[:, None, None], (300, 5, 1))
    found, expected = (
        bootstrap_trainings(values, np.random.default_rng(9), clusters=users)[0]
        for values in (lucky, alike)
    )
    [of_one] = bootstrap_means(one[:, None], np.random.default_rng(9), clusters=users)
    assert expected == pytest.approx(of_one)
    assert found.mean == pytest.approx(expected.mean)
    # Variances of independent sources add up.
    half = (expected.high - expected.low) / 2
    of_luck = 1.96 * luck.std() / np.sqrt(5)
    assert (found.high - found.low) / 2 == pytest.approx(np.hypot(half, of_luck), rel=0.1)


@given(seed=st.integers(0, 10_000), distinct=st.sampled_from([2, 5, 1000]))
@settings(max_examples=50, deadline=None)
def test_auc_and_ndcg_equal_scikit_learn(seed, distinct):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 40, size=8)
    grades = rng.choice([0.0, 0.0, 1.0, 2.0, 4.5], size=sizes.sum())
    scores = rng.integers(distinct, size=sizes.sum()).astype(np.float32)
    found = measure(scores, grades, sizes)
    parts = np.split(np.arange(sizes.sum()), np.cumsum(sizes)[:-1])
    for i, impression in enumerate(found.impressions):
        rows = parts[impression]
        assert found.auc[i] == pytest.approx(roc_auc_score(grades[rows] > 0, scores[rows]))
        for k, values in ((5, found.ndcg_5), (10, found.ndcg_10)):
            expected = ndcg_score([grades[rows]], [scores[rows]], k=k)
            assert values[i] == pytest.approx(expected)


def test_the_order_of_rows_and_groups_does_not_matter():
    rng = np.random.default_rng(3)
    scores, grades = rng.integers(4, size=60).astype(float), rng.integers(3, size=60).astype(float)
    forward = measure(scores, grades, np.full(6, 10))
    backward = measure(scores[::-1].copy(), grades[::-1].copy(), np.full(6, 10))
    for name, values in forward.by_name().items():
        assert np.allclose(values, backward.by_name()[name][::-1])


def test_bad_input_is_refused():
    with pytest.raises(RankingError, match="3 scores and 2 grades"):
        measure(np.zeros(3), np.zeros(2), np.array([3]))
    with pytest.raises(RankingError, match="not finite"):
        measure(np.array([np.nan, 1.0]), np.array([0.0, 1.0]), np.array([2]))
    with pytest.raises(RankingError, match="0 values"):
        bootstrap_difference(np.empty(0), np.empty(0), np.random.default_rng(0))


def test_a_real_difference_is_above_zero_and_none_is_not():
    rng = np.random.default_rng(1)
    base = rng.random(500)
    better = base + rng.normal(0.05, 0.2, 500)
    found = bootstrap_difference(better, base, np.random.default_rng(2), n=500)
    assert found.low < found.mean < found.high
    assert found.low > 0
    assert found.mean == pytest.approx((better - base).mean())
    same = bootstrap_difference(base, base, np.random.default_rng(2), n=50)
    assert same == (0.0, 0.0, 0.0)


def test_the_interval_is_as_wide_as_the_normal_approximation():
    rng = np.random.default_rng(4)
    difference = rng.normal(0, 1, 2_000)
    found = bootstrap_difference(difference, np.zeros(2_000), rng)
    assert found.high - found.low == pytest.approx(2 * 1.96 / np.sqrt(2_000), rel=0.1)


def test_drawing_users_widens_the_interval_when_their_impressions_are_alike():
    rng = np.random.default_rng(5)
    users = np.repeat(np.array([f"u{i}" for i in range(40)]), 25)
    difference = np.repeat(rng.normal(0, 1, 40), 25)
    zero = np.zeros(1_000)
    alone = bootstrap_difference(difference, zero, np.random.default_rng(6), n=500)
    drawn = bootstrap_difference(difference, zero, np.random.default_rng(6), clusters=users, n=500)
    assert drawn.high - drawn.low > 4 * (alone.high - alone.low)


def test_coverage_of_the_interval_is_near_95_percent():
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(200):
        sample = rng.normal(0.1, 1, 150)
        found = bootstrap_difference(sample, np.zeros(150), rng, n=200)
        hits += found.low <= 0.1 <= found.high
    assert 0.88 <= hits / 200 <= 0.99
