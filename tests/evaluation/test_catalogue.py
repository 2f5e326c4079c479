"""Whole-catalogue requests hold everything that was known, and nothing that was not."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.config import LabelsConfig
from recsys.evaluation.catalogue import Baskets, Catalogue, find_baskets
from recsys.events.snapshot import snapshot_of
from recsys.features.actions import EncodedLog, encode_log
from recsys.features.entities import ANONYMOUS
from recsys.features.naming import first_named
from recsys.features.offline import OfflineReader
from recsys.features.sessions import Visitors
from recsys.features.vocabulary import count
from recsys.schema import InteractionEvent, ItemEvent, VisibleEvent

LABELS = LabelsConfig(grades={"click": 2.0, "purchase": 5.0, "return": 0.0}, other=1.0)


def _log(*events: ItemEvent | InteractionEvent) -> EncodedLog:
    return encode_log(snapshot_of(VisibleEvent(event, event.occurred_at) for event in events))


def _done(at: int, user: str, item: str, kind: str = "click") -> InteractionEvent:
    return InteractionEvent(f"{at}-{user}-{item}-{kind}", at, user, item, kind)


LOG = _log(
    ItemEvent("v1", 5, "new"),
    _done(10, "u1", "a"),
    _done(20, "u2", "b"),
    _done(30, "u1", "b"),
    _done(30, "u2", "a"),
    _done(30, "u1", "new"),
    _done(30, "u1", "b", "purchase"),
    _done(40, "u1", "unheard of"),
    _done(50, "u2", "a", "return"),
    _done(60, "u1", "unheard of"),
    _done(60, "u1", "a"),
)


def _ids(log: EncodedLog, rows: np.ndarray) -> list[str]:
    return [log.items.ids[row] for row in rows.tolist()]


def _baskets(after: int = 0) -> Baskets:
    return find_baskets(LOG, LABELS, after)


def test_a_basket_is_what_a_user_did_at_one_instant_by_its_best_grade() -> None:
    found = _baskets(30)
    assert found.as_of.tolist() == [30, 30, 40, 60]
    assert [LOG.users.ids[user] for user in found.users.tolist()] == ["u1", "u2", "u1", "u1"]
    graded = dict(zip(_ids(LOG, found.items[:2]), found.grades[:2].tolist(), strict=True))
    assert graded == {"b": 5.0, "new": 2.0}
    assert np.diff(found.offsets).tolist() == [2, 1, 1, 2]


def test_an_item_is_known_from_its_first_event_of_any_kind_on() -> None:
    since = dict(zip(LOG.items.ids, first_named(LOG, "items").tolist(), strict=True))
    assert since == {"new": 5, "a": 10, "b": 20, "unheard of": 40}


def test_candidates_are_all_that_was_known_strictly_before() -> None:
    catalogue = Catalogue(_baskets(30), first_named(LOG, "items"), 100)
    (test,) = catalogue.chunks(1_000)
    lists = np.split(test.slates.items, test.slates.offsets[1:-1])
    assert [set(_ids(LOG, items)) for items in lists] == [
        {"new", "a", "b"},
        {"new", "a", "b"},
        {"new", "a", "b"},
        {"new", "a", "b", "unheard of"},
    ]
    relevant = [
        dict(zip(_ids(LOG, items[grades > 0]), grades[grades > 0].tolist(), strict=True))
        for items, grades in zip(
            lists, np.split(test.grades, test.slates.offsets[1:-1]), strict=True
        )
    ]
    assert relevant == [
        {"new": 2.0, "b": 5.0},
        {"a": 2.0},
        {},
        {"unheard of": 2.0, "a": 2.0},
    ]
    assert catalogue.n_unreachable == 1


@pytest.mark.parametrize("n_rows", [1, 4, 7, 100])
def test_chunks_are_the_whole_in_parts(n_rows: int) -> None:
    catalogue = Catalogue(_baskets(), first_named(LOG, "items"), 100)
    parts = list(catalogue.chunks(n_rows))
    (whole,) = catalogue.chunks(1_000)
    assert all(len(p.slates) == 1 or len(p.grades) <= n_rows for p in parts)
    assert np.array_equal(np.concatenate([p.grades for p in parts]), whole.grades)
    assert np.array_equal(np.concatenate([p.slates.items for p in parts]), whole.slates.items)
    assert sum(len(p.slates) for p in parts) == len(catalogue) == len(_baskets())


def test_a_request_is_of_the_visit_in_which_it_was_made() -> None:
    log = _log(
        ItemEvent("v", 1, "a"),
        *(
            InteractionEvent(f"{at}", at, user, "a", "click", session_id=visit)
            for at, user, visit in ((10, "u", "s"), (20, "u", "s"), (30, "u", "t"), (40, "v", ""))
        ),
    )
    catalogue = Catalogue(find_baskets(log, LABELS, 0), first_named(log, "items"), 10)
    (test,) = catalogue.chunks(100)
    assert test.slates.sessions == ("s", "s", "t", "")
    in_visit = OfflineReader(log).read(count("n", "*", by="session"), test.slates)
    assert in_visit.tolist() == [0, 1, 0, 0]


def test_visits_of_nobody_in_particular_are_told_apart() -> None:
    log = _log(
        ItemEvent("v", 1, "a"),
        *(
            InteractionEvent(f"{at}{visit}", at, "", "a", "click", session_id=visit)
            for at, visit in ((10, "s"), (20, "s"), (20, "t"), (40, ""))
        ),
    )
    catalogue = Catalogue(find_baskets(log, LABELS, 0), first_named(log, "items"), 10)
    (test,) = catalogue.chunks(100)
    assert sorted(test.slates.sessions) == ["s", "s", "t"]
    assert test.slates.users.tolist() == [ANONYMOUS] * 3


def test_few_requests_are_taken_evenly_and_always_the_same() -> None:
    log = _log(*(_done(10 * i, f"u{i % 7}", f"i{i % 5}") for i in range(1, 101)))
    catalogue = Catalogue(find_baskets(log, LABELS, 0), first_named(log, "items"), 10)
    (test,) = catalogue.chunks(10_000)
    assert test.slates.as_of.tolist() == [10 * i for i in range(1, 101, 11)]


def test_an_item_that_features_never_saw_is_out_of_reach() -> None:
    baskets = Baskets(
        users=np.array([0], dtype=np.int32),
        visitors=np.array([-1], dtype=np.int32),
        names=Visitors(),
        as_of=np.array([15]),
        items=np.array([-2, 1], dtype=np.int32),
        grades=np.array([1.0, 1.0], dtype=np.float32),
        offsets=np.array([0, 2]),
    )
    catalogue = Catalogue(baskets, np.array([3, 7]), 10)
    (test,) = catalogue.chunks(10)
    assert (test.slates.items.tolist(), test.grades.tolist()) == ([0, 1], [0.0, 1.0])
    assert catalogue.n_unreachable == 1
