"""An engine whose ranking is known: the more a user did with an item, the higher it stands."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import grpc

from recsys.bundle.store import BundleInfo
from recsys.config import ServingConfig
from recsys.errors import BundleError, LogError
from recsys.pipeline.observing import SILENT
from recsys.pipeline.requests import (
    Contribution,
    Explanation,
    RankedList,
    check_rank,
    check_recommend,
)
from recsys.schema import InteractionEvent, ItemEvent
from recsys.serving.clock import SystemClock
from recsys.serving.server import Parts, RunningServer

MADE_AT = datetime(2024, 5, 1, tzinfo=UTC)


class FakeState:
    def __init__(self) -> None:
        self.known = {}
        self.clicks = Counter()
        self.items = {}


class FakeEngine:
    """Ranks by what the user did; `before_rank` lets a test stop or break it there."""

    def __init__(self, version="v1", state=None) -> None:
        self.model_version = version
        self.state = state or FakeState()
        self.before_rank = lambda query: None
        self.before_apply = lambda events: None
        self.n_ranked = 0
        self.n_warmed = 0
        self.n_caught_up = 0
        self._lock = threading.Lock()

    @property
    def last_event_us(self):
        return max((visible.visible_at for visible in self.state.known.values()), default=0)

    n_erased = 0

    def forget(self, user_ids):
        for user, item in [key for key in self.state.clicks if key[0] in user_ids]:
            del self.state.clicks[user, item]

    def seen(self, events):
        return [(type(event), event.event_id) in self.state.known for event in events]

    def apply(self, events):
        self.before_apply(events)
        with self._lock:
            for visible in events:
                self._take(visible)

    def _take(self, visible):
        event = visible.event
        if self.seen([event])[0]:
            return
        self.state.known[type(event), event.event_id] = visible
        if isinstance(event, InteractionEvent):
            self.state.clicks[event.user_id, event.item_id] += 1
        if isinstance(event, ItemEvent):
            self.state.items[event.item_id] = event.attributes

    def rank(self, query, observer=SILENT):
        check_rank(query)
        self.before_rank(query)
        return self._answer(query, query.item_ids, query.top_k)

    def recommend(self, query, observer=SILENT):
        check_recommend(query)
        return self._answer(query, list(self.state.items), query.top_k or 20)

    def _answer(self, query, item_ids, top_k):
        self.n_ranked += 1
        counts = {i: self.state.clicks[query.user_id, i] for i in dict.fromkeys(item_ids)}
        excluded = set(query.exclude_item_ids)
        kept = [i for i in counts if i not in excluded]
        best = sorted(kept, key=lambda i: -counts[i])[: top_k or None]
        return RankedList(
            request_id=query.request_id,
            model_version=self.model_version,
            item_ids=best,
            scores=[float(counts[i]) for i in best],
            explanations=[
                Explanation(i, 0.0, [Contribution("clicks", float(counts[i]), float(counts[i]))])
                for i in best[: query.explain_top_k]
            ],
            warnings=[f"{name} is {value!r}" for name, value in query.context.items()],
        )

    def save_state(self):
        self.saved = True

    def warm_up(self):
        self.n_warmed += 1
        if self.model_version.startswith("cold"):
            raise BundleError(Path(self.model_version), "warm-up failed", "answers")
        return ["answered without a leg"] if self.model_version.startswith("lame") else []

    def catch_up(self):
        self.n_caught_up += 1

    def shares_state(self, other):
        return self.state is other.state

    def with_bundle(self, version, *, is_new_state=False):
        if version.startswith("damaged"):
            raise BundleError(Path("bundles", version), "ranker.txt has another hash", "its own")
        return FakeEngine(version, self.state)


class FakeBundles:
    def __init__(self, *versions) -> None:
        self.versions = versions
        self.history = [versions[0]]

    def list(self):
        return [
            BundleInfo(v, MADE_AT, v == self.history[-1], {"ndcg@10": 0.61}) for v in self.versions
        ]

    def active(self):
        return self.history[-1]

    def previous(self):
        return self.history[-2] if len(self.history) > 1 else None

    def activate(self, version):
        self.history.append(version)

    def roll_back(self):
        if len(self.history) < 2:
            raise BundleError(Path("bundles"), "none was active before", "two activations")
        self.history.pop()
        return self.history[-1]


class FakeWriter:
    """A log in memory: what was appended, and how much of it was synced; `is_full` refuses."""

    def __init__(self) -> None:
        self.appended = []
        self.n_synced = 0
        self.n_syncs = 0
        self.is_full = False
        self.is_closed = False
        self.may_sync = threading.Event()
        self.may_sync.set()

    def append(self, batch):
        if self.is_full:
            raise LogError(Path("log.duckdb.spool"), "No space left on device", "a disk with room")
        self.appended += batch

    def sync(self):
        assert self.may_sync.wait(10)
        self.n_synced = len(self.appended)
        self.n_syncs += 1

    def close(self):
        self.is_closed = True


@contextlib.contextmanager
def running(
    engine=None, *, writer=None, bundles=None, clock=None, observers=(), follower=None, **config
):
    """Run a real server on a free port and give it, its address and a channel to it."""
    parts = Parts(
        engine=engine or FakeEngine(),
        bundles=bundles or FakeBundles("v1", "v2", "damaged"),
        writer=writer or FakeWriter(),
        clock=clock or SystemClock(),
        observers=observers,
        follower=follower,
    )
    server = RunningServer(parts, ServingConfig(drain_s=5.0, **config), 0)
    with grpc.insecure_channel(server.address) as channel:
        try:
            yield server, channel
        finally:
            server.stop()
