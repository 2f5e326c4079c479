"""Whose turn it is, and whether anybody still waits: of the calls inside, a few are at work.

Without a bound, calls that nobody waits for any more crowd out those that somebody does, and
goodput collapses. `recsys.serving.doors` bounds how many come inside.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc

from recsys.config import ServingConfig
from recsys.errors import DeadlineError
from recsys.serving.doors import Door
from recsys.serving.observer import Observer

#: A call without a deadline waits for its turn no longer than this.
_LONGEST_WAIT_S: Final = 60.0


class Gate:
    """Gives turns at one sort of work.

    Args:
        what: Named in refusals.
        running: How many may be at work at once.
        observer: Hears of who waited and who is refused.
    """

    def __init__(self, what: str, *, running: int, observer: Observer) -> None:
        self._what = what
        self._observer = observer
        self._running = threading.Semaphore(running)

    @contextmanager
    def turn(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Do the work of a call in the block, when it is its turn and somebody still waits for it.

        Yields:
            Nothing.

        Raises:
            DeadlineError: The deadline passed before the turn came; nothing was done.
        """
        since = self._observer.now()
        if not self._running.acquire(timeout=remaining_s(context)):
            self._observer.shed(self._what, "deadline")
            raise DeadlineError(self._what)
        try:
            if not is_awaited(context):
                self._observer.shed(self._what, "deadline")
                raise DeadlineError(self._what)
            self._observer.stage("queue", since)
            yield
        finally:
            self._running.release()


class Crowd:
    """Says whether so many calls wait that answers should be made cheaper.

    Args:
        door: That the calls came through.
        config: How many are at work at once, and the share of the others from which it is a crowd.
    """

    def __init__(self, door: Door, config: ServingConfig) -> None:
        self._door = door
        n_waiting = max(1.0, config.brownout * (door.size - config.threads))
        self._from = config.threads + n_waiting

    @property
    def is_there(self) -> bool:
        """Whether there is one now; the call that asks is inside."""
        return self._door.n_inside >= self._from


def remaining_s(context: grpc.ServicerContext) -> float:
    """Say how long a call may still be waited for.

    Returns:
        Seconds, at most a minute.
    """
    remaining = context.time_remaining()
    return _LONGEST_WAIT_S if remaining is None else float(min(remaining, _LONGEST_WAIT_S))


def answer_by(context: grpc.ServicerContext) -> float:
    """Say when a caller stops waiting.

    Returns:
        An instant as `time.monotonic` counts; infinite for a call without a deadline.
    """
    remaining = context.time_remaining()
    return math.inf if remaining is None else time.monotonic() + float(remaining)


def is_awaited(context: grpc.ServicerContext) -> bool:
    """Say whether anybody still waits for an answer.

    Returns:
        False once the deadline has passed, or the caller has gone.
    """
    return bool(context.is_active()) and remaining_s(context) > 0
