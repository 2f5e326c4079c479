"""Re-ranking rules, one after another, on the list that the ranker made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.contents import Scorer
from recsys.errors import PluginError, told
from recsys.features.entities import Entities
from recsys.hookspecs import ListView, Rule
from recsys.pipeline.guarding import Guard


class Rules:
    """The rules of a bundle's plugins.

    Args:
        scorer: The bundle.
        items: The catalogue.
        guard: Bounds the time of rules that do not come with recsys; None: they have all there is.
    """

    def __init__(self, scorer: Scorer, items: Entities, guard: Guard | None = None) -> None:
        self._guard = guard
        self._rules = scorer.capabilities.rules
        self._models = scorer.contents.models
        self._items = items

    def __bool__(self) -> bool:
        return bool(self._rules)

    def versions(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Find what rules may ask of items; call it with the lock of the state held.

        Returns:
            int32 (n,): version rows; -1: nothing is known, or there is no rule.
        """
        return self._items.current_versions(rows) if self._rules else np.full_like(rows, -1)

    def order(
        self, scores: NDArray[np.float64], versions: NDArray[np.int32], top_k: int
    ) -> tuple[NDArray[np.int64], list[PluginError]]:
        """Order candidates by score, then as the rules say.

        Args:
            scores: float64 (n_candidates,).
            versions: int32 (n_candidates,).
            top_k: Places of the answer; 0: one for each candidate.

        Returns:
            int64 (<= top_k,): candidates, best first; and what failed, which changed nothing.
        """
        order = np.argsort(-scores, kind="stable")
        if not self._rules:
            return order[: top_k or None], []
        n_places = min(top_k or len(order), len(order))
        view = ListView(scores[order], versions[order], n_places, self._items, self._models)
        positions, failures = apply_rules(self._rules, view, self._guard)
        return order[positions][:n_places], failures


def apply_rules(
    rules: Sequence[Rule], view: ListView, guard: Guard | None = None
) -> tuple[NDArray[np.int64], list[PluginError]]:
    """Let every rule order the list that the one before it left.

    Args:
        rules: In their order.
        view: The list as the ranker made it.
        guard: As of `Rules`.

    Returns:
        int64 (n_candidates,): positions in that list, in their new order; and what failed, which
        changed nothing.
    """
    order = np.arange(len(view.scores))
    failures: list[PluginError] = []
    for rule in rules:
        seen = replace(view, scores=view.scores[order], versions=view.versions[order])
        try:
            ask = partial(checked, rule, seen)
            chosen = guard.ask(rule, rule.name, ask) if guard else ask()
        except PluginError as error:
            failures.append(error)
            continue
        named = np.zeros(len(order), dtype=np.bool_)
        named[chosen] = True
        order = np.concatenate([order[chosen], order[~named]])
    return order, failures


def checked(rule: Rule, view: ListView) -> NDArray[np.int64]:
    """Ask a rule, and check what it says.

    Args:
        rule: Asked.
        view: The list.

    Returns:
        int64: positions, each once.

    Raises:
        PluginError: It raised, or named something else than positions of the list, each once.
    """
    n = len(view.scores)
    try:
        found = np.asarray(rule.reorder(view))
    except Exception as error:
        # A rule is a plugin's code: the list stays as it was.
        raise PluginError(rule.name, "reorder", told(error)) from error
    problem = ""
    if found.ndim != 1 or (len(found) and found.dtype.kind not in "iu"):
        problem = f"returned {found.dtype} of shape {found.shape}; expected positions, int64"
    elif len(found) and not 0 <= int(found.min()) <= int(found.max()) < n:
        problem = f"named positions {found.min()} to {found.max()} of a list of {n}"
    elif len(np.unique(found)) < len(found):
        problem = "named a position twice"
    if problem:
        raise PluginError(rule.name, "reorder", problem)
    return found.astype(np.int64)
