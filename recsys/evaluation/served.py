"""Proves of requests that were answered that the ranker was given what training would have seen.

Every request of the feature log is computed anew by the offline execution, from the events that the
state had seen which answered it. A request that cannot be compared is not passed over in silence:
it is counted with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.contents import Scorer, read_profile, read_scorer
from recsys.bundle.store import BundleStore
from recsys.errors import BundleError
from recsys.evaluation.skew import differences
from recsys.events.changed import LogBefore
from recsys.events.frames import KINDS
from recsys.events.snapshot import LogSnapshot, LogSource
from recsys.features.actions import EncodedLog, encode_log
from recsys.features.candidates import CandidateColumns, candidate_columns
from recsys.features.offline import OfflineReader
from recsys.features.seeds import Seeds
from recsys.features.slates import Slates
from recsys.pipeline.feature_log import ServedRequest, fingerprint
from recsys.workspace import Workspace

#: Columns of feature models are compared more coarsely: the same vectors, multiplied in batches of
#: another size, differ in the last digits.
_MODEL_TOLERANCE: Final = 1e-3
#: Mismatches that are shown value by value.
_SHOWN: Final = 5
#: Requests that are computed together: one pass over the log serves them all.
_BATCH: Final = 256
#: Logs that are encoded anew, for requests that were answered while events were on their way.
_MOST_POSITIONS: Final = 20

GONE: Final = "their bundle is gone or cannot be opened"
CHANGED: Final = "plugins have changed since"
DEGRADED: Final = "a plugin had failed"
ERASED: Final = "events that the server had seen are gone from the log"
LATE: Final = "events had not reached the server, of another process or imported since"
ON_THE_WAY: Final = "events were on their way to the server"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One value that differs.

    Args:
        feature: The column.
        request_id: The request.
        item_id: The candidate.
        served: What the ranker was given; None: missing.
        recomputed: What the log says; None: missing.
    """

    feature: str
    request_id: str
    item_id: str
    served: float | None
    recomputed: float | None


@dataclass(frozen=True, slots=True)
class ServedCheck:
    """The result of a comparison.

    Args:
        n_requests: Requests compared.
        n_values: Feature values compared.
        mismatches: Number of values that differ, by feature; all features are listed.
        examples: The first few of them.
        skipped: Requests that could not be compared, by reason.
    """

    n_requests: int
    n_values: int
    mismatches: dict[str, int]
    examples: list[Mismatch]
    skipped: dict[str, int]

    @property
    def n_mismatches(self) -> int:
        """Values that differ, over all features."""
        return sum(self.mismatches.values())


def check_served(
    workspace: Workspace, source: LogSource, served: Iterable[ServedRequest]
) -> ServedCheck:
    """Compare what was served with what the log says.

    Args:
        workspace: Whose bundles answered.
        source: Its log; gone through once for every bundle that answered, and for every request
            among which events came, as far as that request.
        served: Requests of its feature log.

    Returns:
        Mismatches by feature.
    """
    tally = _Tally()
    by_version = sorted(served, key=attrgetter("model_version"))
    for version, requests in groupby(by_version, key=attrgetter("model_version")):
        answered = list(requests)
        try:
            past = _Past(workspace, source, version, answered)
        except BundleError:
            tally.skipped[GONE] += len(answered)
            continue
        comparable = [request for request in answered if tally.admits(request, past)]
        comparable.sort(key=lambda request: (past.group_of(request), request.as_of))
        for _, group in groupby(comparable, key=past.group_of):
            together = list(group)
            for start in range(0, len(together), _BATCH):
                batch = together[start : start + _BATCH]
                for request, expected in zip(batch, past.compute(batch), strict=True):
                    tally.compare(request, expected, past)
    return tally.result()


