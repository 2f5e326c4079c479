"""Ranking over a real channel: answers, refusals by field, deadlines and overload."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from serving_fakes import FakeEngine, FakeWriter, running

from recsys.errors import RankingError
from recsys.schema import InteractionEvent, ItemEvent, VisibleEvent
from recsys.serving.client import Client, field_violations
from recsys.serving.observer import Observer
from recsys.v1 import ranking_pb2, ranking_pb2_grpc

RankRequest = ranking_pb2.RankRequest


def engine_with_clicks(*item_ids):
    engine = FakeEngine()
    engine.apply(
        VisibleEvent(InteractionEvent(f"e{n}", n, "u", item_id, "click"), n)
        for n, item_id in enumerate(item_ids)
    )
    return engine


@pytest.fixture(scope="module")
def stub():
    with running(engine_with_clicks("b", "b", "c")) as (_, channel):
        yield ranking_pb2_grpc.RankingServiceStub(channel)


def refused(call, request, timeout=10):
    with pytest.raises(grpc.RpcError) as found:
        call(request, timeout=timeout)
    return found.value


def test_candidates_come_back_best_first(stub):
    response = stub.Rank(RankRequest(request_id="r", user_id="u", item_ids=["a", "b", "c"]))
    assert list(response.item_ids) == ["b", "c", "a"]
    assert list(response.scores) == [2.0, 1.0, 0.0]
    assert (response.request_id, response.model_version) == ("r", "v1")


def test_a_request_is_cut_explained_and_filtered_as_asked(stub):
    request = RankRequest(user_id="u", item_ids=["a", "b", "c", "d"], top_k=2, explain_top_k=1)
    request.exclude_item_ids.append("c")
    request.context.update({"device": "phone"})
    response = stub.Rank(request)
    assert list(response.item_ids) == ["b", "a"]
    [explanation] = response.explanations
    assert (explanation.item_id, explanation.contributions[0].feature) == ("b", "clicks")
    assert list(response.warnings) == ["device is 'phone'"]


BAD = [
    ({"item_ids": []}, "item_ids"),
    ({"item_ids": ["i"] * 10_001}, "item_ids"),
    ({"item_ids": ["fine", "x" * 257]}, "item_ids[1]"),
    ({"item_ids": ["fine", ""]}, "item_ids[1]"),
    ({"item_ids": ["i"], "top_k": -1}, "top_k"),
    ({"item_ids": ["i"], "top_k": 10_001}, "top_k"),
    ({"item_ids": ["i"], "explain_top_k": -5}, "explain_top_k"),
    ({"item_ids": ["i"], "user_id": "u" * 257}, "user_id"),
    ({"item_ids": ["i"], "request_id": "r" * 257}, "request_id"),
    ({"item_ids": ["i"], "exclude_item_ids": ["x" * 257]}, "exclude_item_ids[0]"),
    ({"item_ids": ["i"], "context": {"odd": None}}, "context.odd"),
    *(
        ({"item_ids": ["i", "j"], "candidate_attributes": said}, f"candidate_attributes{place}")
        for said, place in (
            ([{"name": "bid", "numbers": [1.0]}], "[0]"),
            ([{"name": "bid", "numbers": [1.0, 2.0], "texts": ["a", "b"]}], "[0]"),
            ([{"name": "bid", "numbers": [1.0, float("inf")]}], "[0]"),
            ([{"name": "bid", "numbers": [1.0, 2.0]}] * 2, "[1]"),
            ([{"name": "", "numbers": [1.0, 2.0]}], "[0]"),
            ([{"name": "bid"}], "[0]"),
            ([{"name": "bid", "item_ids": ["i"], "numbers": [1.0, 2.0]}], "[0]"),
            ([{"name": f"n{n}", "numbers": [1.0, 2.0]} for n in range(65)], ""),
        )
    ),
]


@pytest.mark.parametrize(("fields", "at_fault"), BAD)
def test_a_bad_request_names_the_field_at_fault(stub, fields, at_fault):
    error = refused(stub.Rank, RankRequest(**fields))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert [field for field, _ in field_violations(error)] == [at_fault]
    assert at_fault in error.details()


def test_all_fields_at_fault_are_named_at_once(stub):
    error = refused(stub.Recommend, ranking_pb2.RecommendRequest(top_k=-1, user_id="u" * 300))
    assert {field for field, _ in field_violations(error)} == {"top_k", "user_id"}


def test_the_largest_allowed_request_is_answered(stub):
    item_ids = [f"{n:0>256}" for n in range(10_000)]
    response = stub.Rank(RankRequest(item_ids=item_ids, exclude_item_ids=item_ids[1:]))
    assert list(response.item_ids) == item_ids[:1]


def test_a_message_that_cannot_be_parsed_is_the_callers_fault():
    with running() as (_, channel):
        rank = channel.unary_unary("/recsys.v1.RankingService/Rank")
        for data in (b"\xff\xff\xff", b"\x1a\x02\xff\xfe", b"\x0a\x7f"):
            error = refused(rank, data)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        stream = channel.stream_stream("/recsys.v1.RankingService/RankStream")
        with pytest.raises(grpc.RpcError) as found:
            list(stream(iter([b"\xff"]), timeout=10))
        assert found.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_that_is_too_large_is_refused(stub):
    error = refused(stub.Rank, RankRequest(item_ids=["i" * 9_000_000]))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("kind", [KeyError, RankingError])
def test_the_text_of_an_unexpected_error_stays_in_the_server(kind, capsys):
    engine = FakeEngine()

    def fail(query):
        raise kind(*["secret of user 4711"] * (3 if kind is RankingError else 1))

    engine.before_rank = fail
    with running(engine) as (_, channel):
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        error = refused(stub.Rank, RankRequest(item_ids=["i"]))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "reference" not in error.details()
    assert "4711" not in error.details() + str(error.trailing_metadata())
    output = capsys.readouterr()
    assert kind.__name__ in output.out
    assert "4711" not in output.out + output.err


def test_what_is_said_of_recommended_items_names_them():
    said = ranking_pb2.CandidateAttribute(name="bid", numbers=[1.0])
    with running() as (_, channel):
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        error = refused(
            stub.Recommend, ranking_pb2.RecommendRequest(user_id="u", candidate_attributes=[said])
        )
        assert field_violations(error) == [
            ("candidate_attributes[0]", "has no item_ids; expected the items that it is of")
        ]
        said.item_ids.append("i")
        stub.Recommend(ranking_pb2.RecommendRequest(user_id="u", candidate_attributes=[said]))


def test_recommend_finds_candidates_by_itself():
    engine = engine_with_clicks("b")
    engine.apply([VisibleEvent(ItemEvent(f"i{i}", 1, i), 10) for i in "abc"])
    with running(engine) as (server, _), Client(server.address) as client:
        ranked = client.recommend("u", top_k=2, exclude_item_ids=["a"])
    assert ranked.item_ids == ["b", "c"]


def test_a_stream_answers_in_order_and_outlives_a_bad_request(stub):
    requests = [
        RankRequest(request_id="1", user_id="u", item_ids=["a", "b"]),
        RankRequest(request_id="2", top_k=-1),
        RankRequest(request_id="3", user_id="u", item_ids=["a", "c"]),
    ]
    messages = (ranking_pb2.RankStreamRequest(request=request) for request in requests)
    first, second, third = stub.RankStream(messages, timeout=10)
    assert list(first.response.item_ids) == ["b", "a"]
    assert second.error.request_id == "2"
    assert second.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert [v.field for v in second.error.violations] == ["top_k", "item_ids"]
    assert list(third.response.item_ids) == ["c", "a"]


def test_a_stream_outlives_a_request_that_breaks_the_engine():
    engine = FakeEngine()

    def fail_for_one(query):
        if query.user_id == "breaks":
            raise KeyError(query.user_id)

    engine.before_rank = fail_for_one
    messages = [
        ranking_pb2.RankStreamRequest(request=RankRequest(user_id=user_id, item_ids=["a"]))
        for user_id in ("u", "breaks", "u")
    ]
    with running(engine) as (_, channel):
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        first, second, third = stub.RankStream(iter(messages), timeout=10)
    assert first.response == third.response
    assert second.error.code == grpc.StatusCode.INTERNAL.value[0]
    assert "breaks" not in second.error.message


def test_an_over_long_name_in_a_bad_request_still_gets_a_whole_answer(stub):
    error = refused(stub.Rank, RankRequest(item_ids=["i"], context={"n" * 50_000: None}))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field_violations(error)[0][0] == "context"


class Hold:
    """Keeps whoever ranks until it is let go."""

    def __init__(self, engine) -> None:
        self.n_inside = 0
        self._arrived = threading.Condition()
        self._let_go = threading.Event()
        engine.before_rank = self._wait

    def _wait(self, query):
        with self._arrived:
            self.n_inside += 1
            self._arrived.notify_all()
        assert self._let_go.wait(10)

    def wait_for(self, n):
        with self._arrived:
            assert self._arrived.wait_for(lambda: self.n_inside >= n, 10)

    def let_go(self):
        self._let_go.set()


def test_work_whose_deadline_passes_while_it_waits_is_never_begun():
    engine = FakeEngine()
    hold = Hold(engine)
    with running(engine, threads=1) as (_, channel):
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        held = stub.Rank.future(RankRequest(item_ids=["i"]), timeout=10)
        hold.wait_for(1)
        late = refused(stub.Rank, RankRequest(item_ids=["i"]), timeout=0.2)
        time.sleep(0.1)
        hold.let_go()
        held.result()
        assert stub.Rank(RankRequest(item_ids=["i"])).model_version == "v1"
    assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert hold.n_inside == 2


def test_overload_is_refused_at_once_and_passes():
    engine = FakeEngine()
    hold = Hold(engine)
    with running(engine, threads=2, max_in_flight=4) as (_, channel):
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        request = RankRequest(item_ids=["i"])
        held = [stub.Rank.future(request, timeout=10) for _ in range(4)]
        hold.wait_for(2)
        wait_until(lambda: refused(stub.Rank, request, timeout=0.3).code() is EXHAUSTED)
        begun = time.monotonic()
        errors = [refused(stub.Rank, request) for _ in range(20)]
        assert time.monotonic() - begun < 2
        assert {error.code() for error in errors} == {EXHAUSTED}
        assert hold.n_inside == 2
        hold.let_go()
        assert [call.result().model_version for call in held] == ["v1"] * 4
        assert stub.Rank(request).model_version == "v1"


def hurried_while(n_calls, **settings):
    engine = FakeEngine()
    hold = Hold(engine)
    asked = []
    held_back = engine.before_rank

    def remember(query):
        asked.append(query.haste.others_wait)
        held_back(query)

    engine.before_rank = remember
    heard = Inside(n_calls)
    with running(engine, observers=[heard], **settings) as (_, channel):
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        calls = [stub.Rank.future(RankRequest(item_ids=["i"]), timeout=10) for _ in range(n_calls)]
        assert heard.reached.wait(10)
        hold.let_go()
        assert {call.result().model_version for call in calls} == {"v1"}
        wait_until(lambda: heard.n_inside == 0)
        assert stub.Rank(RankRequest(item_ids=["i"])).model_version == "v1"
    assert not asked[-1], "nobody waits any more"
    return asked[:-1]


class Inside(Observer):
    def __init__(self, n_wanted) -> None:
        self.n_wanted = n_wanted
        self.n_inside = 0
        self.lock = threading.Lock()
        self.reached = threading.Event()

    def queued(self, what, change):
        with self.lock:
            self.n_inside += change
            if self.n_inside >= self.n_wanted:
                self.reached.set()


def test_answers_are_made_cheaper_while_half_of_the_places_to_wait_are_taken():
    assert hurried_while(4, threads=1, max_in_flight=9) == [False] * 4
    # How many are inside when the first and the fifth have their turn is not said: calls come while
    # the first one waits, and one that ends gives its turn away before it leaves.
    assert hurried_while(8, threads=1, max_in_flight=9)[1:4] == [True] * 3


def test_a_server_can_be_told_never_to_answer_by_less_for_the_sake_of_others():
    assert hurried_while(8, threads=1, max_in_flight=9, brownout=1.5) == [False] * 8


EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline


def test_writers_that_wait_for_the_disk_keep_nobody_from_ranking():
    writer = FakeWriter()
    writer.may_sync.clear()
    serving = running(writer=writer, max_streams=4)
    with serving as (server, _), Client(server.address) as client, ThreadPoolExecutor(4) as pool:
        event = InteractionEvent("e", 0, "u", "i", "click")
        written = [pool.submit(client.write_events, [event]) for _ in range(4)]
        wait_until(lambda: writer.appended)
        assert {len(client.rank("u", ["i"]).item_ids) for _ in range(50)} == {1}
        assert not any(call.done() for call in written)
        writer.may_sync.set()
        reports = [call.result() for call in written]
    assert sum(report.accepted for report in reports) == 1
    assert sum(report.duplicates for report in reports) == 3


def test_open_streams_beyond_the_limit_are_refused():
    with running(max_streams=2) as (_, channel):
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        closing = threading.Event()

        def one_and_wait():
            yield ranking_pb2.RankStreamRequest(request=RankRequest(item_ids=["i"]))
            closing.wait(10)

        opened = [stub.RankStream(one_and_wait(), timeout=10) for _ in range(2)]
        assert [next(stream).response.model_version for stream in opened] == ["v1", "v1"]
        with pytest.raises(grpc.RpcError) as found:
            next(stub.RankStream(one_and_wait(), timeout=10))
        closing.set()
        assert [list(stream) for stream in opened] == [[], []]
    assert found.value.code() is EXHAUSTED
