"""Evaluations of small worlds: what is measured on what, and who must win."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from recsys.cli.evaluate import print_evaluation
from recsys.config import Config
from recsys.evaluation.report import evaluate, n_with_text
from recsys.evaluation.requests import Shown
from recsys.evaluation.segments import segment_rows
from recsys.evaluation.tables import Measured
from recsys.events.snapshot import read_snapshot, snapshot_of
from recsys.schema import (
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
    UserEvent,
    VisibleEvent,
)
from recsys.testing.worlds import TopicWorld, topic_world, without_impressions
from recsys.training.dataset import make_dataset
from recsys.workspace import Workspace
from tests.conftest import SMALL, trained


def test_a_log_with_impressions_is_measured_on_what_was_shown(plain_workspace: Workspace) -> None:
    found = evaluate(plain_workspace, read_snapshot(plain_workspace.log_config))
    assert (found.protocol, found.candidates, found.n_unreachable) == ("standard", "shown", 0)
    assert set(found.rankings) == {
        *("random", "shown_order", "click_rate", "without_text", "full", "full_frozen")
    }
    metrics = {"auc", "mrr", "ndcg@5", "ndcg@10", "recall@10", "hit@10"}
    assert all(set(ranking) == metrics for ranking in found.rankings.values())
    assert set(found.differences) == set(found.rankings) - {"without_text"}
    assert set(found.differences_to["click_rate"]) == set(found.rankings) - {"click_rate"}
    mean, low, high = found.differences["random"]["auc"]
    difference = found.rankings["random"]["auc"] - found.rankings["without_text"]["auc"]
    assert mean == pytest.approx(difference)
    assert low <= mean <= high < 0
    assert found.beyond_accuracy == {}
    assert found.n_with_text == 0
    assert set(found.segments) == {"new_users", "new_items", "new_items_alone"}


def test_what_rules_make_of_a_ranking_is_measured_beside_it(plain_workspace, capsys) -> None:
    settings = {"at_most": {"attribute": "tags", "items": 1, "places": 8}}
    config = Config(**{**plain_workspace.config.model_dump(), "settings": settings})
    workspace = replace(plain_workspace, config=config)
    found = evaluate(workspace, read_snapshot(workspace.log_config))
    plain = evaluate(plain_workspace, read_snapshot(plain_workspace.log_config))
    assert found.rankings["full"] == plain.rankings["full"]
    # What users of this world want is of one topic: variety is bought.
    mean, low, high = found.differences_to["full"]["by_rules"]["ndcg@10"]
    assert low <= mean <= high < 0
    before = plain.rankings["full"]["ndcg@10"]
    assert found.rankings["by_rules"]["ndcg@10"] == pytest.approx(before + mean)
    assert set(found.beyond_accuracy) == set(found.rankings)
    print_evaluation(found)
    printed = " ".join(capsys.readouterr().out.split())
    assert "the same, by the rules - ranker with text, nDCG@10: -0." in printed


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    events = without_impressions(topic_world(n_users=30, n_items=40, n_lists=8).events)
    world = TopicWorld(events, {}, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')
        configuration = SMALL + "\n[evaluation]\nrequests = 40\n"
        return trained(tmp_path_factory.mktemp("shop"), world, configuration)


def test_a_log_without_impressions_is_ranked_against_the_whole_catalogue(shop: Workspace) -> None:
    snapshot = read_snapshot(shop.log_config)
    found = evaluate(shop, snapshot)
    assert (found.candidates, found.n_requests) == ("catalogue", 40)
    assert set(found.rankings) == {
        *("random", "click_rate", "recent_popularity", "without_text", "full", "full_frozen")
    }
    assert found.rankings["full"]["auc"] > found.rankings["click_rate"]["auc"] + 0.1
    assert found.rankings["random"]["recall@10"] == pytest.approx(10 / 40, abs=0.1)
    assert found.beyond_accuracy["full"]["coverage@10"] > 0.3
    again = evaluate(shop, snapshot)
    assert again == found


class _Text:
    of_text = True

    def item_vectors(self) -> np.ndarray:
        return np.array([[0.6, 0.8], [0.0, 0.0], [1.0, 0.0]], dtype=np.float32)


def test_items_that_a_text_model_can_read_are_counted() -> None:
    def scorer(**models: object) -> SimpleNamespace:
        return SimpleNamespace(
            plan=SimpleNamespace(models=models), contents=SimpleNamespace(models=models)
        )

    assert n_with_text(scorer(text=_Text())) == 2
    assert n_with_text(scorer(together=object())) == 0


def _visible(*events: ItemEvent | ImpressionEvent | InteractionEvent) -> list[VisibleEvent]:
    return [VisibleEvent(event, event.occurred_at) for event in events]


def _shown(at: int, user: str, items: str, clicked: str) -> list[VisibleEvent]:
    key = f"{at}-{user}"
    clicks = [InteractionEvent(f"{key}-{i}", at + 1, user, i, "click", key) for i in clicked]
    return _visible(ImpressionEvent(key, at, user, list(items), key), *clicks)


def test_segments_are_who_and_what_is_new() -> None:
    events = [
        *_visible(*(ItemEvent(f"v-{item}", 1, item) for item in "abcdn")),
        *_shown(10, "old", "abcd", "abc"),
        *_shown(20, "young", "abcd", "ab"),
        *_shown(30, "old", "anbd", "an"),
        *_shown(40, "young", "cd", "c"),
    ]
    dataset = make_dataset(snapshot_of(events), Config())
    test = dataset.labelled.part(2, 4)
    found = segment_rows(test, dataset.reader)
    assert found["new_users"].tolist() == [False] * 4 + [True] * 2
    assert found["new_items_alone"].tolist() == [False, True, False, False, False, False]
    # Of the first list: the new item, which was clicked, and the two that were not.
    assert found["new_items"].tolist() == [False, True, True, True, False, True]


def test_parts_are_measured_like_the_whole_and_segments_on_their_rows() -> None:
    dataset = make_dataset(snapshot_of(topic_world(n_users=10).events), Config())
    test = dataset.labelled
    scores = np.random.default_rng(0).random(len(test.grades))
    rankings = {"without_text": scores, "click_rate": -scores}
    whole, parts, even = Measured(), Measured(), Measured()
    whole.add(test, rankings)
    requests = Shown(test)
    assert len(list(requests.chunks(100))) > 3
    for number, part in enumerate(requests.chunks(100)):
        start = sum(len(p.grades) for p in list(requests.chunks(100))[:number])
        mine = {n: s[start : start + len(part.grades)] for n, s in rankings.items()}
        parts.add(part, mine)
        even.add(part, mine, np.arange(start, start + len(part.grades)) % 2 == 0)
    rng = np.random.default_rng
    assert whole.table(rng(1)) == parts.table(rng(1))
    assert 0 < even.table(rng(1)).n_measured <= parts.table(rng(1)).n_measured
    assert Measured().table(rng(1)).n_measured == 0


def test_lists_of_people_without_an_id_are_resampled_by_visit_or_one_by_one() -> None:
    dataset = make_dataset(snapshot_of(topic_world(n_users=12).events), Config())
    test = dataset.labelled
    scores = np.random.default_rng(0).random(len(test.grades))
    nobody = np.full(len(test.slates), -1, dtype=np.int32)
    visits = tuple(f"visit {user}" for user in test.slates.users.tolist())
    one = np.zeros(len(test.slates), dtype=np.int32)
    widths = []
    for users, sessions in ((test.slates.users, ()), (nobody, visits), (nobody, ()), (one, ())):
        slates = replace(test.slates, users=users, sessions=sessions)
        measured = Measured()
        measured.add(replace(test, slates=slates), {"without_text": scores, "click_rate": -scores})
        _, low, high = measured.table(np.random.default_rng(1)).differences["click_rate"]["auc"]
        widths.append(high - low)
    named, by_visit, one_by_one, of_one_user = widths
    assert by_visit == pytest.approx(named, rel=0.2)
    assert one_by_one > 0
    assert of_one_user == pytest.approx(one_by_one, rel=0.2)


def test_all_of_a_log_may_be_new(tmp_path: Path) -> None:
    events = [*_visible(ItemEvent("v", 1, "a")), *_shown(10, "u", "ab", "a")]
    dataset = make_dataset(snapshot_of(events), Config())
    found = segment_rows(dataset.labelled, dataset.reader)
    assert all(rows.all() for rows in found.values())


def test_values_of_attributes_have_tables_of_their_own(world, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RECSYS_PLUGINS__DISABLED", '["text_interest"]')
    events = []
    for number, visible in enumerate(world.events):
        event = visible.event
        if isinstance(event, ImpressionEvent):
            device = ["phone", "tv", "phone"][number % 3]
            event = replace(event, context={"device": device, "odd": [1.0], "rare": str(number)})
        events.append(VisibleEvent(event, visible.visible_at))
    users = sorted({v.event.user_id for v in events if isinstance(v.event, ImpressionEvent)})
    events = [
        *(VisibleEvent(UserEvent(f"u-{u}", 1, u, {"country": "fr"}), 1) for u in users[::2]),
        *events,
    ]
    segments = (
        '\n[evaluation]\nsegments = ["context.device", "user.country", "context.odd", "%s"]\n'
    )
    configuration = SMALL + segments % "context.rare"
    workspace = trained(tmp_path / "w", TopicWorld(events, {}, {}), configuration)
    found = evaluate(workspace, read_snapshot(workspace.log_config))
    by_value = {name: table for name, table in found.segments.items() if " = " in name}
    assert list(by_value) == [
        "context.device = phone",
        "context.device = tv",
        "user.country = fr",
    ]
    devices = [by_value[f"context.device = {device}"] for device in ("phone", "tv")]
    assert sum(table.n_measured for table in devices) == found.n_measured
    mean = sum(table.n_measured * table.rankings["full"]["auc"] for table in devices)
    assert mean / found.n_measured == pytest.approx(found.rankings["full"]["auc"])
    assert 0 < by_value["user.country = fr"].n_measured < found.n_measured
    with pytest.raises(ValueError, match="segments"):
        Config(evaluation={"segments": ["item.genre"]})
