"""The nearest rows: exactly those of a matrix of few rows, nearly always those of many."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.retrieval import nearest
from recsys.retrieval.nearest import NearestRows

MANY = 2_000


@pytest.fixture
def index_from(monkeypatch):
    monkeypatch.setattr(nearest, "_MANY_ROWS", MANY)
    monkeypatch.setattr(nearest, "_LISTS_READ", 24)


def clustered(n, seed=1, size=16):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((60, size))
    points = centres[rng.integers(0, 60, n)] + 0.7 * rng.standard_normal((n, size))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def exactly(queries, vectors, n):
    best = (queries @ vectors.T).max(axis=0)
    best[~vectors.any(axis=1)] = -np.inf
    return np.argsort(-best, kind="stable")[:n]


def recall(found, expected):
    return len(set(found.tolist()) & set(expected.tolist())) / len(expected)


def test_no_row_without_a_vector_is_found() -> None:
    vectors = np.array([[1, 0], [0, 0], [0, 1], [1, 0]], dtype=np.float32)
    rows = NearestRows()
    assert rows.find(vectors[[0]], vectors[:3], 9).tolist() == [0, 2]
    assert rows.find(vectors[[0]], vectors, 9).tolist() == [0, 3, 2]
    assert rows.find(vectors[[0, 2]], vectors, 2).tolist() == [0, 2]


@pytest.mark.usefixtures("index_from")
def test_of_many_rows_nearly_all_of_the_nearest_are_found_best_first() -> None:
    vectors, rows = clustered(5_000), NearestRows()
    vectors[::7] = 0.0
    queries = clustered(10, seed=2)
    found = rows.find(queries, vectors, 200)
    assert len(np.unique(found)) == 200
    assert vectors[found].any(axis=1).all()
    assert recall(found, exactly(queries, vectors, 200)) > 0.95
    best = (queries @ vectors[found].T).max(axis=0)
    assert (np.diff(best) <= 0).all()
    assert rows.find(queries, vectors, 200).tolist() == found.tolist()


@pytest.mark.usefixtures("index_from")
def test_rows_that_came_later_are_found_before_and_after_the_index_is_outgrown() -> None:
    vectors, rows = clustered(9_000), NearestRows()
    for n in (1_500, 2_500, 2_501, 4_000, 9_000):
        query = vectors[[n - 1]]
        found = rows.find(query, vectors[:n], 20)
        assert found[0] == n - 1
        assert recall(found, exactly(query, vectors[:n], 20)) > 0.9


@pytest.mark.usefixtures("index_from")
def test_what_an_index_cannot_name_is_searched_exactly() -> None:
    vectors, rows = clustered(3_000), NearestRows()
    vectors[40:] = 0.0  # a list that is longer than what can be found
    query = vectors[[3]]
    assert rows.find(query, vectors, 100).tolist() == exactly(query, vectors, 40).tolist()
    everything = clustered(3_000)
    found = NearestRows().find(query, everything, 3_000)
    assert found.tolist() == exactly(query, everything, 3_000).tolist()


@pytest.mark.usefixtures("index_from")
@pytest.mark.parametrize("n_texts", [0, 1, 30])
def test_of_many_rows_hardly_any_may_have_a_vector(n_texts) -> None:
    vectors = clustered(3_000)
    vectors[n_texts:] = 0.0
    query = clustered(1, seed=3)
    assert (
        NearestRows().find(query, vectors, 9).tolist()
        == exactly(query, vectors, n_texts)[:9].tolist()
    )


@pytest.mark.usefixtures("index_from")
def test_an_index_is_made_once(monkeypatch) -> None:
    made = []
    index = nearest._Index
    monkeypatch.setattr(nearest, "_Index", lambda vectors: made.append(1) or index(vectors))
    vectors, rows = clustered(9_000), NearestRows()
    vectors[MANY + 500 :] = 0.0  # most rows have none
    rows.prepare(vectors)
    for n in (8_000, 9_000):
        assert len(rows.find(vectors[[0]], vectors[:n], 20)) == 20
    assert len(made) == 1


@pytest.mark.usefixtures("index_from")
def test_without_faiss_everything_is_looked_at(monkeypatch) -> None:
    monkeypatch.setattr(nearest, "_faiss", lambda: None)
    vectors = clustered(3_000)
    query = vectors[[5, 900]]
    assert NearestRows().find(query, vectors, 50).tolist() == exactly(query, vectors, 50).tolist()
