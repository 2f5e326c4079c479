"""Compiled trees give LightGBM's scores, to the last bit, also where trees and rows are odd."""

from __future__ import annotations

import re

import lightgbm as lgb
import numpy as np
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import RankingError
from recsys.ranking.checking import compiled_score, probing_rows
from recsys.ranking.compiled import CompiledForest
from recsys.ranking.forest import parse_forest

N_FEATURES = 6


def grow(leaves=15, trees=10, seed=0, categories=(), **parameters) -> str:
    """A model over numbers, numbers that are often missing, counts, zeros and categories."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(3000, N_FEATURES)).astype(np.float32)
    matrix[rng.random(len(matrix)) < 0.4, 1] = np.nan
    matrix[:, 2] = rng.poisson(1.0, len(matrix))
    matrix[:, 3] *= rng.random(len(matrix)) < 0.3
    matrix[:, 4] = rng.integers(0, 70, len(matrix))
    matrix[rng.random(len(matrix)) < 0.1, 4] = np.nan
    filled = np.nan_to_num(matrix, nan=1.5)
    target = filled[:, 0] * filled[:, 1] + filled[:, 2] - (filled[:, 4] % 7 == 3) + filled[:, 3]
    chosen = {"num_leaves": leaves, "verbosity": -1, "seed": seed, "num_threads": 1}
    chosen |= {"min_data_in_leaf": 5, "objective": "regression", **parameters}
    data = lgb.Dataset(
        matrix, label=target, params=chosen, categorical_feature=list(categories) or "auto"
    )
    text = lgb.train(chosen, data, trees).model_to_string()
    # Without the sizes, trees may be changed: LightGBM reads one after another.
    return re.sub(r"(?m)^tree_sizes=.*\n", "", text)


MODELS = {
    "nan missing": {},
    "nan missing, categorical": {"categories": (4,), "cat_smooth": 1.0},
    "zero missing": {"zero_as_missing": True},
    "zero missing, categorical": {"zero_as_missing": True, "categories": (4,)},
    "nothing missing": {"use_missing": False},
    "one-hot categories": {"categories": (4,), "max_cat_to_onehot": 100},
    "17 leaves": {"leaves": 17},
    "64 leaves": {"leaves": 64},
    "65 leaves": {"leaves": 65},
    "300 leaves": {"leaves": 300, "categories": (4,)},
    "stumps": {"leaves": 2},
    "nothing to learn": {"min_data_in_leaf": 2999},
}


@pytest.fixture(scope="module", params=MODELS, ids=str)
def model(request):
    text = grow(**MODELS[request.param])
    forest = parse_forest(text)
    return lgb.Booster(model_str=text), forest, CompiledForest(forest)


def reference(booster, matrix):
    return booster.predict(matrix, num_threads=1, raw_score=True)


@given(seed=st.integers(0, 2**32 - 1), n_rows=st.integers(1, 300))
@settings(max_examples=15, deadline=None)
def test_scores_are_lightgbms_on_rows_made_of_what_decides(model, seed, n_rows):
    booster, forest, compiled = model
    matrix = probing_rows(forest, np.random.default_rng(seed), n_rows)
    assert np.array_equal(compiled.score(matrix), reference(booster, matrix))


bit_patterns = st.integers(0, 2**32 - 1).map(lambda n: np.uint32(n).view(np.float32))


@given(rows=st.lists(st.tuples(*[bit_patterns] * N_FEATURES), min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_scores_are_lightgbms_whatever_bits_a_row_has(model, rows):
    booster, _, compiled = model
    matrix = np.array(rows, dtype=np.float32)
    assert np.array_equal(compiled.score(matrix), reference(booster, matrix))


def test_an_infinite_threshold_parts_numbers_from_missing_values():
    text = re.sub(r"(?m)^(threshold=)\S+", r"\1inf", grow(trees=3), count=3)
    booster, forest = lgb.Booster(model_str=text), parse_forest(text)
    assert np.isinf(forest.thresholds).sum() == 3
    matrix = probing_rows(forest, np.random.default_rng(3), 200)
    assert np.array_equal(CompiledForest(forest).score(matrix), reference(booster, matrix))


def test_thresholds_between_and_beyond_the_floats_compare_as_doubles():
    text = grow(trees=3, leaves=4)
    for odd in ("1.00000001", "-1.00000001", "1e300", "-1e300", "1e-40", "-1e-300"):
        changed = re.sub(r"(?m)^(threshold=)\S+", rf"\g<1>{odd}", text)
        booster, forest = lgb.Booster(model_str=changed), parse_forest(changed)
        matrix = probing_rows(forest, np.random.default_rng(3), 200)
        assert np.array_equal(CompiledForest(forest).score(matrix), reference(booster, matrix))


@pytest.mark.parametrize("n_rows", [0, 1, 31, 32, 33, 128, 129, 1000])
def test_any_number_of_rows_in_any_layout_is_scored(n_rows):
    text = grow(trees=5)
    booster, compiled = lgb.Booster(model_str=text), CompiledForest(parse_forest(text))
    matrix = np.random.default_rng(1).normal(size=(n_rows, N_FEATURES)).astype(np.float32)
    expected = reference(booster, matrix) if n_rows else np.empty(0)
    assert np.array_equal(compiled.score(matrix), expected)
    assert np.array_equal(compiled.score(np.asfortranarray(matrix)), expected)
    assert np.array_equal(compiled.score(matrix[::-1]), expected[::-1])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda t: t.replace("is_linear=0", "is_linear=1"), "linear leaves"),
        (lambda t: t.replace("num_class=1", "num_class=3"), "num_class = 3"),
        (lambda t: t.replace("version=v4", "version=v4\naverage_output"), "averaged"),
        (lambda t: t.replace("left_child=1", "left_child=0", 1), "do not make a tree"),
        (lambda t: t.replace("left_child=1", "left_child=99", 1), "do not make a tree"),
        (lambda t: re.sub(r"leaf_value=\S+ ", "leaf_value=", t, count=1), "other sizes"),
        (lambda t: t.replace("split_feature=", "split_feature=x", 1), "cannot be read"),
        (lambda t: re.sub(r"split_feature=\d+", "split_feature=6", t), "not there"),
        (lambda t: re.sub(r"threshold=\S+", "threshold=nan", t), "no number"),
        (lambda _: "no model", "num_class = None"),
    ],
)
def test_what_is_no_sum_of_plain_trees_is_refused(change, found):
    with pytest.raises(RankingError, match=found):
        parse_forest(change(grow(trees=3)))


def test_a_matrix_of_other_columns_is_refused():
    compiled = CompiledForest(parse_forest(grow(trees=2)))
    with pytest.raises(RankingError, match=r"\(n_rows, 6\)"):
        compiled.score(np.zeros((3, 5), dtype=np.float32))


def test_a_model_that_compiles_to_other_scores_is_left_to_lightgbm_with_a_line_in_the_log():
    text = grow(trees=4)

    def other(matrix):
        return np.full(len(matrix), 7.0)

    with structlog.testing.capture_logs() as lines:
        score = compiled_score(text, other)
    assert score is other
    assert lines[0]["event"] == "ranker_not_compiled"
    assert "scores that differ" in lines[0]["cause"]


def test_a_model_with_linear_leaves_is_left_to_lightgbm():
    booster = lgb.Booster(model_str=grow(trees=2, linear_tree=True))
    with structlog.testing.capture_logs() as lines:
        score = compiled_score(booster.model_to_string(), lambda m: reference(booster, m))
    matrix = np.random.default_rng(1).normal(size=(9, N_FEATURES)).astype(np.float32)
    assert np.array_equal(score(matrix), reference(booster, matrix))
    assert "linear" in lines[0]["cause"]
