"""Test requests of logs without impressions: what was done next, among everything that was known.

Candidates of a request are all items that any event had named before it: the whole catalogue, no
sample of it. Metrics over sampled candidates order rankings differently from metrics over all.

Source: sampled-metrics
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.config import LabelsConfig
from recsys.features.actions import EncodedLog
from recsys.features.sessions import Visitors, somebody
from recsys.features.slates import Slates
from recsys.training.labels import Grader, LabelledSlates


@dataclass(frozen=True, slots=True)
class Baskets:
    """What somebody did at one instant each, oldest first.

    Args:
        users: int32 (n,): user rows, or `ANONYMOUS`.
        visitors: int32 (n,): rows in `names`.
        as_of: int64 (n,)
        items: int32 (n_items,): distinct items of a basket, basket after basket.
        grades: float32 (n_items,): above 0.
        offsets: int64 (n + 1,)
        names: Says which sessions visitors stand for.
    """

    users: NDArray[np.int32]
    visitors: NDArray[np.int32]
    as_of: NDArray[np.int64]
    items: NDArray[np.int32]
    grades: NDArray[np.float32]
    offsets: NDArray[np.int64]
    names: Visitors

    def __len__(self) -> int:
        return len(self.users)


def find_baskets(log: EncodedLog, labels: LabelsConfig, after: int) -> Baskets:
    """Find everything that users, and visitors whom nobody names, did from an instant on.

    Args:
        log: A log with interactions.
        labels: Grade of each interaction type; what has grade 0 is no aim.
        after: First instant, in microseconds.

    Returns:
        The baskets.
    """
    actions = log.actions
    actions = actions.where((actions.visitors >= 0) & (actions.occurred >= after))
    grades = Grader(labels, log.types.names)(actions.types, actions.values)
    actions, grades = actions.where(grades > 0), grades[grades > 0]
    # Highest grade first within an item of a basket, so that the first row is the one to keep.
    who = somebody(actions.users, actions.visitors)
    order = np.lexsort((-grades, actions.items, who, actions.occurred))
    who, items, as_of = who[order], actions.items[order], actions.occurred[order]
    new_basket = (np.diff(who, prepend=-1) != 0) | (np.diff(as_of, prepend=-1) != 0)
    kept = np.flatnonzero(new_basket | (np.diff(items, prepend=-1) != 0))
    starts = np.flatnonzero(new_basket[kept])
    return Baskets(
        users=actions.users[order][kept][starts],
        visitors=actions.visitors[order][kept][starts],
        as_of=as_of[kept][starts],
        items=items[kept],
        grades=grades[order][kept],
        offsets=np.append(starts, len(kept)).astype(np.int64),
        names=log.visitors,
    )


class Catalogue:
    """Ranks the whole catalogue for each of a sample of baskets.

    Args:
        baskets: Of the test slice.
        since: int64 (n_items,): when each item became known.
        n_requests: How many baskets are taken at most, evenly over the slice.
    """

    def __init__(self, baskets: Baskets, since: NDArray[np.int64], n_requests: int) -> None:
        self._baskets = baskets
        self._order = np.argsort(since, kind="stable").astype(np.int32)
        self._times = since[self._order]
        self._place = np.empty(len(since), dtype=np.int64)
        self._place[self._order] = np.arange(len(since))
        n_baskets = len(baskets)
        if n_baskets > n_requests:
            self._chosen = np.linspace(0, n_baskets - 1, n_requests).astype(np.int64)
        else:
            self._chosen = np.arange(n_baskets)
        #: What was done with items that no event had named before.
        self.n_unreachable = 0

    def __len__(self) -> int:
        """Count the requests.

        Returns:
            Baskets taken.
        """
        return len(self._chosen)

    def chunks(self, n_rows: int) -> Iterator[LabelledSlates]:
        """Lay requests out, a few at a time.

        Args:
            n_rows: Candidates of a chunk at most, unless one request has more.

        Yields:
            Consecutive requests; candidates in the order in which they became known.
        """
        self.n_unreachable = 0
        n_known = np.searchsorted(self._times, self._baskets.as_of[self._chosen])
        start = 0
        while start < len(self._chosen):
            within = np.cumsum(n_known[start:]) <= n_rows
            stop = start + max(1, int(np.count_nonzero(within)))
            yield self._chunk(self._chosen[start:stop], n_known[start:stop])
            start = stop

    def _chunk(self, chosen: NDArray[np.int64], n_known: NDArray[np.int64]) -> LabelledSlates:
        baskets = self._baskets
        slates = Slates(
            users=baskets.users[chosen],
            as_of=baskets.as_of[chosen],
            items=np.concatenate([self._order[:n] for n in n_known.tolist()]),
            offsets=np.concatenate([[0], np.cumsum(n_known)]).astype(np.int64),
            sessions=baskets.names.session_ids(baskets.visitors[chosen]),
        )
        grades = np.zeros(len(slates.items), dtype=np.float32)
        for request, basket in enumerate(chosen.tolist()):
            aims = slice(int(baskets.offsets[basket]), int(baskets.offsets[basket + 1]))
            items = baskets.items[aims]
            places = self._place[np.maximum(items, 0)]
            reachable = (items >= 0) & (places < n_known[request])
            self.n_unreachable += int(np.count_nonzero(~reachable))
            rows = slates.offsets[request] + places[reachable]
            grades[rows] = baskets.grades[aims][reachable]
        return LabelledSlates(slates, grades)
