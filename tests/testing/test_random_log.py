"""Random logs hold every accident that they promise."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from recsys.features.profile import AttributeProfile, LogProfile
from recsys.schema import ImpressionEvent, InteractionEvent, ItemEvent, UserEvent
from recsys.testing.random_log import random_log


@pytest.fixture(scope="module")
def log():
    return random_log(np.random.default_rng(5), n_events=600)


def of_kind(log, kind):
    return [visible.event for visible in log if isinstance(visible.event, kind)]


def test_times_tie_and_come_late_and_out_of_order(log) -> None:
    times = Counter(visible.visible_at for visible in log)
    assert max(times.values()) > 1
    assert any(visible.visible_at > visible.event.occurred_at for visible in log)
    order = [visible.visible_at for visible in log]
    assert order != sorted(order)


def test_known_ids_come_again_with_other_contents(log) -> None:
    ids = Counter((type(visible.event), visible.event.event_id) for visible in log)
    assert 20 <= sum(n > 1 for n in ids.values()) <= 40


def test_attributes_change_and_are_missing_and_some_things_are_never_described(log) -> None:
    versions = of_kind(log, ItemEvent)
    assert max(Counter(event.item_id for event in versions).values()) > 2
    assert {len(event.attributes) for event in versions} >= {3, 4, 5}
    shown = {item for event in of_kind(log, ImpressionEvent) for item in event.item_ids}
    acted = {event.item_id for event in of_kind(log, InteractionEvent)}
    assert (shown | acted) - {event.item_id for event in versions if event.event_id[0] == "f"}
    assert len({event.user_id for event in of_kind(log, UserEvent)}) > 3


def test_visits_request_attributes_values_and_nobody_in_particular_occur(log) -> None:
    impressions, interactions = of_kind(log, ImpressionEvent), of_kind(log, InteractionEvent)
    assert {event.session_id == "" for event in impressions} == {True, False}
    assert {"query" in event.context for event in impressions} == {True, False}
    assert {event.value is None for event in interactions} == {True, False}
    assert "" in {event.user_id for event in interactions}


def test_it_has_the_attributes_of_the_log_that_it_is_like() -> None:
    like = LogProfile(
        items={"weight": AttributeProfile("number", 9, 9, 9, 0)}, event_types={"listen": 3}
    )
    log = random_log(np.random.default_rng(1), like)
    assert set().union(*(event.attributes for event in of_kind(log, ItemEvent))) == {"weight"}
    assert {event.type for event in of_kind(log, InteractionEvent)} == {"listen"}


def test_the_same_seed_gives_the_same_log() -> None:
    first, second = (random_log(np.random.default_rng(3)) for _ in range(2))
    assert first == second
