"""Callers that hold back: a client whose requests are refused sends fewer, and some all the same.

A refusal costs the server a thirtieth to a sixtieth of an answer, so callers who send ten times
what can be answered take a fifth of it away from everybody. A client cannot know the capacity, but
it knows how many of its requests were taken on of late. It sends up to twice as many and refuses
the rest itself, at random, so that a server that has room again is found within seconds.

Source: `sre` in docs/references.md.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import grpc

#: Requests sent per request taken on.
_SENT_PER_TAKEN: Final = 2.0
#: Requests that are always sent, so that a few refusals hold nobody back.
_FREE: Final = 10.0
#: What happened this long ago counts half, in seconds.
_HALF_LIFE_S: Final = 2.0


class HeldBackError(grpc.RpcError):
    """A request that was not sent, because the server refuses most; for callers, one refused."""

    def __init__(self) -> None:
        super().__init__("not sent: the server refuses most requests of this client")

    def code(self) -> grpc.StatusCode:
        """Give the status.

        Returns:
            What the server would have answered.
        """
        return grpc.StatusCode.RESOURCE_EXHAUSTED

    def details(self) -> str:
        """Say why.

        Returns:
            A sentence.
        """
        return str(self)

    def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        """Give what came with the status.

        Returns:
            Nothing did.
        """
        return ()


class Throttle:
    """Decides which requests of a client are sent; safe to use from several threads.

    Args:
        rng: Draws who is held back.
        read_s: Reads a monotonic clock, seconds.
    """

    def __init__(self, rng: random.Random, *, read_s: Callable[[], float] = time.monotonic) -> None:
        self._rng = rng
        self._read_s = read_s
        self._lock = threading.Lock()
        self._n_asked = 0.0
        self._n_taken = 0.0
        self._counted_at = read_s()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Make one request in the block.

        Yields:
            Nothing.

        Raises:
            HeldBackError: It is not to be made.
            RpcError: It failed.
        """
        if not self.permits():
            raise HeldBackError
        try:
            yield
        except grpc.RpcError as error:
            # What failed otherwise was taken on all the same.
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                self.taken()
            raise
        self.taken()

    def permits(self) -> bool:
        """Count a request, and say whether it is to be sent.

        Returns:
            False where it is held back.
        """
        with self._lock:
            self._fade()
            self._n_asked += 1
            n_beyond = self._n_asked - _SENT_PER_TAKEN * self._n_taken - _FREE
            return self._rng.random() >= n_beyond / self._n_asked

    def taken(self) -> None:
        """Count a request that was not refused."""
        with self._lock:
            self._n_taken += 1

    def _fade(self) -> None:
        now_s = self._read_s()
        share = math.exp2((self._counted_at - now_s) / _HALF_LIFE_S)
        self._n_asked *= share
        self._n_taken *= share
        self._counted_at = now_s
