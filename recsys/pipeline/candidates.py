"""Candidates for a recommendation: sources in turn, then exclusions and filters."""

from __future__ import annotations

from itertools import chain, zip_longest

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.contents import Scorer
from recsys.errors import PluginError
from recsys.features.online import OnlineState
from recsys.features.slates import Slates, one_slate
from recsys.hookspecs import CandidateSource, SourceView
from recsys.pipeline.requests import RecommendQuery

#: Candidates that are ranked for one recommendation, before `top_k` asks for more.
POOL_SIZE = 500


def find_candidates(
    scorer: Scorer, state: OnlineState, request: Slates, query: RecommendQuery
) -> NDArray[np.int32]:
    """Collect what the sources propose and take out what must not be recommended.

    Sources take turns, best proposals first, so that none can crowd out another. Each is asked for
    more than it may contribute, because exclusions and filters come afterwards.

    Args:
        scorer: Whose sources, filters and models are used.
        state: What is known now.
        request: The user and the instant; its own candidates are ignored.
        query: What is excluded and how many are wanted.

    Returns:
        int32 (<= pool size,): item rows, each once.
    """
    pool = max(POOL_SIZE, query.top_k)
    view = _view(scorer, state, request)
    excluded = set(state.items.rows(query.exclude_item_ids).tolist()) | {None}
    wanted = 2 * pool + len(query.exclude_item_ids)
    while True:
        lists = [_propose(source, view, wanted) for source in scorer.capabilities.sources]
        taking_turns = chain.from_iterable(zip_longest(*lists))
        rows = [row for row in dict.fromkeys(taking_turns) if row not in excluded]
        kept = _filtered(scorer, state, request, np.array(rows, dtype=np.int32))
        exhausted = all(len(found) < wanted for found in lists)
        if exhausted or len(kept) >= query.top_k:
            return kept[:pool]
        # A user who acted on most of what was proposed: look further down the same lists.
        wanted *= 4


def _filtered(
    scorer: Scorer, state: OnlineState, request: Slates, rows: NDArray[np.int32]
) -> NDArray[np.int32]:
    filters = scorer.capabilities.filters
    if not filters or not len(rows):
        return rows
    context = request.context[0] if request.context else None
    slates = one_slate(int(request.users[0]), int(request.as_of[0]), rows, context)
    kept = scorer.capabilities.plan.keep_mask([f.keep for f in filters], slates, state)
    return rows[kept]


def _view(scorer: Scorer, state: OnlineState, request: Slates) -> SourceView:
    plan = scorer.capabilities.plan
    histories = {
        aggregate.name: state.histories(aggregate, request)
        for aggregate in plan.aggregates.values()
        if aggregate.fold == "last_items"
    }
    everything = one_slate(
        int(request.users[0]),
        int(request.as_of[0]),
        np.arange(len(state.items.ids), dtype=np.int32),
    )
    return SourceView(
        histories=histories,
        item_values=lambda name: state.read(plan.aggregates[name], everything),
        item_rows=state.items.version_table()[0],
        models=dict(scorer.contents.models),
    )


def _propose(source: CandidateSource, view: SourceView, n: int) -> list[int]:
    found = source.propose(view, n)
    if found.ndim != 1 or len(found) > n:
        raise PluginError(source.name, "propose", f"returned shape {found.shape}; expected ({n},)")
    return [int(row) for row in found]
