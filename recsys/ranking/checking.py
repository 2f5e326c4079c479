"""Compiled trees are used only where they were seen to give LightGBM's own scores.

Before a forest serves, it scores rows that LightGBM has scored, made of what decides: values equal
to thresholds and beside them, missing, infinite, huge and denormal ones, zeros, categories. A saved
model has such rows and LightGBM's scores beside it; without them, or where the scores differ,
LightGBM itself is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import structlog
from numpy.typing import NDArray

from recsys.errors import RankingError
from recsys.ranking.forest import Forest, parse_forest

_ROWS: Final = 96
#: Rows of this share of values that are no threshold of their column.
_ODD_SHARE: Final = 0.2
_ODD: Final = np.array(
    [np.nan, np.nan, 0.0, -0.0, 1e-35, -1e-35, 1e-40, 3e38, -3e38, np.inf, -np.inf, 1.0, -1.0],
    dtype=np.float32,
)

_Score: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float64]]

_log = structlog.get_logger()


class Probe(NamedTuple):
    """Rows that LightGBM has scored.

    Args:
        rows: float32 (n_rows, n_features)
        scores: float64 (n_rows,)
    """

    rows: NDArray[np.float32]
    scores: NDArray[np.float64]


def compiled_score(text: str, reference: _Score, probe: Probe | None = None) -> _Score:
    """Compile a model, and see that it scores as LightGBM does.

    Args:
        text: The model in LightGBM's text.
        reference: LightGBM's own predictor.
        probe: What it gave before; None: it is asked now.

    Returns:
        A predictor with the scores of the reference: compiled; or, with a line in the log that says
        why, the reference itself.
    """
    from numba.core.errors import NumbaError

    from recsys.ranking.compiled import CompiledForest

    try:
        forest = parse_forest(text)
        fast = CompiledForest(forest).score
        if probe is None or not _agrees(fast, probe):
            _check_equal(fast, reference, forest)
    except (RankingError, NumbaError, OSError) as error:
        _log.warning("ranker_not_compiled", cause=str(error), used="LightGBM's own predictor")
        return reference
    return fast


def probe_of(text: str, reference: _Score) -> Probe | None:
    """Let LightGBM score rows for those who load the model later.

    Args:
        text: The model in LightGBM's text.
        reference: LightGBM's own predictor.

    Returns:
        Rows and scores; None for a model that cannot be compiled.
    """
    try:
        rows = probing_rows(parse_forest(text), np.random.default_rng(0))
    except RankingError:
        return None
    return Probe(rows, reference(rows))


def save_probe(model: Path, probe: Probe | None) -> None:
    """Write a probe, where there is one, beside the model that it is of."""
    if probe is not None:
        np.save(_beside(model), np.column_stack([probe.rows.astype(np.float64), probe.scores]))


def load_probe(model: Path) -> Probe | None:
    """Read the probe beside a model.

    Returns:
        None where there is none that can be read: it saves time, and is not needed.
    """
    try:
        table = np.load(_beside(model), allow_pickle=False)
        return Probe(table[:, :-1].astype(np.float32), table[:, -1].astype(np.float64))
    except (OSError, ValueError, IndexError):
        return None


def _beside(model: Path) -> Path:
    return model.with_suffix(".probe.npy")


def _agrees(fast: _Score, probe: Probe) -> bool:
    try:
        return len(probe.scores) > 0 and bool((fast(probe.rows) == probe.scores).all())
    except RankingError:
        return False  # rows of another model


def _check_equal(fast: _Score, reference: _Score, forest: Forest) -> None:
    rows = probing_rows(forest, np.random.default_rng(0))
    n_other = int((fast(rows) != reference(rows)).sum())
    if n_other:
        raise RankingError("ranker", f"{n_other} of {len(rows)} scores that differ", "LightGBM's")


def probing_rows(
    forest: Forest, rng: np.random.Generator, n_rows: int = _ROWS
) -> NDArray[np.float32]:
    """Draw rows on which two readings of a model would differ, if they do anywhere.

    Args:
        forest: The model.
        rng: Decides.
        n_rows: How many.

    Returns:
        float32 (n_rows, n_features), column after column in memory.
    """
    matrix = np.empty((n_rows, forest.n_features), dtype=np.float32, order="F")
    order = np.argsort(forest.features, kind="stable")
    ends = np.searchsorted(forest.features[order], np.arange(forest.n_features + 1))
    for feature in range(forest.n_features):
        nodes = order[ends[feature] : ends[feature + 1]]
        pool = _deciding_values(forest, nodes)
        odd = rng.random(n_rows) < (_ODD_SHARE if len(pool) else 1.0)
        column = rng.choice(_ODD, n_rows)
        column[~odd] = rng.choice(pool, int((~odd).sum())) if len(pool) else 0
        matrix[:, feature] = column
    return matrix


def _deciding_values(forest: Forest, nodes: NDArray[np.int64]) -> NDArray[np.float32]:
    is_categorical = forest.is_categorical[nodes]
    with np.errstate(over="ignore"):
        near = forest.thresholds[nodes[~is_categorical]].astype(np.float32)
    beside = [np.nextafter(near, np.float32(side)) for side in (-np.inf, np.inf)]
    chosen = forest.thresholds[nodes[is_categorical]].astype(np.int64).tolist()
    categories = [category for index in chosen for category in forest.categories[index]]
    whole = np.array(categories, dtype=np.float32)
    return np.concatenate([near, *beside, whole, whole + 1, whole + np.float32(0.5)])