class _Past:
    """A bundle, and the log as it was when some requests were answered."""

    def __init__(
        self,
        workspace: Workspace,
        source: LogSource,
        version: str,
        answered: Sequence[ServedRequest],
    ) -> None:
        bundle = BundleStore(workspace.bundles).open(version)
        self._source = source
        self._types = tuple(read_profile(bundle).event_types)
        last_seen = [request.last_visible_at for request in answered]
        self._counts = _EventCounts([*last_seen, *(request.as_of - 1 for request in answered)])
        self.log = encode_log(source, self._types, [self._counts])
        self.scorer: Scorer = read_scorer(bundle, workspace, self.log.items)
        self._plugins = fingerprint(self.scorer.capabilities.plugins)
        self._whole = OfflineReader(self.log)
        self._positions: dict[int, tuple[EncodedLog, OfflineReader]] = {}
        self._behind: set[int] = set()

    def reason_to_skip(self, request: ServedRequest) -> str:
        if request.plugins != self._plugins:
            return CHANGED
        if request.is_degraded:
            return DEGRADED
        if request.n_erased != self._counts.n_erased:
            return ERASED
        n_in_log = self._counts.until(request.last_visible_at)
        if n_in_log != request.n_events:
            return ERASED if n_in_log < request.n_events else LATE
        if self._is_behind(request) and request.last_visible_at not in self._behind:
            if len(self._behind) >= _MOST_POSITIONS:
                return ON_THE_WAY
            self._behind.add(request.last_visible_at)
        return ""

    def group_of(self, request: ServedRequest) -> tuple[int, tuple[str, ...]]:
        """Tell apart what cannot be computed together.

        Returns:
            The newest event that may be seen beside the request's own instant, 0: all before that;
            and the columns.
        """
        position = request.last_visible_at if self._is_behind(request) else 0
        return position, request.features

    def compute(self, batch: Sequence[ServedRequest]) -> list[NDArray[np.float32]]:
        """Compute the columns of requests of one group from the events that the server had seen.

        Returns:
            float32 (n_candidates, n_features) of each.
        """
        position, features = self.group_of(batch[0])
        log, reader = self._seen_until(position) if position else (self.log, self._whole)
        sizes = [len(request.item_ids) for request in batch]
        slates = Slates(
            users=log.users.rows([request.user_id for request in batch]),
            as_of=np.array([request.as_of for request in batch], dtype=np.int64),
            items=log.items.rows([item for request in batch for item in request.item_ids]),
            offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            context=[request.context for request in batch],
            sessions=[request.session_id for request in batch],
            candidates=self._candidates(batch, sizes),
            seeds=self._seeds(batch, log),
        )
        plan = self.scorer.plan.only(features)
        models = {n: m for n, m in self.scorer.contents.models.items() if n in plan.models}
        matrix = plan.matrix(slates, reader, plan.scores(slates, reader, models))
        return np.split(matrix, slates.offsets[1:-1])

    def _seeds(self, batch: Sequence[ServedRequest], log: EncodedLog) -> Seeds | None:
        if not any(request.seed_item_ids for request in batch):
            return None
        rows = [log.items.rows(request.seed_item_ids) for request in batch]
        return Seeds(rows, self.scorer.contents.profile.commonest_type)

    def _candidates(self, batch: Sequence[ServedRequest], sizes: Sequence[int]) -> CandidateColumns:
        starts = np.cumsum([0, *sizes])
        said = (
            (int(start) + place, {name: value})
            for start, request in zip(starts[:-1], batch, strict=True)
            for name, values in request.candidates.items()
            for place, value in enumerate(values)
            if value is not None
        )
        return candidate_columns(said, int(starts[-1]))

    def _is_behind(self, request: ServedRequest) -> bool:
        """Say whether events became visible before the request that the state had not seen.

        Returns:
            True when there are such events.
        """
        n_before = self._counts.until(request.as_of - 1)
        return n_before != self._counts.until(request.last_visible_at)

    def _seen_until(self, instant: int) -> tuple[EncodedLog, OfflineReader]:
        if instant not in self._positions:
            log = encode_log(LogBefore(self._source, instant + 1), self._types)
            self._positions[instant] = log, OfflineReader(log)
        return self._positions[instant]


class _EventCounts:
    """Counts the events until some instants while a log is encoded: a watcher of `encode_log`.

    Args:
        instants: Microseconds.
    """

    def __init__(self, instants: Sequence[int]) -> None:
        self._instants = np.unique(np.array(instants, dtype=np.int64))
        self._n_until = np.zeros(len(self._instants), dtype=np.int64)
        self.n_erased = 0

    def __call__(self, piece: LogSnapshot, log: EncodedLog) -> None:
        """Take a piece in."""
        del log
        for kind in KINDS:
            visible = getattr(piece, kind)["visible_at"].to_numpy()
            self._n_until += np.searchsorted(visible, self._instants, side="right")
        self.n_erased = piece.erasures

    def until(self, instant: int) -> int:
        """Say how many events had become visible at one of the instants, its own included.

        Returns:
            The number.
        """
        return int(self._n_until[np.searchsorted(self._instants, instant)])


class _Tally:
    """Counts while requests are compared."""

    def __init__(self) -> None:
        self.n_requests = 0
        self.n_values = 0
        self.mismatches: Counter[str] = Counter()
        self.examples: list[Mismatch] = []
        self.skipped: Counter[str] = Counter()

    def result(self) -> ServedCheck:
        return ServedCheck(
            n_requests=self.n_requests,
            n_values=self.n_values,
            mismatches=dict(self.mismatches),
            examples=self.examples,
            skipped=dict(self.skipped),
        )

    def admits(self, request: ServedRequest, past: _Past) -> bool:
        """Say whether a request can be compared; counts it if not.

        Returns:
            False where there is a reason to skip it.
        """
        reason = past.reason_to_skip(request)
        if reason:
            self.skipped[reason] += 1
        return not reason

    def compare(self, request: ServedRequest, expected: NDArray[np.float32], past: _Past) -> None:
        """Count the values of one request that differ."""
        plain = set(past.scorer.plan.without_models().names)
        of_model = np.array([name not in plain for name in request.features])
        differ = differences(request.matrix, expected)
        near = np.abs(request.matrix - expected) <= _MODEL_TOLERANCE
        differ &= ~(near & of_model[None, :])
        self.n_requests += 1
        self.n_values += expected.size
        counts = dict(zip(request.features, differ.sum(axis=0).tolist(), strict=True))
        self.mismatches.update(counts)
        for row, column in np.argwhere(differ)[: _SHOWN - len(self.examples)].tolist():
            self.examples.append(
                Mismatch(
                    request.features[column],
                    request.request_id,
                    request.item_ids[row],
                    _number(request.matrix[row, column]),
                    _number(expected[row, column]),
                )
            )


def _number(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)
