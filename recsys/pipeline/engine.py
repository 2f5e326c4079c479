"""The engine: a bundle, what is known now, and what happens between a request and its answer.

Thread-safe. The lock of the live state is held while candidates become columns; the ranker runs
outside of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import structlog
from numpy.typing import NDArray

from recsys.bundle.contents import FALLBACK, RANKER, Scorer, read_scorer
from recsys.bundle.locks import exclusive
from recsys.bundle.store import BundleStore
from recsys.features.candidates import CandidateColumns
from recsys.features.seeds import Seeds
from recsys.features.slates import Slates, one_slate
from recsys.pipeline.age import warn_of_old_log
from recsys.pipeline.candidates import find_candidates, prepare_sources
from recsys.pipeline.cascade import Cascade, Table, failed
from recsys.pipeline.explaining import explain
from recsys.pipeline.feature_log import FeatureLog
from recsys.pipeline.given import columns_of
from recsys.pipeline.guarding import Guard
from recsys.pipeline.live import LiveState
from recsys.pipeline.observing import SILENT, RequestObserver
from recsys.pipeline.opening import open_bundle, open_on_log
from recsys.pipeline.recording import Recorder
from recsys.pipeline.requests import (
    Explanation,
    RankedList,
    RankQuery,
    RecommendQuery,
    check_rank,
    check_recommend,
)
from recsys.pipeline.rules import Rules
from recsys.pipeline.seeding import seeds_of
from recsys.pipeline.warming import answer_latest
from recsys.ranking.trial import check_parses
from recsys.schema import Event, VisibleEvent
from recsys.workspace import Workspace

_log = structlog.get_logger("recsys.pipeline")
DEFAULT_TOP_K = 20

#: Events that a start takes in in about a quarter of a second; writing a state takes as long.
_LONG_TAIL = 10_000
#: Characters of an item's title.
_TITLE_LENGTH = 100
#: Unknown items that a warning names.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class _Candidates:
    """What an answer is made of.

    Args:
        item_ids: Ids.
        versions: int32 (n,): what is known of them, as far as rules ask.
        table: Their columns.
    """

    item_ids: list[str]
    versions: NDArray[np.int32]
    table: Table


class Engine:
    """Ranks and recommends with one bundle, and keeps its state up to date.

    Args:
        workspace: Where bundles, plugins and the log are.
        scorer: The bundle.
        live: What is known; keeps what the bundle reads.
    """

    def __init__(self, workspace: Workspace, scorer: Scorer, live: LiveState) -> None:
        self._workspace = workspace
        self._scorer = scorer
        self._live = live
        self._guard = Guard()
        self._cascade = Cascade(scorer, live, self._guard)
        self._rules = Rules(scorer, live.state.items, self._guard)
        self._seed_type = scorer.contents.profile.commonest_type
        self._recorder = Recorder(scorer, live)

    @property
    def model_version(self) -> str:
        """The bundle that ranks."""
        return self._scorer.version

    @property
    def last_event_us(self) -> int:
        """When the newest event became visible, in microseconds; 0 for an empty log."""
        return self._live.last_event_us

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
        instant = after_log if clock == "log" else max(time.time_ns() // 1000, after_log)
        warn_of_old_log(self.last_event_us, instant)
        return instant

    def seen(self, events: Sequence[Event]) -> list[bool]:
        """Say which events, by kind and id, are in the state already.

        Returns:
            One answer per event; True for a retry.
        """
        return self._live.seen(events)

    def apply(self, events: Sequence[VisibleEvent]) -> None:
        """Take events in; those that are known already change nothing.

        After events of items call `catch_up`: until then columns of feature models are missing.

        Args:
            events: In order of `visible_at`.
        """
        self._live.apply(events)

    def catch_up(self) -> None:
        """Let feature models take in items that the state has gained; new texts are encoded."""
        for model in self._scorer.contents.models.values():
            model.refresh()

    def shares_state(self, other: Engine) -> bool:
        """Say whether events that one engine takes in are known to the other.

        Returns:
            True when both read one state.
        """
        return self._live is other._live

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
        item_ids = list(dict.fromkeys(query.item_ids))
        if excluded := set(query.exclude_item_ids):
            item_ids = [item_id for item_id in item_ids if item_id not in excluded]
        with self._live.lock:
            since = observer.stage("wait", since)
            rows = self._live.state.items.rows(item_ids)
            seeds, unknown_seeds = self._seeds(query)
            slates = self._slates(query, rows, item_ids, query.item_ids, seeds=seeds)
            since = observer.stage("rows", since)
            table = self._cascade.table(slates, query.haste, observer)
            versions = self._rules.versions(rows)
            self._recorder.record(query, slates, item_ids, table)
        unknown = [item_ids[i] for i in np.flatnonzero(rows < 0).tolist()]
        if unknown:
            some = ", ".join(unknown[:_NAMED]) + (", ..." if len(unknown) > _NAMED else "")
            warning = f"{len(unknown)} unknown items were ranked without a history: {some}"
            table.warnings.append(warning)
        table.warnings.extend(unknown_seeds)
        return self._answer(query, _Candidates(item_ids, versions, table), observer)

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
        with self._live.lock:
            since = observer.stage("wait", since)
            nothing = np.zeros(0, dtype=np.int32)
            seeds, unknown_seeds = self._seeds(query)
            request = self._slates(query, nothing, seeds=seeds)
            found = find_candidates(
                self._scorer, self._live.state, request, query, guard=self._guard
            )
            item_ids = [self._live.state.items.ids[row] for row in found.rows.tolist()]
            slates = self._slates(query, found.rows, item_ids, seeds=seeds)
            observer.stage("candidates", since)
            table = self._cascade.table(slates, query.haste, observer)
            versions = self._rules.versions(found.rows)
            self._recorder.record(query, slates, item_ids, table)
        table.warnings.extend(
            failed(error, "candidates", observer) for error in found.failures.values()
        )
        table.warnings.extend(unknown_seeds)
        return self._answer(query, _Candidates(item_ids, versions, table), observer)

    @property
    def n_erased(self) -> int:
        """How many users had been taken out of the log that the state was made of."""
        return self._live.n_erased

    def forget(self, user_ids: Sequence[str]) -> None:
        """Forget users at once, as far as that can be done without the log."""
        self._live.forget(user_ids)
        self._recorder.forget(user_ids)

    @property
    def is_far_ahead(self) -> bool:
        """Whether the state holds so much more than the one on disk that a start would notice."""
        n_saved = self._live.n_saved
        return n_saved is None or self._live.n_events - n_saved >= _LONG_TAIL

    def save_state(self) -> None:
        """Write the state to disk, so that the next start reads only what comes after."""
        # Several workers may stop at once; their states differ by nothing that matters.
        with exclusive(self._workspace.folder):
            self._live.save(self._workspace.state)

    def user_ids(self) -> list[str]:
        """List all users that any event names.

        Returns:
            Ids in order of first sight.
        """
        with self._live.lock:
            return list(self._live.state.users.ids)

    def item_ids(self) -> list[str]:
        """List all items that any event names.

        Returns:
            Ids in order of first sight.
        """
        with self._live.lock:
            return list(self._live.state.items.ids)

    def title(self, item_id: str) -> str:
        """Find a short text that tells a person which item this is.

        Returns:
            Its title or name where it has one, else the first of its texts that has a letter, else
            the id.
        """
        with self._live.lock:
            items = self._live.state.items
            version = int(items.current_versions(items.rows([item_id]))[0])
            attributes = items.attributes(version) if version >= 0 else {}
        named = (attributes.get(name) for name in ("title", "name", "headline"))
        titles = [found for found in named if isinstance(found, str)]
        texts = (found for found in attributes.values() if isinstance(found, str))
        titles += [text for text in texts if any(map(str.isalpha, text))]
        return next(iter(titles), item_id)[:_TITLE_LENGTH]

    def record_features(self, log: FeatureLog | None) -> None:
        """Keep a sample of what the ranker is given, here and in bundles that are opened beside."""
        self._recorder.log = log

    def warm_up(self) -> list[str]:
        """Answer the latest requests of the log once more, for nobody, and fold made-up events.

        The first answers of a bundle are slow, and a bundle that cannot answer shows it here.

        Returns:
            What answers lacked, such as the columns of a plugin that failed; each once.

        Raises:
            BundleError: A request was not answered.
        """
        self._live.warm_up()
        prepare_sources(self._scorer)
        recording, self._recorder.log = self._recorder.log, None
        try:
            # Twice: the first time tells how long compiling takes, not how long answers do.
            list(self._answer_latest())
            self._cascade.forget_first_times()
            self._guard.forget()
            return list(dict.fromkeys(self._answer_latest()))
        finally:
            self._recorder.log = recording

    def _answer_latest(self) -> Iterator[str]:
        return answer_latest(self.rank, self.recommend, live=self._live, version=self.model_version)

    def with_bundle(self, version: str, *, is_new_state: bool = False) -> Engine:
        """Open another bundle beside this one; events that arrive meanwhile reach both.

        Returns:
            An engine with the other bundle, ready to take over.

        Raises:
            RecsysError: The bundle cannot be used; this engine goes on unchanged.
        """
        bundle = BundleStore(self._workspace.bundles).open(version)
        check_parses([bundle.path / RANKER, bundle.path / FALLBACK])
        if not is_new_state:
            scorer = read_scorer(bundle, self._workspace, self._live.state.items)
            if self._live.serves(scorer):
                successor = Engine(self._workspace, scorer, self._live)
                successor.record_features(self._recorder.log)
                return successor
        with self._live.journal() as arrived:
            successor = Engine(self._workspace, *open_on_log(self._workspace, bundle))
            self._live.hand_on_to(successor._live, arrived)
        successor.record_features(self._recorder.log)
        return successor

    def _slates(
        self,
        query: RankQuery | RecommendQuery,
        rows: NDArray[np.int32],
        item_ids: Sequence[str] = (),
        asked_ids: Sequence[str] = (),
        *,
        seeds: Seeds | None = None,
    ) -> Slates:
        # An event that was acknowledged must be seen by the next request, also when both carry the
        # same microsecond: the past is what is strictly before.
        instant = max(query.as_of, self._live.last_event_us + 1)
        user = self._live.state.users.row(query.user_id)
        said: CandidateColumns = {}
        if query.candidate_attributes:
            said = columns_of(query.candidate_attributes, asked_ids, item_ids)
        slates = one_slate(
            user, instant, rows, query.context, session_id=query.session_id, candidates=said
        )
        return slates if seeds is None else replace(slates, seeds=seeds)

    def _seeds(self, query: RankQuery | RecommendQuery) -> tuple[Seeds | None, list[str]]:
        return seeds_of(query.seed_item_ids, self._live.state.items, self._seed_type)

    def _answer(
        self,
        query: RankQuery | RecommendQuery,
        candidates: _Candidates,
        observer: RequestObserver,
    ) -> RankedList:
        item_ids, table = candidates.item_ids, candidates.table
        since = observer.now()
        scores = self._cascade.score(table)
        since = observer.stage("ranker", since)
        observer.scored(table.matrix, scores)
        order, failures = self._rules.order(scores, candidates.versions, query.top_k)
        table.warnings.extend(failed(error, "order", observer) for error in failures)
        since = observer.stage("rules", since) if self._rules else since
        best = [item_ids[i] for i in order.tolist()]
        explanations: list[Explanation] = []
        if query.explain_top_k and len(order) and table.ranker is not None:
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


def load_engine(
    workspace: Workspace, version: str | None = None, *, for_others: bool = False
) -> Engine:
    """Open a bundle of a workspace and fold its log into online state.

    Args:
        workspace: The workspace.
        version: None: the active bundle.
        for_others: Write a state to disk that had to be made of the log, or had much to catch up
            with, so that processes which start after this one need not do the same, and share what
            they do not change.

    Returns:
        An engine that is ready to rank.

    Raises:
        RecsysError: The bundle, a plugin or the log cannot be used; the message says which and why.
    """
    bundle = BundleStore(workspace.bundles).open(version)
    engine = Engine(workspace, *open_bundle(workspace, bundle))
    if for_others and engine.is_far_ahead:
        try:
            engine.save_state()
        except OSError as error:
            _log.warning("state_not_saved", found=type(error).__name__)
    return engine
