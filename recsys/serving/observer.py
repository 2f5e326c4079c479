"""What the server tells of itself: plain calls that do nothing by default.

The core calls these and knows nothing of Prometheus, OpenTelemetry or log lines; whoever wants to
know overrides them. No call carries ids, attributes or other data of callers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import final

from recsys.pipeline.observing import RequestObserver


class Observer(RequestObserver):
    """Hears of calls, events, queues and models; this one is deaf.

    A call is handled in one thread from `call_began` to `call_ended`, so what the engine tells in
    between belongs to it. Calls must be cheap; what they raise is logged
    (`recsys.serving.listening.Listeners`).
    """

    @final
    def now(self) -> float:
        """Start the watch.

        Returns:
            An instant in seconds.
        """
        return time.perf_counter()

    @final
    def stage(self, name: str, since: float) -> float:
        """Hear that a stage has ended.

        Returns:
            The instant at which the next one begins.
        """
        now = time.perf_counter()
        self.stage_took(name, now - since)
        return now

    @final
    def plugin_ran(self, plugin: str, since: float) -> float:
        """Hear that a plugin's own code has ended.

        Returns:
            The instant at which the next one begins.
        """
        now = time.perf_counter()
        self.plugin_took(plugin, now - since)
        return now

    def stage_took(self, name: str, seconds: float) -> None:
        """Hear how long a stage took."""

    def plugin_took(self, plugin: str, seconds: float) -> None:
        """Hear how long a plugin's own code took."""

    def call_began(self, method: str, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        """Hear that an RPC came in.

        Args:
            method: Such as `/recsys.v1.RankingService/Rank`; known to the server.
            metadata: As the caller sent it.
        """

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        """Hear that an RPC was answered.

        Args:
            method: As for `call_began`.
            code: Name of the canonical code, such as `OK`.
            seconds: Since `call_began`.
        """

    def call_passed(
        self, method: str, metadata: Sequence[tuple[str, str | bytes]], code: str, seconds: float
    ) -> None:
        """Hear of an RPC for which no thread was held; it neither begins nor ends otherwise.

        Args:
            method: As for `call_began`.
            metadata: As the caller sent it.
            code: As for `call_ended`.
            seconds: That it took until now.
        """

    def call_refused(self, method: str, code: str) -> None:
        """Hear that an RPC was refused where it arrived; it neither begins nor ends.

        Args:
            method: As for `call_began`.
            code: As for `call_ended`.
        """

    def shed(self, what: str, reason: str) -> None:
        """Hear that work was refused before it was begun.

        Args:
            what: Sort of work, such as `rank`.
            reason: `full` or `deadline`.
        """

    def queued(self, what: str, change: int) -> None:
        """Hear that work began or ceased to be at work or wait for its turn.

        Args:
            what: Sort of work, such as `rank`, or `events` waiting for the disk.
            change: How many more; negative: fewer.
        """

    def events_written(self, accepted: int, duplicates: int, rejected: int) -> None:
        """Hear what became of the events of one call."""

    def committed(self, n_events: int, seconds: float) -> None:
        """Hear that a group of events became durable and visible.

        Args:
            n_events: New ones.
            seconds: From the first write to the last acknowledgement.
        """

    def commit_failed(self, reason: str) -> None:
        """Hear that a group of events could not be written; their callers are told.

        Args:
            reason: `log` where the disk takes none, else `other`.
        """

    def followed(self, follower: str, lag_s: float) -> None:
        """Hear how far this process is behind the events of another one.

        Args:
            follower: Name of the spool that is followed.
            lag_s: Age of its oldest event that is not in the state here; 0: none.
        """

    def model_active(self, name: str, version: str) -> None:
        """Hear that a bundle answers from now on.

        Args:
            name: Of the slot, such as `main` or `shadow`.
            version: Of the bundle.
        """

    def compared(self, name: str, agreement: float, seconds: float) -> None:
        """Hear how far the answer of a bundle that nobody gets agrees with the one that was given.

        Args:
            name: Of the slot, such as `shadow`.
            agreement: Share of the first ten items that both answers have, 0 to 1.
            seconds: That the answer took.
        """

    def ready(self, *, is_ready: bool) -> None:
        """Hear whether calls would be answered; at the start, and when draining begins."""

    def close(self) -> None:
        """Hear that the server has stopped; nothing is told after this."""
