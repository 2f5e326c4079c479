"""Which engine answers: one reference, exchanged while requests are in flight.

The next bundle is verified and loaded beside the one that serves. Only when it is ready, and the
store says so durably, do requests go to it; those in flight end where they began.
"""

from __future__ import annotations

import threading
from typing import Final

from recsys.bundle.store import BundleInfo
from recsys.errors import UnknownModelError
from recsys.serving.contracts import BundleCatalogue, RankingEngine
from recsys.serving.observer import Observer

_MAIN: Final = "main"


class EngineSwitch:
    """Holds the engine that answers, and exchanges it.

    Args:
        engine: Answers first.
        bundles: What can be activated.
        observer: Hears which bundle answers.
    """

    def __init__(self, engine: RankingEngine, bundles: BundleCatalogue, observer: Observer) -> None:
        self._engine = engine
        self._bundles = bundles
        self._observer = observer
        self._switching = threading.Lock()
        observer.model_active(_MAIN, engine.model_version)

    @property
    def engine(self) -> RankingEngine:
        """The engine that answers now; ask once per request."""
        return self._engine

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

    def _take_over(self, engine: RankingEngine) -> None:
        self._engine = engine
        self._observer.model_active(_MAIN, engine.model_version)

    def _successor(self, version: str) -> RankingEngine:
        if version == self._engine.model_version:
            return self._engine
        return self._engine.with_bundle(version)
