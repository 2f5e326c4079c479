"""Proves on a log that serving would have seen what training sees.

The log is replayed event by event through the online state; at a sample of its impressions the
features are read there and compared with the offline execution, column by column.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.events.progress import Progress, tell_nobody
from recsys.events.replay import visible_events
from recsys.events.snapshot import LogSource, snapshot_of
from recsys.features.actions import EncodedLog, encode_log
from recsys.features.online import OnlineState
from recsys.features.plan import FeaturePlan
from recsys.features.reading import StateReader
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
    source: LogSource,
    dataset: Dataset,
    plan: FeaturePlan,
    rng: np.random.Generator,
    *,
    n_requests: int = 1000,
    progress: Progress = tell_nobody,
) -> Skew:
    """Compare the online and the offline execution on a sample of past requests.

    Args:
        source: The log; gone through once more, for the replay. What is imported into it or
            taken out of it meanwhile may show as a mismatch.
        dataset: The same, encoded, and its requests.
        plan: Which features; those of feature models compare equal when their inputs do and are
            left out.
        rng: Chooses the sample.
        n_requests: How many requests at most.
        progress: Told how many requests have been replayed.

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
    asked = slates.take(chosen)
    offline = plan.matrix(asked, dataset.reader, {})
    for position, (number, due) in enumerate(_replay(source, slates, chosen)):
        state.apply(due)
        request = slates.part(number, number + 1)
        expected = offline[asked.offsets[position] : asked.offsets[position + 1]]
        found = plan.matrix(same_request(request, dataset.log, state), state, {})
        differ += differences(found, expected).sum(axis=0)
        n_values += expected.size
        progress("replaying requests", position + 1, n_chosen)
    counts = dict(zip(plan.names, differ.tolist(), strict=True))
    return Skew(len(chosen), n_values, counts)


def _replay(
    source: LogSource, slates: Slates, chosen: NDArray[np.int64]
) -> Iterator[tuple[int, list[VisibleEvent]]]:
    """Walk through the log in time.

    Yields:
        A chosen request and the events that became visible before it and after the one before.
    """
    events = visible_events(source)
    following = next(events, None)
    for number in chosen.tolist():
        due = []
        while following is not None and following.visible_at < slates.as_of[number]:
            due.append(following)
            following = next(events, None)
        yield number, due


def same_request(request: Slates, log: EncodedLog, reader: StateReader) -> Slates:
    """Name the user and the items of a request by the rows of another encoding of the log.

    Args:
        request: One request, in rows of `log`.
        log: Where its rows come from.
        reader: Whose rows are wanted; it may have seen less.

    Returns:
        The request as it would be made to that reader.
    """
    user, items = int(request.users[0]), request.items
    item_ids = [log.items.ids[row] if row >= 0 else "" for row in items.tolist()]
    return one_slate(
        reader.users.row(log.users.ids[user]) if user >= 0 else user,
        int(request.as_of[0]),
        np.where(items >= 0, reader.items.rows(item_ids), items),
        request.context[0] if request.context else None,
        session_id=request.sessions[0] if request.sessions else "",
        candidates=request.candidates,
    )


def differences(found: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Say which values differ beyond `TOLERANCE`; missing equals missing only.

    Returns:
        bool, in the shape of both.
    """
    both_missing = np.isnan(found) & np.isnan(expected)
    close = np.abs(found - expected) <= TOLERANCE * np.maximum(1.0, np.abs(expected))
    differ: NDArray[np.bool_] = ~(both_missing | close)
    return differ
