"""Which engine answers: references that are exchanged while requests are in flight.

The next bundle is verified, loaded beside the one that serves, and tried on the latest requests of
the log. Only when it is ready, and the store says so durably, do requests go to it; those in flight
end where they began. Beside the main bundle others may answer a share of the users.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog
import xxhash

from recsys.bundle.store import BundleInfo
from recsys.config import VariantConfig
from recsys.errors import BundleError, RecsysError, UnknownModelError
from recsys.schema import Event, ItemEvent, VisibleEvent
from recsys.serving.contracts import BundleCatalogue, RankingEngine
from recsys.serving.observer import Observer

MAIN: Final = "main"

_log = structlog.get_logger("recsys.serving")


class EngineSwitch:
    """Holds the engines that answer, and exchanges the main one.

    Args:
        engine: Answers first.
        bundles: What can be activated.
        observer: Hears which bundle answers.
    """

    def __init__(self, engine: RankingEngine, bundles: BundleCatalogue, observer: Observer) -> None:
        self._engine = engine
        #: Answered before, and knows what the engine knows: a roll-back need not load it.
        self._before: RankingEngine | None = None
        self._variants: list[tuple[float, str]] = []
        self._beside: dict[str, RankingEngine] = {}
        #: Whom engines must not know that are made of a log read before; None: nobody was erased.
        self._forgotten: list[str] | None = None
        self._forgetting = threading.Lock()
        self._bundles = bundles
        self._observer = observer
        self._switching = threading.Lock()
        self._refused = ""
        self._has_items = threading.Event()
        self._is_closed = False
        self._catching_up = threading.Thread(target=self._catch_up, name="catch-up", daemon=True)
        self._catching_up.start()
        observer.model_active(MAIN, engine.model_version)

    @property
    def engine(self) -> RankingEngine:
        """The main engine that answers now; ask once per request."""
        return self._engine

    def engine_for(self, user_id: str) -> RankingEngine:
        """Choose the engine that answers a user; the same one each time.

        Returns:
            A variant's where the user falls into its share, else the main one.
        """
        if self._variants and user_id:
            place = share_of(user_id)
            for end, name in self._variants:
                if place < end:
                    return self._beside[name]
        return self._engine

    def open_beside(self, name: str, version: str) -> RankingEngine:
        """Open a bundle that takes events in from now on.

        Args:
            name: Of its slot, for the observer.
            version: Of the bundle.

        Returns:
            Its engine, tried.
        """
        with self._switching:
            engine = self._tried(version)
            self._beside[name] = engine
        self._observer.model_active(name, version)
        return engine

    def beside(self, name: str) -> RankingEngine:
        """Find a bundle that was opened beside the main one.

        Returns:
            Its engine; another one after users were forgotten.
        """
        return self._beside[name]

    def split(self, variants: Mapping[str, VariantConfig]) -> None:
        """Let named bundles answer their share of the users."""
        end = 0.0
        for name in sorted(variants):
            end += variants[name].share
            self.open_beside(name, variants[name].version)
            self._variants.append((end, name))

    def seen(self, events: Sequence[Event]) -> list[bool]:
        """Say which events, by kind and id, are in the state already.

        Returns:
            One answer per event; True for a retry.
        """
        return self._engine.seen(events)

    def apply(self, events: Sequence[VisibleEvent]) -> None:
        """Let all engines know of events.

        Texts of new items are encoded afterwards, by a thread of their own: nobody who writes waits
        for an encoder.
        """
        main = self._engine
        main.apply(events)
        for engine in list(self._beside.values()):
            if not engine.shares_state(main):
                engine.apply(events)
        if any(isinstance(visible.event, ItemEvent) for visible in events):
            self._has_items.set()

    def forget(self, user_ids: Sequence[str]) -> None:
        """Let all engines forget users at once, and note that they are to be made anew.

        What a user added to totals over sessions, or to those of an attribute that users share,
        only a state that is made of the log without them is free of.
        """
        with self._forgetting:
            self._forgotten = [*(self._forgotten or ()), *user_ids]
        for engine in (self._engine, *self._beside.values()):
            engine.forget(user_ids)

    def renew(self) -> bool:
        """Make all engines anew where users were forgotten, of the log as it is without them.

        Returns:
            Whether other engines answer now.
        """
        if self._forgotten is None:
            return False
        with self._switching:
            n_forgotten = len(self._forgotten)
            version = self._engine.model_version
            main = self._engine.with_bundle(version, is_new_state=True)
            main.warm_up()  # what it lacks, the engine that answers now lacks as well
            beside = {n: main.with_bundle(e.model_version) for n, e in self._beside.items()}
            self._take_over(main)
            self._beside = beside
            with self._forgetting:
                # Others may have been forgotten meanwhile: then once more.
                self._forgotten = self._forgotten[n_forgotten:] or None
        return True

    def models(self) -> list[BundleInfo]:
        """List all bundles.

        Returns:
            Oldest first, as the store has them.
        """
        return self._bundles.list()

    def activate(self, version: str) -> None:
        """Let another bundle answer; nothing changes when it cannot be used.

        Args:
            version: A published one.

        Raises:
            UnknownModelError: There is no such version.
        """
        with self._switching:
            known = [info.version for info in self._bundles.list()]
            if version not in known:
                raise UnknownModelError(version, known)
            successor = self._successor(version)
            self._bundles.activate(version)
            self._take_over(successor)

    def roll_back(self) -> None:
        """Let the bundle answer that was active before.

        It is loaded first: when there is none, or it cannot be used, nothing has changed.
        """
        with self._switching:
            version = self._bundles.previous()
            # Without a previous version the store refuses, and says so itself.
            successor = self._engine if version is None else self._successor(version)
            rolled_back = self._bundles.roll_back()
            # Somebody else may have switched the store while the bundle was loading.
            is_same = rolled_back == version
            self._take_over(successor if is_same else self._successor(rolled_back))

    def follow_store(self) -> None:
        """Let the bundle answer that somebody else made the active one; a bad one is refused."""
        with self._switching:
            version = self._bundles.active() or self._engine.model_version
            if version == self._engine.model_version:
                self._refused = ""
            elif version != self._refused:
                try:
                    self._take_over(self._successor(version))
                except RecsysError as error:
                    # Tried once; the store must change before it is tried again.
                    self._refused = version
                    _log.error("active_bundle_refused", version=version, found=str(error))

    def close(self) -> None:
        """Stop taking in new items."""
        self._is_closed = True
        self._has_items.set()
        self._catching_up.join()

    def _catch_up(self) -> None:
        while self._has_items.wait() and not self._is_closed:
            self._has_items.clear()
            for engine in (self._engine, *list(self._beside.values())):
                try:
                    engine.catch_up()
                except Exception as error:  # noqa: BLE001 - a model's own code; the thread must live
                    # Not its text, which may quote an item's.
                    found, version = type(error).__name__, engine.model_version
                    _log.error("new_items_not_taken_in", version=version, found=found)

    def _take_over(self, engine: RankingEngine) -> None:
        if engine is not self._engine:
            is_kept = engine.shares_state(self._engine)
            engine.catch_up()
            _log.info("bundle_taken_over", version=engine.model_version)
            self._before, self._engine = (self._engine if is_kept else None), engine
        self._observer.model_active(MAIN, engine.model_version)

    def _successor(self, version: str) -> RankingEngine:
        for engine in (self._engine, self._before):
            if engine is not None and engine.model_version == version:
                return engine
        return self._tried(version)

    def _tried(self, version: str) -> RankingEngine:
        engine = self._engine.with_bundle(version)
        if self._forgotten and not engine.shares_state(self._engine):
            engine.forget(self._forgotten)
        lacking = engine.warm_up()
        if lacking:
            raise BundleError(
                Path(version), f"warm-up: {lacking[0]}", "answers by the whole bundle"
            )
        return engine


def share_of(user_id: str) -> float:
    """Place a user among all others, the same in every process and after every restart.

    Returns:
        0 (inclusive) to 1 (exclusive), evenly over users.
    """
    return xxhash.xxh3_64_intdigest(b"variant:" + user_id.encode()) / 2**64
