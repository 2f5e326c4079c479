"""Seeds stand in front of a past, in both executions, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from recsys.events.snapshot import snapshot_of
from recsys.features.actions import encode_log
from recsys.features.offline import OfflineReader
from recsys.features.online import OnlineState
from recsys.features.seeds import Seeds
from recsys.features.slates import Slates
from recsys.features.vocabulary import count, last_items
from recsys.schema import InteractionEvent, ItemEvent, VisibleEvent

AGGREGATES = [
    last_items("all", "*", n=3),
    last_items("bought", "purchase", n=3),
    last_items("here", "*", n=2, by="session"),
    count("n", "*", by="user"),
]


def log():
    events = [ItemEvent(item, 1, item) for item in "abc"]
    actions = [(10, "a", "view"), (20, "b", "purchase"), (30, "c", "view"), (40, "a", "view")]
    events += [
        InteractionEvent(f"e{at}", at, "u", item, kind, session_id="s")
        for at, item, kind in actions
    ]
    # Named by an action alone: an item row without a version row.
    events.append(InteractionEvent("e50", 50, "v", "d", "view"))
    return encode_log(snapshot_of([VisibleEvent(event, event.occurred_at) for event in events]))


@pytest.fixture(params=["offline", "online"])
def reader(request):
    if request.param == "offline":
        return OfflineReader(log())
    return OnlineState(log(), AGGREGATES)


def asked(reader, *seeds: str) -> Slates:
    slates = Slates(
        users=reader.users.rows(["u", "v"]),
        as_of=np.array([60, 60], dtype=np.int64),
        items=reader.items.rows(["a", "b", "c"]),
        offsets=np.array([0, 2, 3], dtype=np.int64),
        sessions=("s", ""),
    )
    rows = [reader.items.rows(list(ids)) for ids in seeds]
    return replace(slates, seeds=Seeds(rows, "view") if seeds else None)


def names(reader, items) -> list[str]:
    return ["".join(reader.items.ids[i] if i >= 0 else "-" for i in row) for row in items.tolist()]


def test_seeds_come_first_and_the_oldest_fall_off(reader) -> None:
    plain = reader.histories(AGGREGATES[0], asked(reader))
    assert names(reader, plain.items) == ["acb", "d--"]
    found = reader.histories(AGGREGATES[0], asked(reader, "bd", ""))
    assert names(reader, found.items) == ["bda", "d--"]
    assert found.ages_s[0, :2].tolist() == [0.0, 0.0]
    assert found.ages_s[0, 2] > 0
    assert np.isnan(found.values[0, :2]).all()
    view = reader.types.known("view")
    assert found.types[0].tolist() == [view, view, view]
    versions = found.versions[0]
    assert reader.items.item_id(versions[0]) == "b"
    assert versions[1] == -1
    assert np.array_equal(found.versions[1], plain.versions[1])


def test_more_seeds_than_places_and_visits(reader) -> None:
    found = reader.histories(AGGREGATES[2], asked(reader, "abcd", "c"))
    assert names(reader, found.items) == ["ab", "cd"]


def test_pasts_of_other_types_and_counts_know_nothing_of_them(reader) -> None:
    seeded, plain = asked(reader, "c", "c"), asked(reader)
    found = reader.histories(AGGREGATES[1], seeded)
    assert names(reader, found.items) == ["b--", "---"]
    counts = reader.read(AGGREGATES[3], seeded)
    assert np.array_equal(counts, reader.read(AGGREGATES[3], plain), equal_nan=True)


def test_parts_of_a_batch_keep_their_seeds(reader) -> None:
    slates = asked(reader, "a", "bc")
    for part in (slates.part(1, 2), slates.take(np.array([1]))):
        found = reader.histories(AGGREGATES[0], part)
        assert names(reader, found.items) == ["bcd"]
    assert names(reader, reader.histories(AGGREGATES[0], slates.heads()).items) == ["aac", "bcd"]
