"""Who answers: the main bundle, variants for their share of users, a shadow for nobody."""

from __future__ import annotations

import threading
import time

import grpc
import pytest
from serving_fakes import FakeBundles, FakeEngine, running

from recsys.config import ServingConfig, VariantConfig
from recsys.errors import BundleError
from recsys.schema import InteractionEvent, ItemEvent, VisibleEvent
from recsys.serving.client import Client
from recsys.serving.observer import Observer
from recsys.serving.shadow import agreement_of
from recsys.serving.switch import EngineSwitch, share_of

USERS = [f"user{n}" for n in range(2000)]


def switch_of(engine=None, *versions):
    bundles = FakeBundles(*(versions or ("v1", "v2", "v3", "damaged", "cold", "lame")))
    return EngineSwitch(engine or FakeEngine(), bundles, Observer()), bundles


def eventually(check, timeout_s=5.0):
    end = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_variants_answer_their_share_of_users_and_always_the_same_ones():
    switch, _ = switch_of()
    switch.split({
        "b": VariantConfig(version="v2", share=0.2),
        "c": VariantConfig(version="v3", share=0.1),
    })
    versions = [switch.engine_for(user).model_version for user in USERS]
    assert versions == [switch.engine_for(user).model_version for user in USERS]
    assert versions.count("v2") / len(USERS) == pytest.approx(0.2, abs=0.03)
    assert versions.count("v3") / len(USERS) == pytest.approx(0.1, abs=0.03)
    assert switch.engine_for("").model_version == "v1"


def test_a_user_stays_with_a_variant_when_the_main_bundle_changes():
    switch, _ = switch_of()
    switch.split({"b": VariantConfig(version="v2", share=0.5)})
    mine = next(user for user in USERS if share_of(user) < 0.5)
    switch.activate("v3")
    assert switch.engine_for(mine).model_version == "v2"


def test_shares_beyond_everybody_are_refused():
    variant = {"version": "v", "share": 0.6}
    with pytest.raises(ValueError, match=r"add up to 1\.2"):
        ServingConfig(variants={"a": variant, "b": variant})


def test_a_reply_names_the_variant_that_answered():
    mine = next(user for user in USERS if share_of(user) < 0.5)
    other = next(user for user in USERS if share_of(user) >= 0.5)
    variants = {"b": VariantConfig(version="v2", share=0.5)}
    with running(variants=variants) as (server, _), Client(server.address) as client:
        assert client.rank(mine, ["a"]).model_version == "v2"
        assert client.rank(other, ["a"]).model_version == "v1"
        assert client.recommend(mine).model_version == "v2"


class Elsewhere(FakeEngine):
    """Opens bundles on a state of their own."""

    def with_bundle(self, version):
        return FakeEngine(version)


def test_bundles_beside_take_events_in_whether_they_share_the_state_or_not():
    click = VisibleEvent(InteractionEvent("e", 1, "u", "i", "click"), 1)
    item = VisibleEvent(ItemEvent("v", 2, "i", {}), 2)
    for engine in (FakeEngine(), Elsewhere()):
        switch, _ = switch_of(engine)
        beside = switch.open_beside("b", "v2")
        switch.apply([click, item])
        assert engine.seen([click.event]) == [True]
        assert beside.seen([click.event]) == [True]
        switch.close()


def test_nobody_who_writes_waits_for_new_items_to_be_encoded():
    engine, may_encode, encoded = FakeEngine(), threading.Event(), threading.Event()

    def encode():
        assert may_encode.wait(10)
        if engine.seen([later.event]) == [True]:
            encoded.set()

    engine.catch_up = encode
    item, later = (VisibleEvent(ItemEvent(f"v{n}", n, "i", {}), n) for n in (1, 2))
    switch, _ = switch_of(engine)
    switch.apply([item])
    switch.apply([later])
    assert engine.seen([item.event, later.event]) == [True, True]
    may_encode.set()
    assert encoded.wait(10)
    switch.close()


def test_a_model_that_fails_on_a_new_item_is_told_and_tried_again_with_the_next(capsys):
    engine, tried, item_title = FakeEngine(), threading.Semaphore(0), "secret"

    def fail():
        tried.release()
        raise KeyError(item_title)

    engine.catch_up = fail
    switch, _ = switch_of(engine)
    for n in (1, 2):
        switch.apply([VisibleEvent(ItemEvent(f"v{n}", n, "i", {}), n)])
        assert tried.acquire(timeout=10)
    switch.close()
    output = capsys.readouterr()
    assert "new_items_not_taken_in" in output.out
    assert "secret" not in output.out + output.err


