"""How much work the server takes on: the rest is refused at once, before it costs anything.

Without a bound, calls that nobody waits for any more crowd out those that somebody does, and
goodput collapses. A gate lets a few run, lets a few more wait, and refuses the rest.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc

from recsys.errors import DeadlineError, OverloadError
from recsys.serving.observer import Observer

#: A call without a deadline waits for its turn no longer than this.
_LONGEST_WAIT_S: Final = 60.0


class Gate:
    """Bounds one sort of work.

    Args:
        what: Named in refusals.
        running: How many may be at work at once.
        inside: How many may be at work or wait for their turn, as far as `enter` counts them.
        observer: Hears of who enters and who is refused.
    """

    def __init__(self, what: str, *, running: int, inside: int, observer: Observer) -> None:
        self._what = what
        self._observer = observer
        self._limit = inside
        self._inside = threading.Semaphore(inside)
        self._running = threading.Semaphore(running)

    @contextmanager
    def enter(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Do a call's work in the block, when it is its turn and somebody still waits for it.

        Yields:
            Nothing.

        Raises:
            OverloadError: Too many are inside already.
            DeadlineError: The deadline passed before the turn came; nothing was done.
        """
        if not self._inside.acquire(blocking=False):
            self._observer.shed(self._what, "full")
            raise OverloadError(self._what, self._limit)
        self._observer.queued(self._what, 1)
        try:
            with self.turn(context):
                yield
        finally:
            self._observer.queued(self._what, -1)
            self._inside.release()

    @contextmanager
    def turn(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Do the work of one message of a call that is bounded elsewhere.

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
