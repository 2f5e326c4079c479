"""Proves on a log that serving would have seen what training sees.

The log is replayed event by event through the online state; at a sample of its impressions the
features are read there and compared with the offline execution, column by column.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.events.replay import visible_events
from recsys.events.snapshot import LogSnapshot, snapshot_of
from recsys.features.actions import encode_log
from recsys.features.online import OnlineState
from recsys.features.plan import FeaturePlan
from recsys.features.slates import Slates, one_slate
from recsys.schema import VisibleEvent
from recsys.training.dataset import Dataset

#: Relative; counts and instants agree to the bit, sums of decayed floats in another order do not.
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Skew:
    """The result of a comparison.

    Args:
        n_requests: Requests compared.
        n_values: Feature values compared.
        mismatches: Number of values that differ, by feature; all features are listed.
    """

    n_requests: int
    n_values: int
    mismatches: dict[str, int]

    @property
    def n_mismatches(self) -> int:
        """Values that differ, over all features."""
        return sum(self.mismatches.values())


def compare_executions(
    dataset: Dataset, plan: FeaturePlan, rng: np.random.Generator, n_requests: int = 1000
) -> Skew:
    """Compare the online and the offline execution on a sample of past requests.

    Args:
        dataset: The log and its requests.
        plan: Which features; those of feature models compare equal when their inputs do and are
            left out.
        rng: Chooses the sample.
        n_requests: How many requests at most.

    Returns:
        Mismatches by feature.
    """
    plan = plan.without_models()
    slates = dataset.labelled.slates
    n_chosen = min(n_requests, len(slates))
    chosen = np.sort(rng.choice(len(slates), size=n_chosen, replace=False))
    differ = np.zeros(len(plan.names), dtype=np.int64)
    n_values = 0
    state = OnlineState(encode_log(snapshot_of([])), tuple(plan.aggregates.values()))
    for number, due in _replay(dataset.snapshot, slates, chosen):
        state.apply(due)
        request = slates.part(number, number + 1)
        expected = plan.matrix(request, dataset.reader, {})
        found = plan.matrix(_translated(request, dataset, state), state, {})
        differ += _differences(found, expected).sum(axis=0)
        n_values += expected.size
    counts = dict(zip(plan.names, differ.tolist(), strict=True))
    return Skew(len(chosen), n_values, counts)


def _replay(
    snapshot: LogSnapshot, slates: Slates, chosen: NDArray[np.int64]
) -> Iterator[tuple[int, list[VisibleEvent]]]:
    """Walk through the log in time.

    Yields:
        A chosen request and the events that became visible before it and after the one before.
    """
    events = visible_events(snapshot)
    following = next(events, None)
    for number in chosen.tolist():
        due = []
        while following is not None and following.visible_at < slates.as_of[number]:
            due.append(following)
            following = next(events, None)
        yield number, due


def _translated(request: Slates, dataset: Dataset, state: OnlineState) -> Slates:
    """Name the same user and items by the rows of the online state, which has seen less.

    Returns:
        The request as a server would make it.
    """
    user = int(request.users[0])
    user_id = dataset.log.users.ids[user] if user >= 0 else ""
    item_ids = [dataset.log.items.ids[row] for row in request.items.tolist()]
    context = request.context[0] if request.context else None
    return one_slate(
        state.users.row(user_id), int(request.as_of[0]), state.items.rows(item_ids), context
    )


def _differences(found: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.bool_]:
    both_missing = np.isnan(found) & np.isnan(expected)
    close = np.abs(found - expected) <= TOLERANCE * np.maximum(1.0, np.abs(expected))
    differ: NDArray[np.bool_] = ~(both_missing | close)
    return differ
