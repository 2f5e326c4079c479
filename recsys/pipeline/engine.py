"""The engine: a bundle, the online state, and what happens between a request and its answer.

Thread-safe. One lock serialises changes and reads of the state; scoring happens outside of it.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from recsys.bundle.contents import Scorer, read_profile, read_scorer
from recsys.bundle.store import BundleStore, OpenBundle
from recsys.errors import PluginError
from recsys.events.frames import kind_of
from recsys.events.snapshot import LogSnapshot, read_snapshot
from recsys.features.actions import encode_log
from recsys.features.online import OnlineState
from recsys.features.slates import Slates, one_slate
from recsys.pipeline.candidates import find_candidates
from recsys.pipeline.explaining import explain
from recsys.pipeline.feature_log import FeatureLog, ServedRequest
from recsys.pipeline.known import KnownEvents
from recsys.pipeline.observing import SILENT, RequestObserver
from recsys.pipeline.requests import (
    Explanation,
    RankedList,
    RankQuery,
    RecommendQuery,
    check_rank,
    check_recommend,
)
from recsys.ranking.ranker import Ranker
from recsys.schema import Event, ItemEvent, VisibleEvent
from recsys.workspace import Workspace

DEFAULT_TOP_K = 20

_log = structlog.get_logger()
#: Unknown items that a warning names.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class _Table:
    """The candidates of a request as rows, and the ranker that fits its columns."""

    matrix: NDArray[np.float32]
    ranker: Ranker
    warnings: list[str]


class Engine:
    """Ranks and recommends with one bundle, and keeps its state up to date.

    Args:
        workspace: Where bundles, plugins and the log are.
        scorer: The bundle.
        state: Online state that the scorer's plan reads.
        known: Ids of all events in the state.
    """

    def __init__(
        self, workspace: Workspace, scorer: Scorer, state: OnlineState, known: KnownEvents
    ) -> None:
        self._workspace = workspace
        self._scorer = scorer
        self._state = state
        self._known = known
        self._lock = threading.RLock()
        self._feature_log: FeatureLog | None = None
        self._journal: list[VisibleEvent] | None = None
        # Weak: an activation that fails after loading leaves nobody else holding the new engine.
        self._successor: weakref.ref[Engine] | None = None

    @property
    def model_version(self) -> str:
        """The bundle that ranks."""
        return self._scorer.version

    @property
    def last_event_us(self) -> int:
        """When the newest event became visible, in microseconds; 0 for an empty log."""
        return self._known.last_visible_at

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The ranker's columns."""
        return self._scorer.plan.names

    def now(self, clock: str) -> int:
        """Give the instant of a request that is not made to a server.

        Args:
            clock: `system`, or `log`: just after the newest event.

        Returns:
            Microseconds since the Unix epoch.
        """
        after_log = self.last_event_us + 1
        return after_log if clock == "log" else max(time.time_ns() // 1000, after_log)

    def seen(self, event: Event) -> bool:
        """Say whether an event of this kind and id is in the state already.

        Returns:
            True for a retry.
        """
        with self._lock:
            return self._known.has(kind_of(event), event.event_id)

    def apply(self, events: Sequence[VisibleEvent]) -> None:
        """Take events in; those that are known already change nothing.

        Args:
            events: In order of `visible_at`.
        """
        with self._lock:
            new = [visible for visible in events if self._known.add(visible)]
            self._state.apply(new)
            if self._journal is not None:
                self._journal += new
            successor = self._successor() if self._successor else None
        if any(isinstance(visible.event, ItemEvent) for visible in new):
            for model in self._scorer.contents.models.values():
                model.refresh()
        if successor is not None:
            successor.apply(new)

    def rank(self, query: RankQuery, observer: RequestObserver = SILENT) -> RankedList:
        """Order the candidates of a request.

        Args:
            query: The request.
            observer: Hears how it is answered.

        Returns:
            The ranked list.

        Raises:
            RequestError: A field of the request is at fault.
        """
        since = observer.now()
        check_rank(query)
        excluded = set(query.exclude_item_ids)
        item_ids = [i for i in dict.fromkeys(query.item_ids) if i not in excluded]
        with self._lock:
            since = observer.stage("wait", since)
            rows = self._state.items.rows(item_ids)
            slates = self._slates(query.user_id, query.as_of, rows, query.context)
            since = observer.stage("rows", since)
            table = self._matrix(slates, observer)
            self._record(query, slates, item_ids, table)
        unknown = [item_ids[i] for i in np.flatnonzero(rows < 0).tolist()]
        if unknown:
            some = ", ".join(unknown[:_NAMED]) + (", ..." if len(unknown) > _NAMED else "")
            warning = f"{len(unknown)} unknown items were ranked without a history: {some}"
            table.warnings.append(warning)
        return self._answer(query, item_ids, table, observer)

    def recommend(self, query: RecommendQuery, observer: RequestObserver = SILENT) -> RankedList:
        """Find candidates in the catalogue and order them.

        Args:
            query: The request.
            observer: Hears how it is answered.

        Returns:
            The ranked list; items that the user acted on, or excluded ones, are not in it.

        Raises:
            RequestError: A field of the request is at fault.
        """
        since = observer.now()
        check_recommend(query)
        query = replace(query, top_k=query.top_k or DEFAULT_TOP_K)
        with self._lock:
            since = observer.stage("wait", since)
            nothing = np.zeros(0, dtype=np.int32)
            request = self._slates(query.user_id, query.as_of, nothing, query.context)
            found = find_candidates(self._scorer, self._state, request, query)
            slates = self._slates(query.user_id, query.as_of, found.rows, query.context)
            observer.stage("candidates", since)
            table = self._matrix(slates, observer)
            item_ids = [self._state.items.ids[row] for row in found.rows.tolist()]
            self._record(query, slates, item_ids, table)
        table.warnings.extend(
            _failed(error, "candidates", observer) for error in found.failures.values()
        )
        return self._answer(query, item_ids, table, observer)

    def user_ids(self) -> list[str]:
        """List all users that any event names.

        Returns:
            Ids in order of first sight.
        """
        with self._lock:
            return list(self._state.users.ids)

    def item_ids(self) -> list[str]:
        """List all items that any event names.

        Returns:
            Ids in order of first sight.
        """
        with self._lock:
            return list(self._state.items.ids)

    def title(self, item_id: str) -> str:
        """Find a short text that tells a person which item this is.

        Returns:
            Its title or name where it has one, else the id.
        """
        with self._lock:
            items = self._state.items
            version = int(items.current_versions(items.rows([item_id]))[0])
            attributes = items.attributes(version) if version >= 0 else {}
        for name in ("title", "name", "headline"):
            if isinstance(found := attributes.get(name), str):
                return found
        return item_id

    def record_features(self, log: FeatureLog | None) -> None:
        """Keep a sample of what the ranker is given, here and in bundles that are opened beside."""
        self._feature_log = log

    def with_bundle(self, version: str) -> Engine:
        """Open another bundle beside this one; events that arrive meanwhile reach both.

        Returns:
            An engine with the other bundle, ready to take over.

        Raises:
            RecsysError: The bundle cannot be used; this engine goes on unchanged.
        """
        with self._lock:
            self._journal = []
        try:
            successor = load_engine(self._workspace, version)
            successor.record_features(self._feature_log)
            with self._lock:
                successor.apply(self._journal)
                self._successor = weakref.ref(successor)
        finally:
            self._journal = None
        return successor

    def _slates(
        self, user_id: str, as_of: int, rows: NDArray[np.int32], context: dict[str, Any]
    ) -> Slates:
        # An event that was acknowledged must be seen by the next request, also when both carry the
        # same microsecond: the past is what is strictly before.
        instant = max(as_of, self._known.last_visible_at + 1)
        return one_slate(self._state.users.row(user_id), instant, rows, context)

    def _matrix(self, slates: Slates, observer: RequestObserver) -> _Table:
        plan, contents = self._scorer.plan, self._scorer.contents
        warnings: list[str] = []
        since = observer.now()
        try:
            scores, ranker = plan.scores(slates, self._state, contents.models), contents.ranker
        except PluginError as error:
            plan, scores, ranker = plan.without_models(), {}, contents.fallback
            warnings.append(_failed(error, "feature_models", observer))
        since = observer.stage("models", since)
        matrix, failures = plan.matrix_without_failing(slates, self._state, scores)
        warnings += [_failed(error, "columns", observer) for error in failures]
        observer.stage("features", since)
        return _Table(matrix, ranker, warnings)

    def _record(
        self, query: RankQuery | RecommendQuery, slates: Slates, item_ids: list[str], table: _Table
    ) -> None:
        # With the lock held: the position of the state belongs to this very matrix.
        if self._feature_log is None or not self._feature_log.draw():
            return
        served = ServedRequest(
            request_id=query.request_id,
            user_id=query.user_id,
            as_of=int(slates.as_of[0]),
            last_visible_at=self._known.last_visible_at,
            n_events=self._known.n_events,
            model_version=self.model_version,
            is_degraded=bool(table.warnings),
            context=query.context,
            item_ids=item_ids,
            features=table.ranker.feature_names,
            matrix=table.matrix,
        )
        self._feature_log.put(served)

    def _answer(
        self,
        query: RankQuery | RecommendQuery,
        item_ids: list[str],
        table: _Table,
        observer: RequestObserver,
    ) -> RankedList:
        since = observer.now()
        scores = table.ranker.score(table.matrix) if len(item_ids) else np.zeros(0)
        since = observer.stage("ranker", since)
        observer.scored(table.matrix, scores)
        order = np.argsort(-scores, kind="stable")[: query.top_k or None]
        best = [item_ids[i] for i in order.tolist()]
        explanations: list[Explanation] = []
        if query.explain_top_k and len(order):
            chosen = order[: query.explain_top_k]
            explanations = explain(table.ranker, table.matrix[chosen], best[: len(chosen)])
            observer.stage("explain", since)
        return RankedList(
            request_id=query.request_id,
            model_version=self.model_version,
            item_ids=best,
            scores=scores[order].tolist(),
            explanations=explanations,
            warnings=table.warnings,
        )


def _failed(error: PluginError, lost: str, observer: RequestObserver) -> str:
    """Tell the observer and the operator's log of a plugin that failed.

    Returns:
        What the caller hears: not the cause, which may quote data.
    """
    observer.plugin_failed(error.plugin)
    observer.degraded(lost)
    _log.warning("plugin_failed", plugin=error.plugin, hook=error.hook, cause=error.cause)
    without = {
        "feature_models": "feature models",
        "columns": "the columns of a plugin",
        "candidates": "a source or filter",
    }
    return f"answered without {without[lost]}: {error.plugin} failed"


def load_engine(workspace: Workspace, version: str | None = None) -> Engine:
    """Open a bundle of a workspace and fold its log into online state.

    Args:
        workspace: The workspace.
        version: None: the active bundle.

    Returns:
        An engine that is ready to rank.

    Raises:
        RecsysError: The bundle, a plugin or the log cannot be used; the message says which and why.
    """
    bundle = BundleStore(workspace.bundles).open(version)
    return make_engine(workspace, bundle, read_snapshot(workspace.log_config))


def make_engine(workspace: Workspace, bundle: OpenBundle, snapshot: LogSnapshot) -> Engine:
    """Make an engine of a verified bundle and a log.

    Returns:
        The engine.
    """
    log = encode_log(snapshot, tuple(read_profile(bundle).event_types))
    scorer = read_scorer(bundle, workspace, log.items)
    state = OnlineState(log, tuple(scorer.capabilities.plan.aggregates.values()))
    return Engine(workspace, scorer, state, KnownEvents(snapshot))
