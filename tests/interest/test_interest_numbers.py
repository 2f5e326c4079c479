"""Numbers of an item find their place among the catalogue's, and taste learns from them."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from interest_world import ListedItems, batch_of, topic_view

from recsys.interest.numbers import find_scale
from recsys.interest.text import part_fields


def rows(values, name="price"):
    return ListedItems([{"title": "x"} | ({} if v is None else {name: v}) for v in values])


def test_a_number_becomes_its_place_and_a_missing_one_the_middle():
    items = rows([float(i) for i in range(101)])
    scale = find_scale(items)
    found = scale.scaled([{"price": 50.0}, {"price": 0.0}, {"price": 1e9}, {}])[:, 0]
    assert scale.names == ("price",)
    assert np.allclose(found, [0.0, -1.73, 1.73, 0.0], atol=1e-6)


def test_equal_values_share_the_middle_of_their_ranks():
    scale = find_scale(rows([0.0] * 60 + [1.0] * 40))
    low, high = scale.scaled([{"price": 0.0}, {"price": 1.0}])[:, 0]
    assert low < 0 < high


def test_ids_constants_and_rare_numbers_are_no_taste():
    assert find_scale(rows([float(i) for i in range(50)], "item_id")).names == ()
    assert find_scale(rows([7.0] * 50)).names == ()
    assert find_scale(rows([1.0, 2.0] + [None] * 50)).names == ()
    assert find_scale(rows([True, False] * 20)).names == ("price",)


@settings(deadline=None)  # a busy machine says nothing about order
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=30))
def test_order_is_kept_whatever_the_values(values):
    scale = find_scale(rows(values))
    finite = sorted(v for v in values if np.isfinite(v))
    found = scale.scaled([{"price": v} for v in finite])
    assert np.isfinite(found).all()
    assert (np.diff(found, axis=0) >= -1e-6).all()


def test_who_liked_cheap_things_is_offered_cheap_things(recipe, tmp_path):
    rng = np.random.default_rng(3)
    items = ListedItems([
        {"title": f"thing {'abcdefgh'[i % 8]}", "price": float(i // 8)} for i in range(80)
    ])
    cheap = np.arange(80) // 8 < 5
    requests, wanted = [], []
    for _ in range(200):
        likes_cheap = bool(rng.integers(2))
        past = rng.choice(80, 16, replace=False)
        requests.append((rng.choice(80, 8, replace=False), past[cheap[past] == likes_cheap], past))
        wanted.append(likes_cheap)
    view = topic_view(items, 200, tmp_path, range(80))
    batch = batch_of(requests)
    liked = cheap[batch.versions] == np.repeat(wanted, 8)
    view = dataclasses.replace(view, batch=batch, grades=np.where(liked, 2.0, 0.0).astype("f4"))
    model = recipe.fit(view)
    scores = model.score(batch_of([([2, 78], [0, 9, 17, 25], [0, 9, 17, 25, 60, 70, 77])]))
    taste = scores[:, model.columns.index("text_taste")]
    assert taste[0] > taste[1]


def test_the_shortest_fields_share_a_part_when_there_are_many():
    fields = ("title", "kind", "brand", "colour", "makers", "tags", "description")
    assert part_fields(fields) == (
        ("title",),
        ("kind", "brand"),
        ("colour",),
        ("makers",),
        ("tags",),
        ("description",),
    )
    assert part_fields(fields[:2]) == (("title",), ("kind",))
