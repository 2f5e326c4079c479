"""A bundle that answers a share of the requests for nobody, only to be compared.

It has one thread and a short queue: when the machine is busy, requests are left out, never delayed.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from typing import Final

from recsys.pipeline.requests import RankedList, RankQuery
from recsys.serving.contracts import RankingEngine
from recsys.serving.observer import Observer
from recsys.serving.switch import share_of

SHADOW: Final = "shadow"
_WAITING: Final = 4
#: Answers are compared by their first items.
_TOP: Final = 10


class Shadow:
    """Answers again what others have answered, and tells the observer how far both agree.

    Args:
        engine: Of the bundle; nobody gets its answers.
        share: Of the requests, 0 to 1.
        observer: Hears of every comparison.
    """

    def __init__(self, engine: RankingEngine, share: float, observer: Observer) -> None:
        self._engine = engine
        self._share = share
        self._observer = observer
        self._waiting: queue.Queue[tuple[RankQuery, RankedList] | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._run, name=SHADOW, daemon=True)
        self._thread.start()

    def use(self, engine: RankingEngine) -> None:
        """Answer with another engine from now on."""
        self._engine = engine

    def offer(self, query: RankQuery, answer: RankedList) -> None:
        """Hand in a request that was answered; returns at once."""
        if share_of(f"{query.user_id}/{query.as_of}") < self._share:
            with contextlib.suppress(queue.Full):
                self._waiting.put_nowait((query, answer))

    def close(self) -> None:
        """End the thread, once it has answered what waits."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (found := self._waiting.get()) is not None:
            query, answer = found
            begun = time.perf_counter()
            try:
                mine = self._engine.rank(query)
            except Exception:  # noqa: BLE001 - nobody waits for this answer: it only does not agree
                self._observer.compared(SHADOW, 0.0, time.perf_counter() - begun)
                continue
            agreement = agreement_of(mine.item_ids, answer.item_ids)
            self._observer.compared(SHADOW, agreement, time.perf_counter() - begun)


def agreement_of(one: list[str], other: list[str]) -> float:
    """Compare the heads of two lists of the same items.

    Returns:
        Share of the first ten items that both have; 1 for empty lists.
    """
    size = min(_TOP, len(other))
    return len(set(one[:size]) & set(other[:size])) / size if size else 1.0
