"""Candidates for a recommendation: sources in turn, then exclusions and filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, zip_longest

import numpy as np
import structlog
from numpy.typing import NDArray

from recsys.bundle.contents import Scorer
from recsys.errors import PluginError, told
from recsys.features.entities import ANONYMOUS
from recsys.features.matrix import EXPRESSION_FAILURES
from recsys.features.models import FittedFeatureModel
from recsys.features.online import OnlineState
from recsys.features.plan import FeaturePlan, keep_mask
from recsys.features.slates import Slates
from recsys.hookspecs import CandidateSource, Filter, SourceView
from recsys.pipeline.given import CandidateAttribute, columns_of
from recsys.pipeline.guarding import PLUGIN_BUDGET_S, Guard
from recsys.pipeline.requests import RecommendQuery

_log = structlog.get_logger("recsys.pipeline")

#: Candidates that are ranked for one recommendation; with a long `top_k` so many for each place.
POOL_SIZE = 200
_PER_PLACE = 2


@dataclass(slots=True)
class Found:
    """Candidates of one recommendation.

    Args:
        rows: int32 (<= pool size,): item rows, each once.
        given: What the caller says of candidates.
        failures: Of sources and filters, by name; each was left out.
    """

    rows: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    given: Sequence[CandidateAttribute] = ()
    failures: dict[str, PluginError] = field(default_factory=dict)


def find_candidates(
    scorer: Scorer, state: OnlineState, request: Slates, query: RecommendQuery, *, guard: Guard
) -> Found:
    """Collect what the sources propose and take out what must not be recommended.

    Sources take turns, best proposals first, so that none can crowd out another. Each is asked for
    more than it may contribute, because exclusions and filters come afterwards. Sources that read
    last items are shown seeds in place of a past; all others then only fill up the list.

    Args:
        scorer: Whose sources, filters and models are used.
        state: What is known now.
        request: The user and the instant; its own candidates are ignored.
        query: What is excluded and how many are wanted.
        guard: Bounds the time of sources that do not come with recsys, and of Python in filters.

    Returns:
        The candidates; a source or filter that fails is left out and named.
    """
    search = _Search(scorer, state, request, query, guard=guard)
    try:
        return _find(search)
    finally:
        search.end()


def prepare_sources(scorer: Scorer) -> None:
    """Let sources do what their first question would have to wait for; nothing is locked."""
    for source in scorer.capabilities.sources:
        prepare = getattr(source, "prepare", None)
        if prepare is not None:
            try:
                prepare(scorer.contents.models)
            except Exception as error:  # noqa: BLE001 - a plugin's code: asked, it fails again
                _log.warning("source_not_prepared", source=source.name, cause=told(error))


def _find(search: _Search) -> Found:
    sources, query = search.scorer.capabilities.sources, search.query
    if search.request.seeds is None:
        return search.among(sources)
    related = tuple(source for source in sources if _reads_pasts(source))
    found = search.among(related)
    if len(found.rows) >= query.top_k:
        return found
    more = search.among(tuple(source for source in sources if source not in related))
    rows = dict.fromkeys([*found.rows.tolist(), *more.rows.tolist()])
    found.rows = np.array(list(rows), dtype=np.int32)[: search.pool]
    found.failures |= more.failures
    return found


def _reads_pasts(source: CandidateSource) -> bool:
    return any(aggregate.fold == "last_items" for aggregate in source.aggregates())


class RequestOverError(RuntimeError):
    """A source reads after its request was answered without it."""


class _Search:
    """Asks sources for the candidates of one recommendation; arguments as `find_candidates`."""

    def __init__(
        self,
        scorer: Scorer,
        state: OnlineState,
        request: Slates,
        query: RecommendQuery,
        *,
        guard: Guard,
    ) -> None:
        self.scorer, self.request, self.query = scorer, request, query
        self.pool = max(POOL_SIZE, _PER_PLACE * query.top_k)
        self._state, self._guard, self._is_over = state, guard, False
        asking = request
        if request.seeds is not None:
            nobody = np.array([ANONYMOUS], dtype=np.int32)
            asking = replace(request, users=nobody, sessions=())
        plan, models = scorer.capabilities.plan, scorer.contents.models
        self._view = source_view(plan, models, state, asking, check_awaited=self._check_awaited)
        never = [*query.exclude_item_ids, *query.seed_item_ids]
        self._excluded = {*state.items.rows(never).tolist(), None}

    def end(self) -> None:
        """Let nobody read any more: a source that is late goes on while the state changes."""
        self._is_over = True

    def _check_awaited(self) -> None:
        if self._is_over:
            raise RequestOverError

    def _propose(self, source: CandidateSource, n: int, found: Found) -> list[int]:
        try:
            asked = partial(source.propose, self._view, n)
            proposed = self._guard.ask(source, source.name, asked)
            cause, rows = self._problem(proposed, n), [int(row) for row in proposed.flat][:n]
        except PluginError as error:
            found.failures[source.name] = error
            return []
        except Exception as error:  # noqa: BLE001 - a source is a plugin's code: the others go on
            cause, rows = told(error), []
        if cause:
            found.failures[source.name] = PluginError(source.name, "propose", cause)
            return []
        return rows

    def _problem(self, proposed: NDArray[np.integer], n: int) -> str:
        """Say what is wrong with a proposal.

        Returns:
            Empty: nothing.
        """
        if proposed.ndim != 1 or (len(proposed) and proposed.dtype.kind not in "iu"):
            found = f"{proposed.dtype} of shape {proposed.shape}"
            return f"returned {found}; expected item rows, int32 (at most {n},)"
        return unknown_rows(proposed, len(self._state.items.ids))

    def among(self, sources: Sequence[CandidateSource]) -> Found:
        """Ask sources, and look further down their lists while too little passes the filters.

        Returns:
            At most as many candidates as the pool holds.
        """
        query = self.query
        found = Found(given=query.candidate_attributes)
        wanted = self.pool + len(query.exclude_item_ids) + len(query.seed_item_ids)
        while True:
            lists = [self._propose(source, wanted, found) for source in sources]
            taking_turns = chain.from_iterable(zip_longest(*lists))
            rows = [row for row in dict.fromkeys(taking_turns) if row not in self._excluded]
            found.rows = np.array(rows, dtype=np.int32)
            self._apply_filters(found)
            exhausted = all(len(proposed) < wanted for proposed in lists)
            if exhausted or len(found.rows) >= max(query.top_k, self.pool // 2):
                found.rows = found.rows[: self.pool]
                return found
            # A filter that few pass, or a user who acted on most: look further down the same lists,
            # or there is little to choose from.
            wanted *= 4

    def _apply_filters(self, found: Found) -> None:
        capabilities, carries = self.scorer.capabilities, self._state.items.carries
        filters = [f for f in capabilities.filters if not f.items or any(map(carries, f.items))]
        if not filters or not len(found.rows):
            return
        ids = [self._state.items.ids[row] for row in found.rows.tolist()]
        slates = self.request.about(found.rows, columns_of(found.given, (), ids))
        kept = np.ones(len(found.rows), dtype=np.bool_)
        alone = [keeper for keeper in filters if keeper.calls_python]
        try:
            if together := [keeper.keep for keeper in filters if not keeper.calls_python]:
                kept &= capabilities.filter_plan.keep_mask(together, slates, self._state)
        except EXPRESSION_FAILURES:
            alone = filters  # one of them fails, and the others have their say
        for keeper in alone:
            try:
                kept &= self._ask_alone(keeper, slates)
            except PluginError as error:
                found.failures[keeper.name] = error
            except EXPRESSION_FAILURES as error:
                found.failures[keeper.name] = PluginError(keeper.name, "keep", told(error))
        found.rows = found.rows[kept]

    def _ask_alone(self, keeper: Filter, slates: Slates) -> NDArray[np.bool_]:
        # Read here: what is late must not read a state that changes.
        data = self.scorer.capabilities.filter_plan.data_of([keeper.keep], slates, self._state)
        ask = partial(keep_mask, [keeper.keep], data)
        if not keeper.calls_python:
            return ask()
        return self._guard.call(keeper.name, PLUGIN_BUDGET_S, ask)


def unknown_rows(proposed: NDArray[np.integer], n_items: int) -> str:
    """Say which proposed rows are of no item.

    Returns:
        Empty: none.
    """
    if not len(proposed) or 0 <= int(proposed.min()) <= int(proposed.max()) < n_items:
        return ""
    return f"rows {proposed.min()} to {proposed.max()}; expected rows of {n_items} items"


class _Items:
    """Reads aggregates for a source, as long as its answer is awaited.

    Args:
        plan: Has the aggregates.
        state: What is known.
        request: One user and one instant.
        check_awaited: Raises where nobody waits any more: the state may be changing.
    """

    def __init__(
        self,
        plan: FeaturePlan,
        state: OnlineState,
        request: Slates,
        check_awaited: Callable[[], None],
    ) -> None:
        self._aggregates, self._state = plan.aggregates, state
        self._request, self._check_awaited = request, check_awaited

    def best(self, name: str, n: int) -> NDArray[np.int32]:
        """Find the items with the largest values.

        Returns:
            As `ItemReader` says, like the others.
        """
        self._check_awaited()
        return self._state.best_items(self._aggregates[name], self._request, n)

    def of_user(self, name: str) -> NDArray[np.int32]:
        """Find the items of the user.

        Returns:
            Item rows.
        """
        self._check_awaited()
        return self._state.items_of_user(self._aggregates[name], int(self._request.users[0]))

    def values(self, name: str, rows: NDArray[np.int32] | None = None) -> NDArray[np.float64]:
        """Read values.

        Returns:
            One per item.
        """
        self._check_awaited()
        if rows is None:
            rows = np.arange(len(self._state.items.ids), dtype=np.int32)
        return self._state.read(self._aggregates[name], self._request.about(rows))


def source_view(
    plan: FeaturePlan,
    models: Mapping[str, FittedFeatureModel],
    state: OnlineState,
    request: Slates,
    *,
    check_awaited: Callable[[], None] = lambda: None,
) -> SourceView:
    """Make what a candidate source sees of a request.

    Args:
        plan: With the aggregates of all sources.
        models: Fitted feature models by name.
        state: What is known now.
        request: The user and the instant; its own candidates are ignored.
        check_awaited: Called before anything is read of items.

    Returns:
        The view.
    """
    histories = {
        aggregate.name: state.histories(aggregate, request)
        for aggregate in plan.aggregates.values()
        if aggregate.fold == "last_items"
    }
    return SourceView(
        histories=histories,
        items=_Items(plan, state, request, check_awaited),
        item_rows=state.items.version_table()[0],
        models=dict(models),
    )
