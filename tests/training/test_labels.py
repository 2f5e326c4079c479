"""Labels, sampled negatives and the split."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.config import Config, LabelsConfig, SplitConfig
from recsys.errors import TrainingError
from recsys.evaluation.catalogue import find_baskets
from recsys.events.snapshot import snapshot_of
from recsys.features.actions import encode_log
from recsys.features.entities import ANONYMOUS
from recsys.features.naming import first_named
from recsys.features.offline import OfflineReader
from recsys.features.vocabulary import count, last_items
from recsys.schema import Event, ImpressionEvent, InteractionEvent, ItemEvent, VisibleEvent
from recsys.testing.worlds import without_impressions
from recsys.training.dataset import make_dataset
from recsys.training.labels import ATTRIBUTION_US, ImpressionLabels
from recsys.training.negatives import sampled_slates
from recsys.training.split import split_by_time


def labelled(*events):
    labels = ImpressionLabels(LabelsConfig())
    snapshot = snapshot_of([VisibleEvent(event, event.occurred_at) for event in events])
    encode_log(snapshot, watch=[labels])
    return labels.labelled()


def shown(at: int, *items: str, event_id: str = "p", user: str = "u") -> ImpressionEvent:
    return ImpressionEvent(event_id, at, user, list(items), event_id)


def done(at: int, item: str, kind: str, impression: str = "p") -> InteractionEvent:
    return InteractionEvent(f"{kind}-{item}-{at}", at, "u", item, kind, impression)


def test_the_largest_grade_of_what_was_done_wins() -> None:
    found = labelled(
        shown(1, "a", "b", "c"),
        done(2, "b", "purchase"),
        done(3, "b", "click"),
        done(4, "c", "wink"),
    )
    assert found.grades.tolist() == [0.0, 5.0, 1.0]


def test_few_stars_are_no_positive_where_a_least_value_is_set() -> None:
    labels = LabelsConfig(least_value={"rating": 4.0})
    events = [shown(1, "a", "b", "c"), done(3, "c", "rating")]
    for at, (item, stars) in enumerate({"a": 3.5, "b": 4.0}.items(), start=4):
        events.append(InteractionEvent(f"r{at}", at, "u", item, "rating", "p", value=stars))
    snapshot = snapshot_of([VisibleEvent(event, event.occurred_at) for event in events])
    graded = ImpressionLabels(labels)
    encode_log(snapshot, watch=[graded])
    assert graded.labelled().grades.tolist() == [0.0, 1.0, 1.0]

    again = [InteractionEvent(f"s{at}", at, "v", item, "rating", value=1.0 + 3 * (item == "b"))
             for at, item in ((10, "a"), (11, "b"))]  # fmt: skip
    alone = encode_log(snapshot_of([VisibleEvent(e, e.occurred_at) for e in events[1:] + again]))
    aims = find_baskets(alone, labels, 0)
    assert [alone.items.ids[row] for row in aims.items] == ["c", "b", "b"]
    found = sampled_slates(alone, labels, SplitConfig(), np.random.default_rng(1))
    assert [alone.items.ids[row] for row in found.slates.items[found.grades > 0]] == ["b"]


def test_an_item_shown_twice_in_a_list_is_one_candidate() -> None:
    found = labelled(shown(1, "a", "b", "a"), done(2, "a", "click"))
    assert found.slates.sizes.tolist() == [2]
    assert found.grades.tolist() == [2.0, 0.0]


def test_an_interaction_that_names_no_list_belongs_to_the_last_that_showed_the_item() -> None:
    found = labelled(
        shown(10, "a", "b", event_id="p1"),
        shown(20, "b", "c", event_id="p2"),
        done(25, "b", "click", impression=""),
        done(26, "a", "click", impression=""),
        done(21 + ATTRIBUTION_US, "c", "click", impression=""),
    )
    assert found.grades.tolist() == [2.0, 0.0, 2.0, 0.0]


def test_lists_too_young_to_have_been_acted_on_are_left_out() -> None:
    second = 1_000_000
    events = [
        *(shown(n * second, "a", "b", event_id=f"p{n}") for n in range(1, 11)),
        done(10 * second, "a", "click", "p10"),
    ]
    log = snapshot_of([VisibleEvent(event, event.occurred_at) for event in events])

    def n_lists(wait_s: float) -> int:
        config = Config(labels={"wait_s": wait_s})
        return len(make_dataset(log, config).labelled.slates)

    assert [n_lists(wait_s) for wait_s in (0, 0.5, 3, 9)] == [10, 9, 7, 1]
    with pytest.raises(TrainingError, match=r"labels\.wait_s: no list that was shown 20 s"):
        n_lists(20)


def test_only_lists_with_both_labels_teach_an_order() -> None:
    found = labelled(
        shown(1, "a", "b", event_id="p1"),
        shown(2, "a", "b", event_id="p2"),
        shown(3, "a", event_id="p3"),
        done(4, "a", "click", "p2"),
        done(4, "a", "click", "p3"),
    )
    assert found.informative().tolist() == [False, True, False]
    assert len(found.where(found.informative()).slates) == 1


def test_candidates_were_known_before_and_some_of_them_had_no_past(world) -> None:
    snapshot = snapshot_of(without_impressions(world.events))
    log = encode_log(snapshot)
    found = sampled_slates(log, LabelsConfig(), SplitConfig(), np.random.default_rng(1))
    assert found.sampled
    assert found.informative().all()
    late = found.slates.spread(found.slates.as_of)
    assert (first_named(log, "items")[found.slates.items] < late).all()
    first_action = np.full(len(log.items.ids), np.iinfo(np.int64).max)
    np.minimum.at(first_action, log.actions.items, log.actions.occurred)
    no_past = first_action[found.slates.items] >= late
    assert no_past[found.grades > 0].any()
    assert no_past[found.grades == 0].any()
    assert (np.diff(found.slates.as_of) >= 0).all()


def test_what_was_done_in_the_visit_before_is_known_to_who_learns() -> None:
    events: list[Event] = [ItemEvent(item, 1, item) for item in "abcd"]
    for at, visit in ((10, "s"), (20, "s"), (30, "t"), (40, "")):
        click = InteractionEvent(f"{at}", at, "u", "a", "click", session_id=visit)
        events.append(click)
    log = encode_log(snapshot_of([VisibleEvent(event, event.occurred_at) for event in events]))
    found = sampled_slates(log, LabelsConfig(), SplitConfig(), np.random.default_rng(1)).slates
    assert found.sessions == ("s", "s", "t", "")
    in_visit = OfflineReader(log).read(count("n", "*", by="session"), found)
    assert in_visit[found.offsets[:-1]].tolist() == [0, 1, 0, 0]
    plain = encode_log(snapshot_of([VisibleEvent(done(5, "a", "click", ""), 5)]))
    assert plain.visitors.session_ids(plain.actions.visitors) == ()


def test_who_is_not_named_is_the_visit() -> None:
    events: list[Event] = [ItemEvent(item, 1, item) for item in "abcd"]
    for at, item, visit in ((10, "a", "s"), (20, "b", "s"), (20, "c", "t"), (30, "d", "")):
        click = InteractionEvent(f"{at}{visit}", at, "", item, "click", session_id=visit)
        events.append(click)
    log = encode_log(snapshot_of([VisibleEvent(event, event.occurred_at) for event in events]))
    found = sampled_slates(log, LabelsConfig(), SplitConfig(), np.random.default_rng(1)).slates
    assert found.sessions == ("s", "s", "t")
    assert found.users.tolist() == [ANONYMOUS] * 3
    past = OfflineReader(log).histories(last_items("past", "*", n=2), found)
    assert [log.items.item_id(row) for row in past.versions[:, 0] if row >= 0] == ["a"]
    assert (past.types >= 0).sum(axis=1).tolist() == [0, 1, 0]


def test_interactions_of_nobody_at_all_teach_nothing() -> None:
    click = InteractionEvent("e", 10, "", "a", "click")
    with pytest.raises(TrainingError, match=r"1 interactions, none with a user or a session"):
        make_dataset(snapshot_of([VisibleEvent(click, 10)]), Config())


def test_what_no_event_had_named_before_is_no_candidate() -> None:
    events = [done(at, item, "purchase") for at, item in ((1, "a"), (2, "b"), (3, "a"), (4, "c"))]
    log = encode_log(snapshot_of([VisibleEvent(event, event.occurred_at) for event in events]))
    split = SplitConfig(negatives=50)
    found = sampled_slates(log, LabelsConfig(), split, np.random.default_rng(1))
    assert [log.items.ids[row] for row in found.slates.items[found.grades > 0]] == ["a"]


@pytest.mark.parametrize(("popular", "low", "high"), [(0.0, 0.4, 0.6), (1.0, 0.85, 0.95)])
def test_negatives_follow_popularity_as_far_as_they_are_told(popular, low, high) -> None:
    before = [done(at, "a" if at % 10 else "b", "purchase") for at in range(1, 1_000)]
    later = [done(at, "c", "purchase") for at in range(1_000, 1_400)]
    events = [VisibleEvent(event, event.occurred_at) for event in before + later]
    log = encode_log(snapshot_of(events))
    split = SplitConfig(negatives=1, popular_negatives=popular)
    found = sampled_slates(log, LabelsConfig(), split, np.random.default_rng(1))
    of_c = (found.slates.spread(found.slates.as_of) > 1_000) & (found.grades == 0)
    drawn = np.array(log.items.ids)[found.slates.items[of_c]]
    assert len(drawn) > 100
    assert low < (drawn == "a").mean() < high


@pytest.mark.parametrize(("most", "n_drawn"), [(90, 90), (10, 60), (1_000, 600)])
def test_a_list_of_many_positives_draws_no_more_than_it_may(most, n_drawn) -> None:
    items = [ItemEvent(f"i{n}", 1, f"i{n}") for n in range(300)]
    basket = [
        InteractionEvent(f"{at}-{n}", at, "u", f"i{n}", "purchase")
        for at in (10, 20)
        for n in range(30)
    ]
    log = encode_log(snapshot_of([VisibleEvent(e, e.occurred_at) for e in [*items, *basket]]))
    split = SplitConfig(negatives=20, max_negatives=most)
    found = sampled_slates(log, LabelsConfig(), split, np.random.default_rng(1))
    positives = found.grades > 0
    assert positives.sum() == 60
    assert n_drawn / 3 < (~positives).sum() / 2 < n_drawn  # some come twice, or are positives
    # An item that nobody acted on is drawn evenly or not at all.
    acted_on = log.actions.items[log.actions.occurred == 10]
    never = ~np.isin(found.slates.items, acted_on)
    never &= found.slates.spread(found.slates.as_of) == 20
    assert found.log_q[never] == pytest.approx(np.log(1 - (1 - 1 / 300) ** (n_drawn / 2)))


@pytest.mark.parametrize("popular", [0.0, 0.5, 1.0])
def test_log_q_is_how_often_an_item_is_drawn(popular) -> None:
    before = [done(at, "abbb"[at % 4], "purchase") for at in range(1, 101)]
    events = [*before, done(101, "c", "purchase"), done(102, "d", "purchase")]
    events += [ItemEvent("i", 1, "e", {}), done(103, "d", "purchase")]
    log = encode_log(snapshot_of([VisibleEvent(e, e.occurred_at) for e in events]))
    split = SplitConfig(negatives=2, popular_negatives=popular)
    # Nothing was ever done with e.
    drawn, expected = dict.fromkeys("abce", 0), dict.fromkeys("abce", 0.0)
    for seed in range(2_000):
        found = sampled_slates(log, LabelsConfig(), split, np.random.default_rng(seed))
        of_last = found.slates.spread(found.slates.as_of) == 103
        for item, log_q in zip(found.slates.items[of_last], found.log_q[of_last], strict=True):
            name = log.items.ids[item]
            if name != "d":
                drawn[name] += 1
                expected[name] = float(np.exp(log_q))
    for name in "abce":
        assert drawn[name] / 2_000 == pytest.approx(expected[name], abs=0.04), name


def test_what_was_never_drawn_has_a_finite_log_q(world) -> None:
    log = encode_log(snapshot_of(without_impressions(world.events)))
    split = SplitConfig(popular_negatives=1.0)
    found = sampled_slates(log, LabelsConfig(), split, np.random.default_rng(1))
    assert np.isfinite(found.log_q).all()
    assert found.log_q.max() <= 0


def test_the_same_seed_draws_the_same_negatives(world) -> None:
    snapshot = snapshot_of(without_impressions(world.events))
    one, two = (make_dataset(snapshot, Config()).labelled for _ in range(2))
    assert (one.slates.items == two.slates.items).all()


def test_slices_are_in_time_order(world) -> None:
    dataset = make_dataset(snapshot_of(world.events), Config())
    split = split_by_time(dataset.labelled, SplitConfig())
    assert split.train_end == round(0.7 * split.n_requests)
    assert split.windows(4)[-1] == split.train_end
    assert (np.diff(dataset.labelled.slates.as_of) >= 0).all()


def test_a_log_that_teaches_nothing_is_an_error_that_says_so() -> None:
    with pytest.raises(TrainingError, match="0 of 1 lists have items acted on and items not"):
        split_by_time(labelled(shown(1, "a")), SplitConfig())
    with pytest.raises(TrainingError, match="1 impressions and no interactions"):
        make_dataset(snapshot_of([VisibleEvent(shown(1, "a"), 1)]), Config())


@pytest.mark.parametrize(
    ("shares", "reason"),
    [
        ({"train": 0.001, "validation": 0.1}, "train slice: none of 0 lists"),
        ({"train": 0.79, "validation": 0.0001}, "validation slice: none of 0 lists"),
        ({"train": 0.9, "validation": 0.0999}, "test slice: none of 0 lists"),
    ],
)
def test_a_slice_without_a_list_to_learn_from_is_named(shares, reason) -> None:
    events = [shown(10 * at, "a", "b", event_id=f"p{at}") for at in range(40)]
    clicks = [done(10 * at + 1, "a", "click", f"p{at}") for at in range(40)]
    found = labelled(*events, *clicks)
    assert split_by_time(found, SplitConfig()).train_end == 28
    with pytest.raises(TrainingError, match=f"{reason} has items acted on.*larger share"):
        split_by_time(found, SplitConfig(**shares))


def test_a_slice_in_which_nothing_was_done_is_named() -> None:
    events = [shown(10 * at, "a", "b", event_id=f"p{at}") for at in range(40)]
    clicks = [done(10 * at + 1, "a", "click", f"p{at}") for at in range(40) if at < 28]
    with pytest.raises(TrainingError, match="validation slice: none of 4 lists"):
        split_by_time(labelled(*events, *clicks), SplitConfig())


def test_shares_that_leave_nothing_to_test_on_are_refused() -> None:
    with pytest.raises(ValueError, match=r"add up to 1\.2, which leaves nothing to test on"):
        SplitConfig(train=0.8, validation=0.4)
