"""From candidates to scores, by as much of a bundle as there is time for.

    all columns ─► ranker            the whole bundle
    columns without models ─► the ranker that was trained without them
    how often an item was acted on   no columns at all

What is left out is decided before it is begun, from what it cost of late. Where many others wait
for theirs, feature models are left out before anybody is refused. A plugin that fails loses its own
columns only. Every answer that is less than the whole says so.

Source: brownout
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import structlog
from numpy.typing import NDArray

from recsys.bundle.contents import Scorer
from recsys.errors import PluginError
from recsys.features.models import FittedFeatureModel
from recsys.features.plan import FeaturePlan
from recsys.features.slates import Slates
from recsys.features.vocabulary import calls_python
from recsys.pipeline.guarding import PLUGIN_BUDGET_S, Guard, is_ours
from recsys.pipeline.live import LiveState
from recsys.pipeline.observing import RequestObserver
from recsys.pipeline.pacing import Pace
from recsys.pipeline.requests import Haste
from recsys.ranking.ranker import Ranker

#: Share of the time left that is planned with; the rest is for the way back.
_USABLE = 0.8
#: How warnings begin that say that an answer is less than the whole.
INCOMPLETE = "answered without"
#: Why a part is not begun, for metrics, and in words for the caller.
_REASONS = {"deadline": "too little time", "overload": "too many callers"}

_log = structlog.get_logger()


@dataclass(slots=True)
class Table:
    """The candidates of a request as rows.

    Args:
        matrix: float32 (n_candidates, n_features); without columns when there was no time for any.
        ranker: Fits the columns; None: ordered by `scores`.
        scores: float64 (n_candidates,): what there is instead of a ranker.
        warnings: What the caller should know.
    """

    matrix: NDArray[np.float32]
    ranker: Ranker | None
    scores: NDArray[np.float64]
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Parts:
    """A plan, with the parts that run code of others in Python set apart.

    Args:
        whole: All of it.
        own: What polars and recsys evaluate.
        guarded: By plugin, the features that call Python.
        positions: Columns of the whole plan that `own` fills, then those of each guarded part.
        models: Feature models that come with recsys.
        guarded_models: Those that do not.
    """

    whole: FeaturePlan
    own: FeaturePlan
    guarded: dict[str, FeaturePlan]
    positions: dict[str, list[int]]
    models: dict[str, FittedFeatureModel]
    guarded_models: dict[str, FittedFeatureModel]

    @property
    def has_models(self) -> bool:
        """Whether anything is saved where feature models are left out."""
        return bool(self.models or self.guarded_models)


class Cascade:
    """Makes tables of candidates; call it with the lock of the state held.

    Args:
        scorer: The bundle.
        live: What is known.
        guard: Bounds the time of plugins.
    """

    def __init__(self, scorer: Scorer, live: LiveState, guard: Guard) -> None:
        self._live = live
        self._contents = scorer.contents
        self._whole = _parts(scorer.plan, scorer.contents.models)
        self._plain = _parts(scorer.plan.without_text(), {})
        self._guard = guard
        self._paces = {name: Pace() for name in ("models", "features", "ranker", "fallback")}

    def table(self, slates: Slates, haste: Haste, observer: RequestObserver) -> Table:
        """Compute as many columns as there is time for.

        Args:
            slates: One request.
            haste: What may be left out.
            observer: Hears of stages and of what is left out.

        Returns:
            The table.
        """
        n, answer_by = len(slates.items), haste.answer_by
        if not self._has_time(answer_by, n, ("features", "fallback")):
            return self._popular(slates, observer)
        warnings: list[str] = []
        since = observer.now()
        parts, ranker, scores = self._whole, self._contents.ranker, None
        if haste.others_wait and self._whole.has_models:
            # Their paces stay: there was time for them.
            warnings.append(left_out("feature models", "overload", observer))
        elif self._has_time(answer_by, n, ("models", "features", "ranker")):
            scores = self._scores(slates, warnings, observer)
        else:
            for name in ("models", "ranker"):
                self._paces[name].left_out()
            warnings.append(left_out("feature models", "deadline", observer))
        since = observer.stage("models", since)
        if scores is None:
            parts, ranker, scores = self._plain, self._contents.fallback, {}
        begun = time.perf_counter()
        matrix, failures = self._matrix(parts, slates, scores)
        warnings += [failed(error, "columns", observer) for error in failures]
        self._paces["features"].ran(n, time.perf_counter() - begun)
        observer.stage("features", since)
        return Table(matrix, ranker, np.zeros(0), warnings)

    def forget_first_times(self) -> None:
        """Forget what stages cost: code was compiled and loaded meanwhile."""
        for pace in self._paces.values():
            pace.forget()

    def score(self, table: Table) -> NDArray[np.float64]:
        """Score the rows of a table.

        Returns:
            float64 (n_candidates,): the higher the better.
        """
        if table.ranker is None or not len(table.matrix):
            return table.scores
        begun = time.perf_counter()
        scores = table.ranker.score(table.matrix)
        name = "ranker" if table.ranker is self._contents.ranker else "fallback"
        self._paces[name].ran(len(scores), time.perf_counter() - begun)
        return scores

    def _has_time(self, answer_by: float, n: int, stages: tuple[str, ...]) -> bool:
        if answer_by == math.inf:
            return True
        needed = sum(self._paces[name].expect_s(n) for name in stages)
        return needed <= (answer_by - time.monotonic()) * _USABLE

    def _popular(self, slates: Slates, observer: RequestObserver) -> Table:
        for pace in self._paces.values():
            pace.left_out()
        scores = self._live.popularity(slates.items)
        matrix = np.empty((len(scores), 0), dtype=np.float32)
        return Table(matrix, None, scores, [left_out("the ranker", "deadline", observer)])

    def _scores(
        self, slates: Slates, warnings: list[str], observer: RequestObserver
    ) -> dict[str, NDArray[np.float32]] | None:
        plan, state, begun = self._whole.whole, self._live.state, time.perf_counter()
        try:
            scores: dict[str, NDArray[np.float32]] = {}
            since = observer.now()
            for name, model in self._whole.models.items():
                scores |= plan.scores(slates, state, {name: model})
                since = observer.plugin_ran(name, since)
            for name, model in self._whole.guarded_models.items():
                alone = partial(plan.scores, slates, state, {name: model})
                scores |= self._guard.call(name, PLUGIN_BUDGET_S, alone)
                since = observer.plugin_ran(name, since)
        except PluginError as error:
            warnings.append(failed(error, "feature_models", observer))
            return None
        self._paces["models"].ran(len(slates.items), time.perf_counter() - begun)
        return scores

    def _matrix(
        self, parts: _Parts, slates: Slates, scores: Mapping[str, NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], list[PluginError]]:
        state = self._live.state
        own, failures = parts.own.matrix_without_failing(slates, state, scores)
        if not parts.guarded:
            return own, failures
        shape = (len(slates.items), len(parts.whole.features))
        matrix = np.full(shape, np.nan, dtype=np.float32)
        matrix[:, parts.positions[""]] = own
        for plugin, plan in parts.guarded.items():
            try:
                matrix[:, parts.positions[plugin]] = self._guard.call(
                    plugin, PLUGIN_BUDGET_S, partial(plan.matrix, slates, state, scores)
                )
            except PluginError as error:
                # All of its columns, as where a plugin fails in `own`.
                owners = map(parts.whole.owners.get, parts.whole.names)
                matrix[:, [owner == plugin for owner in owners]] = np.nan
                failures.append(error)
        return matrix, failures


def left_out(what: str, reason: str, observer: RequestObserver) -> str:
    """Tell the observer of a part that was not begun.

    Returns:
        What the caller hears.
    """
    observer.degraded(reason)
    return f"{INCOMPLETE} {what}: {_REASONS[reason]}"


def failed(error: PluginError, lost: str, observer: RequestObserver) -> str:
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
        "order": "a rule",
    }
    return f"{INCOMPLETE} {without[lost]}: {error.plugin} failed"


def _is_ours(plugin: str) -> bool:
    # What a workspace calls the same, where ours is switched off, is a module of another name.
    return f"recsys_plugins.{plugin}" in sys.modules


def _parts(plan: FeaturePlan, models: Mapping[str, FittedFeatureModel]) -> _Parts:
    """Set the parts of a plan apart that run Python of plugins which do not come with recsys.

    Returns:
        The parts.
    """
    calls = {
        feature.name: plan.owners[feature.name]
        for feature in plan.features
        if calls_python(feature.expr) and not _is_ours(plan.owners[feature.name])
    }
    positions: dict[str, list[int]] = {"": []}
    for column, name in enumerate(plan.names):
        positions.setdefault(calls.get(name, ""), []).append(column)
    by_plugin = {plugin: [plan.names[i] for i in at] for plugin, at in positions.items()}
    names = by_plugin.pop("")
    ours = {name: model for name, model in models.items() if is_ours(model)}
    return _Parts(
        whole=plan,
        own=plan.only(names) if calls else plan,
        guarded={plugin: plan.only(mine) for plugin, mine in by_plugin.items()},
        positions=positions,
        models=ours,
        guarded_models={name: model for name, model in models.items() if name not in ours},
    )
