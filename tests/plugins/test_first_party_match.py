"""What a request asks, matched with what items say."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from plugin_world import rich_world
from recsys_plugins import field_match

from recsys.config import Config
from recsys.events.snapshot import snapshot_of
from recsys.features.models import ScoringBatch
from recsys.features.profile import LogProfile
from recsys.plugins.loader import LoadedPlugin
from recsys.plugins.registry import ask_plugins
from recsys.training.dataset import make_dataset
from recsys.training.split import split_by_time
from recsys.training.stacking import Stacking


class Catalogue:
    def __init__(self, *titles: str | None) -> None:
        self.rows = [{"title": title} if title is not None else {} for title in titles]

    def __len__(self) -> int:
        return len(self.rows)

    def attributes(self, version_row: int) -> dict:
        return self.rows[version_row]

    def item_id(self, version_row: int) -> str:
        return f"i{version_row}"


def model(language: str = ""):
    return field_match.FieldMatchModel("query", ("title",), language)


def batch_of(versions, query=None) -> ScoringBatch:
    rows = np.array(versions, dtype=np.int32)
    context = [{"query": query}] if query is not None else ()
    return ScoringBatch(rows, rows, np.array([0, len(rows)]), {}, context)


def test_shared_words_count_and_rare_ones_weigh_more() -> None:
    items = Catalogue("red shoes", "red hat", "red sock", None)
    fitted = model().fit(SimpleNamespace(batch=batch_of([0, 1, 2, 3]), items=items))
    found = fitted.score(batch_of([0, 1, 3, -1], "Red SHOES"))
    assert found[:2, 0].tolist() == [1.0, 0.5]
    assert found[0, 1] > 3 * found[1, 1] > 0
    assert np.isnan(found[2:]).all()


def test_a_request_that_asks_nothing_has_no_match() -> None:
    fitted = model().unfitted(Catalogue("red shoes"))
    assert np.isnan(fitted.score(batch_of([0]))).all()
    assert np.isnan(fitted.score(batch_of([0], "  "))).all()
    assert np.isnan(fitted.score(batch_of([0], 7.0))).all()
    assert fitted.score(batch_of([0], "blue")).tolist() == [[0.0, 0.0]]


def test_stems_match_where_a_language_is_named() -> None:
    items = Catalogue("running shoe")
    assert model().unfitted(items).score(batch_of([0], "runs shoes"))[0, 0] == 0.0
    assert model("english").unfitted(items).score(batch_of([0], "runs shoes"))[0, 0] == 1.0
    with pytest.raises(ValueError, match="language: found 'klingon'; expected one of arabic"):
        field_match.recsys_features(profile_of([]), {"language": "klingon"})


def profile_of(events):
    snapshot = snapshot_of(events)
    return make_dataset(snapshot, Config()).profile if events else LogProfile()


def test_new_items_are_matched_and_a_stored_model_says_the_same(tmp_path) -> None:
    items = Catalogue("red shoes", "blue hat")
    fitted = model().fit(SimpleNamespace(batch=batch_of([0, 1]), items=items))
    fitted.save(tmp_path)
    items.rows.append({"title": "green hat"})
    fitted.refresh()
    loaded = model().load(tmp_path, items)
    batch = batch_of([0, 1, 2], "green hat")
    assert fitted.score(batch)[:, 0].tolist() == [0.0, 0.5, 1.0]
    assert np.array_equal(loaded.score(batch), fitted.score(batch))


def test_query_and_titles_are_found_and_scored_forward_in_time() -> None:
    events = rich_world()
    dataset = make_dataset(snapshot_of(events), Config())
    profile = profile_of(events)
    loaded = LoadedPlugin("field_match", "test", "", field_match)
    plan = ask_plugins([loaded], Config(), profile).plan
    assert plan.names[:2] == ("match_title_share", "match_title_bm25")
    split = split_by_time(dataset.labelled, Config().split)
    seen = dataset.labelled.part(0, split.validation_end)
    stacking = Stacking(
        plan, dataset.reader, seen, split, Config().labels, None, 1, lambda *_: None
    )
    scores = stacking.build(3).scores
    share, bm25 = scores["match_title_share"], scores["match_title_bm25"]
    assert set(np.round(share, 3)) == {0.0, 0.5, 1.0}
    assert ((bm25 > 0) == (share > 0)).all()


def test_a_log_without_queries_has_no_match() -> None:
    assert field_match.recsys_feature_models(LogProfile(), {}) == []
    assert field_match.recsys_features(LogProfile(), {}) == []
