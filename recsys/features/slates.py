"""Requests with their candidates as integer rows: the shape in which everything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from recsys.features.candidates import CandidateColumns, chosen_candidates
from recsys.features.entities import UNKNOWN
from recsys.features.seeds import Seeds
from recsys.schema import Attributes


@dataclass(frozen=True, slots=True)
class Slates:
    """A batch of requests; one while serving, thousands while training.

    Args:
        users: int32 (n_requests,): user rows, or `ANONYMOUS` or `UNKNOWN`.
        as_of: int64 (n_requests,): instants in microseconds; only the past before them is seen.
        items: int32 (n_candidates,): item rows or `UNKNOWN`, request after request.
        offsets: int64 (n_requests + 1,): candidates of request i are `offsets[i]:offsets[i + 1]`.
        context: Request attributes, one dictionary per request; empty when there are none at all.
        sessions: Session ids, one per request, empty text where it has none; empty when there are
            none at all.
        candidates: What the caller said of the candidates within their request, by name and kind;
            each column has n_candidates values. Empty when nothing was said.
        seeds: What users are looking at; None: nobody said.
    """

    users: NDArray[np.int32]
    as_of: NDArray[np.int64]
    items: NDArray[np.int32]
    offsets: NDArray[np.int64]
    context: Sequence[Attributes] = field(default_factory=tuple)
    sessions: Sequence[str] = field(default_factory=tuple)
    candidates: CandidateColumns = field(default_factory=dict)
    seeds: Seeds | None = None

    def __len__(self) -> int:
        return len(self.users)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Candidates per request: int64 (n_requests,)."""
        return np.diff(self.offsets)

    def spread(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Repeat a value per request for each of its candidates.

        Returns:
            An array (n_candidates, ...).
        """
        if len(self) == 1:
            if values.ndim == 1:
                return np.full(len(self.items), values[0], dtype=values.dtype)
            return np.broadcast_to(values[0], (len(self.items), *values.shape[1:]))
        sizes = self.sizes
        if len(self.items) == len(self) and bool((sizes == 1).all()):
            return values
        return np.repeat(values, sizes, axis=0)

    def heads(self) -> Slates:
        """Stand for each request by one candidate about which nothing is known.

        Returns:
            As many requests, of one candidate each: what is read is of the request alone.
        """
        return Slates(
            users=self.users,
            as_of=self.as_of,
            items=np.full(len(self), UNKNOWN, dtype=np.int32),
            offsets=np.arange(len(self) + 1, dtype=np.int64),
            context=self.context,
            sessions=self.sessions,
            seeds=self.seeds,
        )

    def alone(self, candidate: int) -> Slates:
        """Keep one candidate of a batch of a single request.

        Returns:
            The request with this candidate only.
        """
        one = slice(candidate, candidate + 1)
        return self.about(self.items[one], chosen_candidates(self.candidates, one))

    def about(self, items: NDArray[np.int32], candidates: CandidateColumns | None = None) -> Slates:
        """Ask the same of other candidates, in a batch of a single request.

        Args:
            items: int32 (n_candidates,): item rows.
            candidates: What the caller said of them; None: nothing.

        Returns:
            The request with these candidates.
        """
        offsets = np.array([0, len(items)], dtype=np.int64)
        return replace(self, items=items, offsets=offsets, candidates=candidates or {})

    def part(self, start: int, stop: int) -> Slates:
        """Cut out consecutive requests.

        Returns:
            Requests `start` to `stop` (exclusive) as a batch of their own.
        """
        low, high = self.offsets[start], self.offsets[stop]
        return Slates(
            users=self.users[start:stop],
            as_of=self.as_of[start:stop],
            items=self.items[low:high],
            offsets=self.offsets[start : stop + 1] - low,
            context=self.context[start:stop] if self.context else (),
            sessions=self.sessions[start:stop] if self.sessions else (),
            candidates=chosen_candidates(self.candidates, slice(int(low), int(high))),
            seeds=self.seeds and self.seeds.take(np.arange(start, stop)),
        )

    def take(self, requests: NDArray[np.int64]) -> Slates:
        """Choose requests.

        Args:
            requests: int64 (n,): numbers of requests.

        Returns:
            Them in the given order.
        """
        sizes, chosen = self.sizes[requests], self.candidates_of(requests)
        return Slates(
            users=self.users[requests],
            as_of=self.as_of[requests],
            items=self.items[chosen],
            offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            context=[self.context[i] for i in requests.tolist()] if self.context else (),
            sessions=[self.sessions[i] for i in requests.tolist()] if self.sessions else (),
            candidates=chosen_candidates(self.candidates, chosen),
            seeds=self.seeds and self.seeds.take(requests),
        )

    def candidates_of(self, requests: NDArray[np.int64]) -> NDArray[np.int64]:
        """List the candidates of requests.

        Returns:
            int64: positions in `items`, request after request.
        """
        sizes = self.sizes[requests]
        first = np.cumsum(sizes) - sizes
        within = np.arange(int(sizes.sum())) - np.repeat(first, sizes)
        positions: NDArray[np.int64] = np.repeat(self.offsets[requests], sizes) + within
        return positions


def one_slate(
    user: int,
    as_of: int,
    items: NDArray[np.int32],
    context: Attributes | None = None,
    *,
    session_id: str = "",
    candidates: CandidateColumns | None = None,
) -> Slates:
    """Make a batch of a single request.

    Returns:
        The batch.
    """
    return Slates(
        users=np.array([user], dtype=np.int32),
        as_of=np.array([as_of], dtype=np.int64),
        items=items,
        offsets=np.array([0, len(items)], dtype=np.int64),
        context=(context,) if context else (),
        sessions=(session_id,) if session_id else (),
        candidates=candidates or {},
    )
