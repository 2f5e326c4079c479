"""What goes together: fitted forward in time, stored, and proposed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from fixed_items import FixedItems
from recsys_plugins import together

from recsys.config import Config
from recsys.events.snapshot import snapshot_of
from recsys.features.models import Histories, ScoringBatch
from recsys.hookspecs import SourceView
from recsys.plugins.loader import LoadedPlugin
from recsys.plugins.registry import ask_plugins
from recsys.training.dataset import make_dataset
from recsys.training.split import split_by_time
from recsys.training.stacking import Stacking


class Catalogue:
    """Items that no event described: they have rows and no versions."""

    def __init__(self, n: int) -> None:
        self.ids = [f"item{row}" for row in range(n)]

    def __len__(self) -> int:
        return 0


def batch_of(requests) -> ScoringBatch:
    rows = np.full((len(requests), 3), -1, dtype=np.int32)
    for request, (_, past) in enumerate(requests):
        rows[request, : len(past)] = past
    ages = rows.astype(np.float32)
    past = Histories(rows, np.full_like(rows, -1), rows.astype(np.int16), ages, ages)
    items = np.concatenate([c for c, _ in requests]).astype(np.int32)
    return ScoringBatch(
        items=items,
        versions=np.full_like(items, -1),
        offsets=np.cumsum([0, *(len(c) for c, _ in requests)]).astype(np.int64),
        histories={"together_last_items": past},
    )


#: Whoever acted on 0 takes 1, whoever acted on 2 takes 3; the first candidate is the one taken.
REQUESTS = [([1, 3], [0]), ([3, 1], [2])] * 10


def view_of(requests, n_items=5):
    grades = np.array([1.0, 0.0] * len(requests), dtype=np.float32)
    return SimpleNamespace(batch=batch_of(requests), grades=grades, items=Catalogue(n_items))


def model():
    return together.TogetherModel(together.Settings())


def test_what_follows_goes_together_whether_an_event_described_it_or_not() -> None:
    fitted = model().fit(view_of(REQUESTS))
    found = fitted.score(batch_of([([1, 3, 4], [0])]))
    assert found[0, 0] > 0.1
    assert found[1].tolist() == [0.0, 0.0, 0.0]
    assert np.isnan(found[2]).all()


def test_going_on_counts_only_what_is_new() -> None:
    batch = batch_of([([1, 3], [0, 2])])
    whole = model().fit(view_of(REQUESTS))
    first = model().fit(view_of(REQUESTS[:7]))
    both = model().fit(view_of(REQUESTS), first)
    assert both.score(batch) == pytest.approx(whole.score(batch))
    assert both.counted.n_requests == len(REQUESTS)


def test_a_stored_model_scores_the_same(tmp_path) -> None:
    fitted = model().fit(view_of(REQUESTS))
    fitted.save(tmp_path)
    loaded = model().load(tmp_path, Catalogue(5))
    batch = batch_of([([1, 3, 4], [0, 2])])
    assert np.array_equal(loaded.score(batch), fitted.score(batch), equal_nan=True)


def test_items_that_come_later_are_unknown_until_the_next_fit() -> None:
    fitted = model().fit(view_of(REQUESTS))
    fitted.refresh()
    assert np.isnan(fitted.score(batch_of([([1], [77])]))).all()


def test_the_source_proposes_what_goes_with_the_last_items() -> None:
    fitted = model().fit(view_of(REQUESTS))
    source = together.recsys_candidate_sources({})[0]
    rows = np.zeros(0, dtype=np.int32)
    past = batch_of([([1], [0])]).histories
    view = SourceView(past, FixedItems(), rows, {"together": fitted})
    assert source.propose(view, 9).tolist() == [1]
    assert source.propose(SourceView(past, FixedItems(), rows, {}), 9).tolist() == []


def test_scores_of_a_span_do_not_know_its_own_events(world) -> None:
    dataset = make_dataset(snapshot_of(world.events), Config())
    profile = dataset.profile
    loaded = LoadedPlugin("together", "test", "", together)
    plan = ask_plugins([loaded], Config(), profile).plan
    split = split_by_time(dataset.labelled, Config().split)
    seen = dataset.labelled.part(0, split.validation_end)
    stacking = Stacking(
        plan, dataset.reader, seen, split, Config().labels, None, 1, lambda *_: None
    )
    scores = stacking.build(4).scores["together_mean"]
    first = int(seen.slates.offsets[split.windows(4)[0]])
    assert np.isnan(scores[:first]).all()
    validation = int(seen.slates.offsets[split.train_end])
    taken = seen.grades[validation:] > 0
    late = scores[validation:]
    assert np.nanmean(late[taken]) > 2 * np.nanmean(late[~taken])


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="lost: unknown key; did you mean last"):
        together.recsys_feature_models({"lost": 3})
