"""Lists that are varied: by maximal marginal relevance, and by a limit on one value."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recsys_plugins import at_most, variety

from recsys.config import Config
from recsys.features.profile import LogProfile
from recsys.hookspecs import ListView
from recsys.pipeline.engine import Engine, load_engine
from recsys.pipeline.requests import RankQuery, RecommendQuery
from recsys.testing.contracts import check_plugin


class Vectors:
    columns = ()

    def __init__(self, vectors):
        self.vectors = np.asarray(vectors, dtype=np.float32)

    def item_vectors(self):
        return self.vectors


class Brands:
    def __init__(self, *brands):
        self.brands = brands

    def __len__(self):
        return len(self.brands)

    def attributes(self, version):
        brand = self.brands[version]
        return {} if brand is None else {"brand": brand}


def view_of(scores, versions, *, places=0, items=None, vectors=None) -> ListView:
    return ListView(
        np.asarray(scores, dtype=np.float64),
        np.asarray(versions, dtype=np.int32),
        places or len(scores),
        items,
        {} if vectors is None else {"text": Vectors(vectors)},
    )


def by_definition(scores, vectors, n_places, strength):
    """Place by place, as the book has it."""
    worth = (scores - scores.mean()) / max(scores.std(), 1e-9)
    left, chosen = list(range(len(scores))), []
    while len(chosen) < n_places:
        values = [
            (1 - strength) * worth[i]
            - strength * max([0.0, *(float(vectors[i] @ vectors[j]) for j in chosen)])
            for i in left
        ]
        chosen.append(left.pop(int(np.argmax(values))))
    return chosen


@given(st.integers(1, 12), st.floats(0.0, 0.99), st.integers(0, 2**32 - 1))
def test_maximal_marginal_relevance_is_what_the_definition_says(n, strength, seed) -> None:
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.normal(size=n))[::-1].copy()
    vectors = rng.normal(size=(n, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = variety.mmr(scores, vectors, n, strength)
    assert found.tolist() == by_definition(scores, vectors, n, strength)


def test_what_is_like_the_first_place_steps_back_and_strangers_do_not_matter() -> None:
    rule = variety.Variety(variety.Settings(strength=0.5, places=3, among=4))
    vectors = [[1, 0], [1, 0], [0, 1], [0, 1]]
    # The fourth candidate came this moment and has no vector; the fifth is not among the best four.
    view = view_of([1.0, 0.99, 0.9, 0.2, 0.1], [0, 1, 2, 9, 3], vectors=vectors)
    assert rule.reorder(view).tolist() == [0, 2, 1]
    assert rule.reorder(replace(view, n_places=1)).tolist() == [0]
    assert rule.reorder(replace(view, models={})).tolist() == []
    # Where no event described an item there is no vector at all.
    bare = view_of([1.0, 0.5], [-1, -1], vectors=np.zeros((0, 2)))
    assert rule.reorder(bare).tolist() == []


def test_no_value_has_more_places_than_it_may_while_there_are_others() -> None:
    items = Brands("a", "a", "a", "b", ["a", "c"], None, "a")
    rule = at_most.AtMost(at_most.Settings(attribute="brand", items=2, places=5))
    versions = [0, 1, 2, 3, 4, 5, 6, -1]
    view = view_of(np.arange(8, 0, -1), versions, items=items)
    # An item counts for each of its values; what has none, or is unknown, is not counted.
    assert rule.reorder(view).tolist() == [0, 1, 3, 5, 7]
    assert rule.reorder(replace(view, n_places=2)).tolist() == [0, 1]
    few = at_most.AtMost(at_most.Settings(attribute="brand", items=1, places=8))
    assert few.reorder(view).tolist() == [0, 3, 5, 7]


def test_rules_are_off_until_they_are_asked_for_and_settings_are_checked() -> None:
    profile = LogProfile()
    assert variety.recsys_rules({}) == at_most.recsys_rules(profile, {}) == []
    with pytest.raises(ValueError, match="no attribute 'brand'; expected one of: none"):
        at_most.recsys_rules(profile, {"attribute": "brand"})
    with pytest.raises(ValueError, match=r"strength: found 1\.0"):
        variety.recsys_rules({"strength": 1.0})
    assert check_plugin(variety, settings={"strength": 0.3}).names == ()
    assert check_plugin(at_most, settings={"attribute": "tags"}).names == ()


def engine_with(workspace, **settings) -> Engine:
    config = Config(**{**workspace.config.model_dump(), "settings": settings})
    return load_engine(replace(workspace, config=config))


def test_a_served_list_obeys_and_keeps_all_candidates(plain_workspace, world) -> None:
    plain = load_engine(plain_workspace)
    engine = engine_with(plain_workspace, at_most={"attribute": "tags", "items": 2, "places": 6})
    tags = {e.event.item_id: e.event.attributes["tags"] for e in world.events if is_item(e.event)}
    query = RankQuery("user1", plain.item_ids(), plain.now("log"), explain_top_k=6)
    before, after = plain.rank(query), engine.rank(query)
    assert most_of_one(before.item_ids[:6], tags) > 2
    assert most_of_one(after.item_ids[:6], tags) <= 2
    assert sorted(after.item_ids) == sorted(before.item_ids)
    assert dict(zip(after.item_ids, after.scores, strict=True)) == dict(
        zip(before.item_ids, before.scores, strict=True)
    )
    assert [e.item_id for e in after.explanations] == after.item_ids[:6]
    assert after.item_ids[0] == before.item_ids[0]
    assert not after.warnings
    found = engine.recommend(RecommendQuery("user1", plain.now("log"), top_k=6))
    assert len(found.item_ids) == 6
    assert most_of_one(found.item_ids, tags) <= 2


def is_item(event) -> bool:
    return type(event).__name__ == "ItemEvent"


def most_of_one(item_ids, tags) -> int:
    return max(Counter(tag for i in item_ids for tag in set(tags.get(i, []))).values())
