"""Rules order a ranked list anew; one that fails, or says nonsense, changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.hookspecs import ListView
from recsys.pipeline.rules import apply_rules


class Fixed:
    def __init__(self, answer, name="fixed"):
        self.name, self.answer = name, answer

    def reorder(self, view):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer(view) if callable(self.answer) else np.array(self.answer)


def view_of(n: int) -> ListView:
    return ListView(np.arange(n, 0.0, -1.0), np.arange(n, dtype=np.int32), n, None, {})


def test_what_a_rule_does_not_name_follows_in_its_order_and_rules_follow_one_another() -> None:
    order, failures = apply_rules([Fixed([3, 1])], view_of(5))
    assert (order.tolist(), failures) == ([3, 1, 0, 2, 4], [])
    # The second rule sees what the first one left: its last candidate is the first's.
    order, _ = apply_rules([Fixed([4]), Fixed(lambda v: np.argsort(v.scores)[:1])], view_of(5))
    assert order.tolist() == [4, 0, 1, 2, 3]
    order, _ = apply_rules([Fixed([4, 3]), Fixed([1])], view_of(5))
    assert order.tolist() == [3, 4, 0, 1, 2]
    assert apply_rules([Fixed(np.zeros(0))], view_of(0))[0].tolist() == []


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ([0, 0], "named a position twice"),
        ([-1], "named positions -1 to -1 of a list of 3"),
        ([0, 3], "named positions 0 to 3 of a list of 3"),
        ([[0, 1]], "shape (1, 2)"),
        ([0.0, 1.0], "returned float64"),
        (ValueError("no"), "ValueError"),
    ],
)
def test_a_rule_that_fails_is_named_and_the_others_go_on(answer, cause) -> None:
    order, failures = apply_rules([Fixed(answer, "bad"), Fixed([2])], view_of(3))
    assert order.tolist() == [2, 0, 1]
    assert [failure.plugin for failure in failures] == ["bad"]
    assert cause in failures[0].cause
