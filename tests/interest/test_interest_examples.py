"""What the model learns from holds nothing of the future, and no more than it needs."""

from __future__ import annotations

import dataclasses

import numpy as np
from interest_world import batch_of, histories, topic_items, topic_view

from recsys.interest.catalogue import Template, extend, no_versions
from recsys.interest.examples import build_examples
from recsys.interest.numbers import no_scale
from recsys.interest.reading import read_past

TEMPLATE = Template((("title",), ("tags",)), no_scale())


def catalogue(items):
    return extend(no_versions(TEMPLATE), {}, items, TEMPLATE).versions


def test_what_was_acted_on_is_not_passed_over_even_in_another_version():
    items = topic_items(8)
    items.item_id = lambda row: f"item{row % 4}"
    versions = catalogue(items)
    # Row 5 is a later version of the item of row 1.
    liked, passed_over = read_past(histories([[5]], 2), histories([[1, 2, 3]], 4), versions)
    assert liked.rows[0].tolist() == [5, -1]
    assert passed_over.rows[0].tolist() == [-1, 2, 3, -1]


def test_click_rates_come_from_earlier_lists_only(tmp_path):
    items = topic_items(4)
    view = topic_view(topic_items(40), 1, tmp_path, range(40))
    batch = batch_of([([0, 1], [], [])] * 3)
    last_flipped = ([1, 0, 1, 0, 1, 0], [1, 0, 1, 0, 0, 1])
    first, second = (
        build_examples(
            dataclasses.replace(view, items=items, batch=batch, grades=np.array(g, np.float32)),
            catalogue(items),
            1000,
        ).click_rates
        for g in last_flipped
    )
    assert np.array_equal(first, second)
    assert np.allclose(first[0], 0.0)  # log odds of one half, the share of all
    assert first[2, 0] > first[1, 0] > 0 > first[1, 1] > first[2, 1]


def test_long_lists_keep_everything_that_was_acted_on(tmp_path):
    items = topic_items(200)
    view = topic_view(items, 60, tmp_path, range(40))
    batch = batch_of([(np.arange(200), [1], [1, 2])] * 2)
    grades = np.zeros(400, dtype=np.float32)
    grades[[3, 77, 199]] = [1.0, 2.0, 1.0]
    long = dataclasses.replace(view, batch=batch, grades=grades)
    examples = build_examples(long, catalogue(items), 1000)
    assert len(examples) == 1  # nothing was done in the second list
    assert examples.candidates.shape == (1, 64)
    acted_on = examples.targets[0] > 0
    assert sorted(examples.candidates[0][acted_on].tolist()) == [3, 77, 199]
    assert np.isclose(examples.targets.sum(), 1.0)


def test_lists_of_different_lengths_are_padded(tmp_path):
    items = topic_items(40)
    view = topic_view(items, 60, tmp_path, range(40))
    batch = batch_of([([0, 1, 2], [], []), ([3, -1], [0], [0, 1])])
    grades = np.array([1, 0, 0, 0, 1], dtype=np.float32)
    small = dataclasses.replace(view, batch=batch, grades=grades)
    examples = build_examples(small, catalogue(items), 1000)
    assert examples.candidates.tolist() == [[0, 1, 2], [3, -1, -1]]
    assert examples.present.tolist() == [[True, True, True], [True, True, False]]
    assert examples.liked.rows[0].max() == -1


def test_a_log_in_which_nothing_was_passed_over_has_no_such_past(tmp_path):
    items = topic_items(40)
    view = topic_view(items, 60, tmp_path, range(40))
    batch = batch_of([([0, 1], [2], [2]), ([3, 4], [2, 5], [])])
    grades = np.array([1, 0, 0, 1], dtype=np.float32)
    examples = build_examples(
        dataclasses.replace(view, batch=batch, grades=grades), catalogue(items), 1000
    )
    assert [part.shape for part in examples.passed_over] == [(2, 0)] * 3
    assert examples.liked.rows.shape == (2, 10)


def test_of_a_long_span_the_newest_lists_teach_and_all_of_them_count(tmp_path):
    items = topic_items(40)
    view = topic_view(items, 60, tmp_path, range(40))
    whole, newest = (build_examples(view, catalogue(items), most) for most in (1000, 20))
    assert (len(whole) > 50, len(newest)) == (True, 20)
    for name in ("candidates", "targets", "click_rates"):
        assert np.array_equal(getattr(newest, name), getattr(whole, name)[-20:])
    for kind in ("liked", "passed_over"):
        for few, all_of_them in zip(getattr(newest, kind), getattr(whole, kind), strict=True):
            assert np.array_equal(few, all_of_them[-20:])
    assert np.array_equal(newest.rates, whole.rates)
