"""An engine that starts from a saved state and the log's tail is one that reads the whole log."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from recsys.bundle.store import BundleStore
from recsys.events.spool import SpoolWriter, spool_folder
from recsys.pipeline import engine as engines
from recsys.pipeline import opening
from recsys.pipeline.engine import Engine, load_engine
from recsys.pipeline.requests import RankQuery
from recsys.schema import ImpressionEvent, InteractionEvent, ItemEvent, VisibleEvent
from recsys.workspace import Workspace, open_workspace


@pytest.fixture
def workspace(plain_workspace, tmp_path) -> Workspace:
    shutil.copytree(plain_workspace.folder, tmp_path / "w")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')
        return open_workspace(tmp_path / "w")


def scores(engine: Engine) -> list[float]:
    as_of = engine.now("log") + 1_000_000
    found = []
    for user in ("user1", "user2", "somebody new", ""):
        ranked = engine.rank(RankQuery(user, engine.item_ids()[:30], as_of))
        found += [*ranked.scores, *map(hash, ranked.item_ids)]
    return found


def write(workspace: Workspace, events: list[VisibleEvent]) -> None:
    writer = SpoolWriter(spool_folder(workspace.log_config))
    writer.append(events)
    writer.sync()
    writer.close()


def news(engine: Engine) -> list[VisibleEvent]:
    now = engine.last_event_us + 1_000_000
    return [
        VisibleEvent(ItemEvent("v-new", now, "item-new", {"title": "new", "tags": ["x"]}), now),
        VisibleEvent(ImpressionEvent("s", now + 1, "user1", ["item1", "item-new"]), now + 1),
        VisibleEvent(InteractionEvent("c", now + 2, "user1", "item-new", "click", "s"), now + 2),
    ]


def only_from_disk(monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(opening, "StoredLog", refuse)


def test_a_restart_reads_the_tail_alone_and_ranks_as_before(workspace, monkeypatch) -> None:
    before = load_engine(workspace)
    before.save_state()
    events = news(before)
    write(workspace, events)
    bundle = BundleStore(workspace.bundles).open(None)
    whole = Engine(workspace, *opening.open_on_log(workspace, bundle))
    only_from_disk(monkeypatch)
    restarted = load_engine(workspace)
    np.testing.assert_array_equal(scores(restarted), scores(whole))
    assert restarted.seen([event.event for event in events]) == [True, True, True]
    restarted.apply(events)
    np.testing.assert_array_equal(scores(restarted), scores(whole))


def test_an_event_that_was_imported_into_the_past_is_not_missed(workspace, monkeypatch) -> None:
    load_engine(workspace).save_state()
    write(workspace, [VisibleEvent(InteractionEvent("old", 5, "user1", "item1", "click"), 5)])
    assert load_engine(workspace).seen([InteractionEvent("old", 5, "u", "i", "click")]) == [True]
    only_from_disk(monkeypatch)
    with pytest.raises(AssertionError):
        load_engine(workspace)


def test_a_damaged_state_is_passed_over(workspace) -> None:
    engine = load_engine(workspace)
    engine.save_state()
    expected = scores(engine)
    path = Path(workspace.state) / "state.cells"
    path.write_bytes(path.read_bytes()[:-100])
    np.testing.assert_array_equal(scores(load_engine(workspace)), expected)


def test_the_visit_of_a_request_is_the_one_that_it_names(workspace) -> None:
    engine = load_engine(workspace)
    now = engine.last_event_us + 1
    click = InteractionEvent("s1", now, "user1", "item1", "click", session_id="visit-1")
    engine.apply([VisibleEvent(click, now)])
    query = RankQuery("user2", ["item1"], now + 1, session_id="visit-1")
    slates = engine._slates(query, np.zeros(1, dtype=np.int32))
    visitors = engine._live.state.visitors
    assert visitors.find(slates.sessions[0], int(slates.users[0])) == visitors.find("visit-1", -1)


def test_the_first_of_several_leaves_a_state_for_the_others(workspace, monkeypatch) -> None:
    shutil.rmtree(workspace.state, ignore_errors=True)
    load_engine(workspace)
    assert not workspace.state.exists()
    first = load_engine(workspace, for_others=True)
    only_from_disk(monkeypatch)
    assert scores(load_engine(workspace)) == scores(first)


def test_who_had_much_to_catch_up_with_leaves_a_state_for_the_next(workspace, monkeypatch) -> None:
    before = load_engine(workspace)
    before.save_state()
    write(workspace, news(before))
    assert not load_engine(workspace, for_others=True).is_far_ahead
    monkeypatch.setattr(engines, "_LONG_TAIL", 3)
    assert load_engine(workspace).is_far_ahead
    late = load_engine(workspace, for_others=True)
    only_from_disk(monkeypatch)
    following = load_engine(workspace)
    assert not following.is_far_ahead
    assert scores(following) == scores(late)
