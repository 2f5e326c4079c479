"""The part of the contract about candidate sources, filters and rules."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.errors import PluginError
from recsys.features.actions import encode_log
from recsys.features.entities import ANONYMOUS, UNKNOWN, Entities
from recsys.features.online import OnlineState
from recsys.hookspecs import CandidateSource, ListView, Rule, SourceView
from recsys.pipeline.candidates import source_view, unknown_rows
from recsys.pipeline.rules import checked
from recsys.testing.parts import broken
from recsys.testing.subject import Subject

_N: Final = (1, 20)
#: Of lists that rules order.
_LENGTHS: Final = (0, 1, 7, 60)


def proposals(subject: Subject, rng: np.random.Generator) -> str:
    """Ask sources for candidates, filters about items, for a user, a stranger and nobody.

    Rules order lists of any length, with items of which nothing is known.

    Returns:
        What was looked at.
    """
    plan, none = subject.plan, np.zeros(0, dtype=np.int32)
    if not (subject.sources or subject.filters or subject.rules):
        return "it has no source, no filter and no rule"
    state = OnlineState(encode_log(subject.source), tuple(plan.aggregates.values()))
    items = np.array([*range(len(state.items.ids)), UNKNOWN], dtype=np.int32)
    n_proposed = 0
    for user in (0, UNKNOWN, ANONYMOUS):
        # Without models: only training has any, and a source must have nothing to say then.
        view = source_view(plan, {}, state, subject.newest_request(none, user))
        for source in subject.sources:
            n_proposed += sum(_proposed(source, view, n, len(items) - 1) for n in _N)
        for keeper in subject.filters:
            request = subject.newest_request(items, user)
            kept = subject.filter_plan.keep_mask([keeper.keep], request, state)
            if kept.shape != items.shape:
                broken(f"filter {keeper.name} decides on {len(kept)} of {len(items)} candidates")
    for rule in subject.rules:
        _check_order(rule, state.items, rng)
    n_sources, n_filters = len(subject.sources), len(subject.filters)
    found = f"{n_sources} sources proposed {n_proposed} items; {n_filters} filters"
    return f"{found}; {len(subject.rules)} rules"


def _check_order(rule: Rule, items: Entities, rng: np.random.Generator) -> None:
    for n in _LENGTHS:
        scores = np.sort(rng.normal(size=n))[::-1].copy()
        versions = rng.integers(-1, len(items), n).astype(np.int32)
        before = scores.copy(), versions.copy()
        view = ListView(scores, versions, max(1, n // 2) if n else 0, items, {})
        try:
            found, again = checked(rule, view), checked(rule, view)
        except PluginError as error:
            broken(f"rule {rule.name}, a list of {n}: {error.cause}")
        if not np.array_equal(found, again):
            broken(f"rule {rule.name}, a list of {n}: asked twice, it ordered otherwise")
        if not (np.array_equal(before[0], scores) and np.array_equal(before[1], versions)):
            broken(f"rule {rule.name} changed the list that it was shown")


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
    if problem := unknown_rows(found, n_items):
        return problem
    return "" if np.array_equal(found, again) else "asked twice, it proposed other items"
