"""Counting pairs and scoring by them, against the plainest way of doing both."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.retrieval import cooccurrence
from recsys.retrieval.cooccurrence import (
    add_pairs,
    count_pairs,
    near_to,
    neighbours,
    no_pairs,
    score,
)

CODES = st.integers(-1, 6)
REQUESTS = st.lists(
    st.tuples(st.lists(CODES, max_size=5, unique=True), st.lists(CODES, min_size=4, max_size=4)),
    min_size=1,
    max_size=6,
)


def arrays(requests):
    chosen = np.array([c for items, _ in requests for c in items], dtype=np.int32)
    offsets = np.cumsum([0, *(len(items) for items, _ in requests)]).astype(np.int64)
    return chosen, offsets, np.array([past for _, past in requests], dtype=np.int32)


def counted_plainly(requests):
    counts = Counter()
    for items, past in requests:
        for place, item in enumerate(items):
            for other in [*dict.fromkeys(past), *items[:place]]:
                if min(item, other) >= 0 and item != other:
                    counts[other << 32 | item] += 1
    return counts


@settings(max_examples=60, deadline=None)
@given(REQUESTS)
def test_pairs_are_those_of_two_loops(requests) -> None:
    found = count_pairs(*arrays(requests))
    assert dict(zip(found.keys.tolist(), found.counts.tolist(), strict=True)) == counted_plainly(
        requests
    )


def test_pairs_counted_in_pieces_are_the_same(monkeypatch) -> None:
    rng = np.random.default_rng(4)
    requests = [
        (rng.permutation(9)[:3].tolist(), rng.permutation(9)[:4].tolist()) for _ in range(50)
    ]
    whole = count_pairs(*arrays(requests))
    monkeypatch.setattr(cooccurrence, "_CHUNK", 40)
    pieces = count_pairs(*arrays(requests))
    two = add_pairs(count_pairs(*arrays(requests[:20])), count_pairs(*arrays(requests[20:])))
    for other in (pieces, two):
        assert other.keys.tolist() == whole.keys.tolist()
        assert other.counts.tolist() == whole.counts.tolist()


@settings(max_examples=40, deadline=None)
@given(REQUESTS)
def test_scores_are_those_of_a_dense_matrix(requests) -> None:
    table = neighbours(count_pairs(*arrays(requests)), 7, most=100)
    dense = np.zeros((7, 7), dtype=np.float32)
    for item in range(7):
        row = slice(table.starts[item], table.starts[item + 1])
        dense[item, table.items[row]] = table.similarities[row]
    assert dense == pytest.approx(dense.T)
    candidates, offsets, histories = arrays(requests)
    found = score(table, candidates, offsets, histories)
    for request, (items, past) in enumerate(requests):
        rows = dense[[p for p in past if p >= 0]]
        for place, item in enumerate(items):
            values = found[offsets[request] + place]
            if item < 0 or not len(rows):
                assert np.isnan(values).all()
            else:
                column = rows[:, item]
                assert values == pytest.approx([column.mean(), column.max(), column[0]], rel=1e-5)


def test_only_the_most_similar_neighbours_are_kept() -> None:
    requests = [([1], [0, -1])] * 5 + [([2], [0, -1])]
    table = neighbours(count_pairs(*arrays(requests)), 3, most=1)
    assert table.items[table.starts[0] : table.starts[1]].tolist() == [1]


def test_nothing_counted_says_nothing_of_known_items() -> None:
    table = neighbours(no_pairs(), 2, most=5)
    history = np.array([[0, -1]], dtype=np.int32)
    found = score(table, np.array([1, -1], dtype=np.int32), np.array([0, 2]), history)
    assert found[0].tolist() == [0.0, 0.0, 0.0]
    assert np.isnan(found[1]).all()


def test_the_neighbours_of_a_past_are_those_that_score() -> None:
    pairs = count_pairs(*arrays([([1, 2], [0, -1, -1, -1]), ([4], [3, -1, -1, -1])]))
    table = neighbours(pairs, 6, 9)
    past = np.array([[0, -1, 3, 5]], dtype=np.int32)
    everything = np.arange(6, dtype=np.int32)
    means = score(table, everything, np.array([0, 6]), past)[:, 0]
    assert near_to(table, past).tolist() == np.flatnonzero(means > 0).tolist() == [1, 2, 4]
    assert near_to(table, np.full((1, 4), -1, dtype=np.int32)).tolist() == []