def test_a_bundle_is_tried_before_it_answers_and_refused_when_it_cannot():
    switch, bundles = switch_of()
    switch.activate("v2")
    assert switch.engine.n_warmed == 1
    with pytest.raises(BundleError, match="warm-up failed"):
        switch.activate("cold")
    with pytest.raises(BundleError, match="answered without a leg"):
        switch.activate("lame")
    assert switch.engine.model_version == "v2"
    assert bundles.history == ["v1", "v2"]


def test_a_roll_back_to_a_bundle_that_has_just_answered_loads_nothing():
    switch, _ = switch_of()
    first = switch.engine
    switch.activate("v2")
    switch.roll_back()
    assert switch.engine is first
    assert first.n_caught_up == 1


def test_the_choice_of_others_is_followed_and_a_bad_one_refused_once():
    tried = []

    class Watched(FakeEngine):
        def with_bundle(self, version):
            tried.append(version)
            return super().with_bundle(version)

    switch, bundles = switch_of(Watched())
    switch.follow_store()
    assert tried == []
    bundles.activate("damaged")
    switch.follow_store()
    switch.follow_store()
    assert (switch.engine.model_version, tried) == ("v1", ["damaged"])
    bundles.activate("v2")
    switch.follow_store()
    assert switch.engine.model_version == "v2"


def test_a_running_server_follows_the_store():
    bundles = FakeBundles("v1", "v2")
    with running(bundles=bundles) as (server, _), Client(server.address) as client:
        bundles.activate("v2")
        eventually(lambda: client.rank("u", ["a"]).model_version == "v2")


class Compares(Observer):
    def __init__(self) -> None:
        self.agreements = []

    def compared(self, name, agreement, seconds):
        assert name == "shadow"
        assert seconds > 0
        self.agreements.append(agreement)


def test_a_shadow_answers_for_nobody_and_is_compared():
    observer = Compares()
    shadow = {"shadow": "v2", "shadow_share": 1.0}
    with (
        running(observers=[observer], **shadow) as (server, _),
        Client(server.address) as client,
    ):
        for n in range(5):
            assert client.rank(f"u{n}", ["a", "b"]).model_version == "v1"
            eventually(lambda n=n: len(observer.agreements) > n)
    assert observer.agreements == [1.0] * 5


def test_a_shadow_that_fails_harms_nobody():
    class Fails(FakeEngine):
        def with_bundle(self, version):
            broken = FakeEngine(version, self.state)
            broken.before_rank = lambda query: 1 / 0
            return broken

    observer = Compares()
    shadow = {"shadow": "v2", "shadow_share": 1.0}
    with (
        running(Fails(), observers=[observer], **shadow) as (server, _),
        Client(server.address) as client,
    ):
        assert client.rank("u", ["a"]).item_ids == ["a"]
        eventually(lambda: observer.agreements == [0.0])


def test_agreement_is_the_share_of_the_first_items_that_both_have():
    assert agreement_of(["a", "b"], ["b", "a"]) == 1.0
    assert agreement_of(["a", "b", "c"], ["a", "x"]) == 0.5
    assert agreement_of([], []) == 1.0


def test_a_server_whose_bundle_cannot_answer_does_not_start():
    with pytest.raises(BundleError, match="warm-up failed"), running(FakeEngine("cold")):
        pass


def test_a_server_whose_bundle_lacks_a_part_starts_all_the_same(capsys):
    bundles = FakeBundles("lame", "v2")
    lame = running(FakeEngine("lame"), bundles=bundles)
    with lame as (server, _), Client(server.address) as client:
        assert client.rank("u", ["a"]).item_ids == ["a"]
    assert "starting_degraded" in "".join(capsys.readouterr())


def test_an_unknown_variant_stops_the_start_with_its_name():
    variants = {"b": VariantConfig(version="damaged", share=0.5)}
    with pytest.raises(BundleError, match="damaged"), running(variants=variants):
        pass


def test_requests_go_on_while_variants_and_main_are_exchanged():
    variants = {"b": VariantConfig(version="v2", share=0.5)}
    with running(variants=variants) as (server, _), Client(server.address) as client:
        client.activate("v2")
        client.roll_back()
        with pytest.raises(grpc.RpcError):
            client.activate("damaged")
        assert {client.rank(u, ["a"]).model_version for u in USERS[:50]} == {"v1", "v2"}
