"""The part of the contract about candidate sources and filters."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.actions import encode_log
from recsys.features.entities import ANONYMOUS, UNKNOWN
from recsys.features.online import OnlineState
from recsys.hookspecs import CandidateSource, SourceView
from recsys.pipeline.candidates import source_view
from recsys.testing.parts import broken
from recsys.testing.subject import Subject

_N: Final = (1, 20)


def proposals(subject: Subject, rng: np.random.Generator) -> str:
    """Ask sources for candidates, and filters about items, for a user, a stranger and nobody.

    Returns:
        What was looked at.
    """
    del rng
    plan, none = subject.plan, np.zeros(0, dtype=np.int32)
    if not subject.sources and not subject.filters:
        return "it has no source and no filter"
    state = OnlineState(encode_log(subject.source), tuple(plan.aggregates.values()))
    items = np.array([*range(len(state.items.ids)), UNKNOWN], dtype=np.int32)
    n_proposed = 0
    for user in (0, UNKNOWN, ANONYMOUS):
        # Without models: only training has any, and a source must have nothing to say then.
        view = source_view(plan, {}, state, subject.newest_request(none, user))
        for source in subject.sources:
            n_proposed += sum(_proposed(source, view, n, len(items) - 1) for n in _N)
        for rule in subject.filters:
            kept = plan.keep_mask([rule.keep], subject.newest_request(items, user), state)
            if kept.shape != items.shape:
                broken(f"filter {rule.name} decides on {len(kept)} of {len(items)} candidates")
    n_sources, n_filters = len(subject.sources), len(subject.filters)
    return f"{n_sources} sources proposed {n_proposed} items; {n_filters} filters"


def _proposed(source: CandidateSource, view: SourceView, n: int, n_items: int) -> int:
    found, again = source.propose(view, n), source.propose(view, n)
    problem = _problem(found, again, n, n_items)
    if problem:
        broken(f"source {source.name}, asked for {n}: {problem}")
    return len(found)


def _problem(found: NDArray[np.int32], again: NDArray[np.int32], n: int, n_items: int) -> str:
    if found.ndim != 1 or len(found) > n or found.dtype.kind != "i":
        return f"{found.dtype} of shape {found.shape}; expected at most {n} item rows, int32"
    if len(np.unique(found)) < len(found):
        return "an item stands twice"
    if len(found) and not 0 <= found.min() <= found.max() < n_items:
        return f"rows {found.min()} to {found.max()}; expected rows of {n_items} items"
    return "" if np.array_equal(found, again) else "asked twice, it proposed other items"
