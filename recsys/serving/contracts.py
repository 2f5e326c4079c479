"""What the services need of the engine, the bundle store and the spool, and nothing more."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence
from typing import Protocol, Self

from recsys.bundle.store import BundleInfo
from recsys.pipeline.observing import SILENT, RequestObserver
from recsys.pipeline.requests import RankedList, RankQuery, RecommendQuery
from recsys.schema import Event, VisibleEvent


class RankingEngine(Protocol):
    """Ranks with one bundle and keeps the online state; safe to use from several threads."""

    @property
    def model_version(self) -> str:
        """The bundle that ranks."""
        ...

    @property
    def last_event_us(self) -> int:
        """When the newest event became visible, in microseconds."""
        ...

    def rank(self, query: RankQuery, observer: RequestObserver = SILENT) -> RankedList:
        """Check a request and order its candidates."""
        ...

    def recommend(self, query: RecommendQuery, observer: RequestObserver = SILENT) -> RankedList:
        """Check a request, find candidates and order them."""
        ...

    def seen(self, events: Sequence[Event]) -> list[bool]:
        """Say which events, by kind and id, are in the state already."""
        ...

    def apply(self, events: Sequence[VisibleEvent]) -> None:
        """Take events into the state, in order of `visible_at`."""
        ...

    def warm_up(self) -> builtins.list[str]:
        """Answer the latest requests of the log for nobody, and say what answers lacked."""
        ...

    def save_state(self) -> None:
        """Write the online state to disk, so that the next start is quick."""
        ...

    @property
    def n_erased(self) -> int:
        """How many users had been taken out of the log that the state was made of."""
        ...

    def forget(self, user_ids: Sequence[str]) -> None:
        """Forget users, as far as that can be done at once."""
        ...

    def catch_up(self) -> None:
        """Take in items that the state has gained while other engines answered."""
        ...

    def shares_state(self, other: Self) -> bool:
        """Say whether events that one engine takes in are known to the other."""
        ...

    def with_bundle(self, version: str, *, is_new_state: bool = False) -> Self:
        """Open another bundle beside this one; on a state that is made of the log if need be."""
        ...


class BundleCatalogue(Protocol):
    """Knows which bundles there are and which one is to serve."""

    def list(self) -> builtins.list[BundleInfo]:
        """List all bundles, oldest first."""
        ...

    def active(self) -> str | None:
        """Name the version that is to serve."""
        ...

    def previous(self) -> str | None:
        """Name the version that was active before the one that is to serve."""
        ...

    def activate(self, version: str) -> None:
        """Make a version the one that serves, now and after a restart."""
        ...

    def roll_back(self) -> str:
        """Return to the version that was active before, and name it."""
        ...


class EventWriter(Protocol):
    """Appends events to the log."""

    def append(self, batch: Iterable[VisibleEvent]) -> None:
        """Write events; they are durable once `sync` has returned."""
        ...

    def sync(self) -> None:
        """Make everything appended so far durable."""
        ...

    def close(self) -> None:
        """Make everything durable and let go of the log."""
        ...


class EventFollower(Protocol):
    """Gives events that other processes wrote."""

    def read(self, newest_us: int) -> list[VisibleEvent]:
        """Read what became durable since the last call, in order of `visible_at`."""
        ...

    @property
    def n_erased(self) -> int:
        """How many users were taken out of the log, as far as that was looked for."""
        ...

    def erased(self) -> list[str]:
        """Take the users who are to be forgotten since the last call."""
        ...

    def close(self) -> None:
        """Let go of the spool."""
        ...
