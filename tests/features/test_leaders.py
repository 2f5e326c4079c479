"""The best items are those that a search through everything finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.features import leaders
from recsys.features.best import best_rows
from recsys.features.leaders import Leaders
from recsys.features.vocabulary import count, decayed_count

COUNTS = count("n", "click", by="item")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("events"), st.lists(st.integers(-1, 11), max_size=6)),
        st.tuples(st.just("items"), st.integers(1, 3)),
        st.tuples(st.just("ask"), st.integers(0, 6)),
    ),
    max_size=25,
)


class Counted:
    """Counts of items; remembers how many were looked at."""

    def __init__(self, n_items: int) -> None:
        self.counts = np.full(n_items, np.nan)
        self.looked_at = 0

    def add(self, items) -> None:
        for item in items:
            if 0 <= item < len(self.counts):
                self.counts[item] = np.nan_to_num(self.counts[item]) + 1

    def read(self, items):
        self.looked_at = len(items)
        return self.counts[items]


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 8), STEPS)
def test_the_best_are_those_of_a_search_through_everything(n_items, steps) -> None:
    known, board = Counted(n_items), Leaders()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaders, "_LEAST_KEPT", 3)
        patch.setattr(leaders, "_MOST_EVENTS", 8)
        for kind, what in steps:
            if kind == "events":
                items = np.array([i for i in what if i < len(known.counts)], dtype=np.int32)
                known.add(items)
                board.add(items)
            elif kind == "items":
                known.counts = np.concatenate([known.counts, np.full(what, np.nan)])
            else:
                found = board.best(COUNTS, what, len(known.counts), known.read)
                assert found.tolist() == best_rows(known.counts, what).tolist()


def test_only_what_may_have_changed_is_looked_at_again() -> None:
    known, board = Counted(50_000), Leaders()
    known.counts[:] = np.arange(50_000)[::-1]
    assert board.best(COUNTS, 3, 50_000, known.read).tolist() == [0, 1, 2]
    assert known.looked_at == 50_000
    board.add(np.array([40_000, 7], dtype=np.int32))
    known.counts[40_000] = 1e6
    assert board.best(COUNTS, 3, 50_000, known.read).tolist() == [40_000, 0, 1]
    assert known.looked_at == 1_001


def test_a_long_list_leaves_nothing_behind() -> None:
    known, board = Counted(50_000), Leaders()
    known.counts[:] = np.arange(50_000)[::-1]
    board.best(COUNTS, 3, 50_000, known.read)
    assert len(board.best(COUNTS, 40_000, 50_000, known.read)) == 40_000
    board.add(np.array([4], dtype=np.int32))
    board.best(COUNTS, 3, 50_000, known.read)
    assert known.looked_at == 1_000


def test_what_was_given_out_may_be_changed() -> None:
    known, board = Counted(5), Leaders()
    known.add([3, 3, 1])
    board.best(COUNTS, 2, 5, known.read)[:] = 0
    board.best(COUNTS, 2, 5, known.read)[:] = 0
    assert board.best(COUNTS, 2, 5, known.read).tolist() == [3, 1]


def test_events_that_arrive_while_somebody_asks_are_not_missed() -> None:
    known, board = Counted(3_000), Leaders()
    known.counts[:] = np.arange(3_000)[::-1]
    board.best(COUNTS, 2, 3_000, known.read)
    board.add(np.array([1], dtype=np.int32))

    def late(items):
        values = known.read(items)
        known.counts[2_999] = 1e6
        board.add(np.array([2_999], dtype=np.int32))
        return values

    board.best(COUNTS, 2, 3_000, late)
    assert board.best(COUNTS, 2, 3_000, known.read).tolist() == [2_999, 0]


@pytest.mark.parametrize(
    "aggregate",
    [
        count("n", "click", by="item", window_s=60.0),
        count("n", "click", by="user*item"),
        decayed_count("n", "click", by="user*item", half_life_s=60.0),
    ],
)
def test_what_may_fall_is_searched_each_time(aggregate) -> None:
    known, board = Counted(3), Leaders()
    known.add([0, 0, 1])
    assert board.best(aggregate, 1, 3, known.read).tolist() == [0]
    known.counts[0] = np.nan
    assert board.best(aggregate, 1, 3, known.read).tolist() == [1]
