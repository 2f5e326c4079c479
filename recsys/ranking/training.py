"""Training of the ranker: bagged LambdaMART, sized on a later slice of time.

Several boosters that differ in their seed become one model, their mean. nDCG at ten of a thousand
lists is a noisy judge: single boosters that differ in nothing but the seed ended up to 0.003 apart
on RankLens, and early stopping took the first lucky peak of one curve for its top. The curve of the
mean is smooth, and so is the choice of its size. It is the mean, not the sum, because each of them
learns scores on a scale on which drawn candidates are corrected (`RankingRows.corrected`).

Source: lambdamart
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from recsys.config import RankerConfig
from recsys.errors import TrainingError
from recsys.ranking.metrics import measure
from recsys.ranking.ranker import Ranker, booster_names
from recsys.ranking.rows import RankingRows, check_rows, informative_rows

EARLY_STOPPING_K = 10
#: A leaf need not hold more than this part of the rows, nor fewer rows than this.
_LEAF_SHARE = 500
_FEWEST_ROWS = 5
#: Sizes that are compared on the validation rows.
_CURVE_POINTS = 40
#: Share of them that is looked at to either side of a size.
_STRETCH = 0.2
#: With fewer, threads wait for each other longer than they count.
_ROWS_PER_THREAD = 10_000
#: No booster stops with fewer trees, and none goes on for so many that gain nothing.
_FEWEST_TREES, _PATIENCE, _CHECKED_EVERY = 200, 60, 20
#: Far enough apart that no two boosters share a seed of any of LightGBM's own.
_SEED_STEP = 1000


def train_ranker(
    train: RankingRows,
    validation: RankingRows,
    config: RankerConfig,
    seed: int,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> Ranker:
    """Fit a ranker; the same rows, configuration and seed give the same model.

    Args:
        train: Rows to learn from.
        validation: Later rows; boosters are cut in the middle of their best stretch of nDCG@10.
            Without an impression that teaches an order: `config.trees`.
        config: Size and speed of the model; what is left open is chosen by the rows of `train`.
        seed: Of every random choice.
        progress: Called with (label, trees grown, trees at most).

    Returns:
        The ranker with its best number of trees.

    Raises:
        TrainingError: Rows are malformed, columns differ, or no impression teaches an order.
    """
    config = config.for_rows(len(train))
    check_rows("training rows", train)
    check_rows("validation rows", validation)
    if train.feature_names != validation.feature_names:
        found = f"validation columns {', '.join(validation.feature_names)}"
        raise TrainingError("ranker", found, f"{', '.join(train.feature_names)}")
    rng = np.random.default_rng(seed)
    fitting, checking = informative_rows(train, rng), informative_rows(validation, rng)
    if len(fitting) == 0 or not train.feature_names:
        found = f"{len(train.group_sizes):,} impressions, none with candidates of different grades"
        raise TrainingError(
            "ranker", found, "features, and impressions where some items were acted on"
        )
    # LightGBM wants whole-number labels, from 0 up; their gains are the grades themselves.
    levels = np.unique(np.concatenate([[0], train.grades]))
    boosters = _grow(fitting, levels, config, seed=seed, progress=progress, checking=checking)
    size, best = _best_size(boosters, checking)
    return Ranker(_mean_of(boosters, size), train.feature_names, best)


def _grow(
    rows: RankingRows,
    levels: np.ndarray[Any, Any],
    config: RankerConfig,
    *,
    seed: int,
    progress: Callable[[str, int, int], None] | None,
    checking: RankingRows,
) -> list[lgb.Booster]:
    """Grow boosters of one size: that at which the first has stopped to gain, or the most.

    Returns:
        One per bag.
    """
    data = _dataset(rows, levels)
    parameters = {**_parameters(config, len(rows)), "label_gain": levels.tolist()}
    boosters: list[lgb.Booster] = []
    for bag in range(config.bags):
        n_trees = boosters[0].current_iteration() if boosters else config.trees
        callbacks: list[Callable[[Any], None]] = []
        if progress:
            callbacks.append(_reporter(progress, bag, config, n_trees if boosters else None))
        if not boosters and len(checking):
            callbacks.append(_Patience(checking))
        chosen = {**parameters, "seed": seed + _SEED_STEP * bag}
        boosters.append(lgb.train(chosen, data, num_boost_round=n_trees, callbacks=callbacks))
    return boosters


class _Curve:
    """How well the mean of some boosters ranks rows, by their size.

    Args:
        checking: The rows.
    """

    def __init__(self, checking: RankingRows) -> None:
        self._checking = checking
        self._scores = checking.corrected(np.zeros(len(checking)))
        self._size = 0

    def at(self, boosters: list[lgb.Booster], size: int) -> float:
        """Add the trees of each booster up to a size, which is never smaller than the one before.

        Returns:
            nDCG@10.
        """
        rows, n_more = self._checking, size - self._size
        for booster in boosters:
            more = booster.predict(rows.matrix, start_iteration=self._size, num_iteration=n_more)
            self._scores += np.asarray(more) / len(boosters)
        self._size = size
        found = measure(self._scores, rows.grades, rows.group_sizes).means()
        return found[f"ndcg@{EARLY_STOPPING_K}"]


class _Patience:
    """Stops a booster that has gained nothing for a while; a callback of LightGBM.

    One booster's curve is noisy, so nothing stops before it has some size, and what is found is no
    more than how many trees are worth growing: the mean of all is cut where it is best.

    Args:
        checking: Rows that tell.
    """

    def __init__(self, checking: RankingRows) -> None:
        self._curve = _Curve(checking)
        self._best_size, self._best = 0, -1.0

    def __call__(self, state: Any) -> None:  # noqa: ANN401 - LightGBM gives its state no public type
        """Look at a booster.

        Raises:
            EarlyStopException: It has stopped to gain.
        """
        n_trees = state.iteration + 1
        if n_trees % _CHECKED_EVERY:
            return
        ndcg = self._curve.at([state.model], n_trees)
        if ndcg > self._best:
            self._best, self._best_size = ndcg, n_trees
        if n_trees >= max(_FEWEST_TREES, self._best_size + _PATIENCE):
            raise lgb.callback.EarlyStopException(n_trees - 1, [])


def _best_size(boosters: list[lgb.Booster], checking: RankingRows) -> tuple[int, float | None]:
    """Find how many trees of each booster rank the validation rows best.

    Of the sizes the one in the middle of the best stretch of the curve, and not its highest point:
    a thousand lists are a noisy judge, and a lucky peak of a flat curve stands anywhere.

    Returns:
        Trees per booster, and nDCG@10 of the mean; all trees and None without validation rows.
    """
    n_trees = boosters[0].current_iteration()
    if not len(checking):
        return n_trees, None
    step, curve = max(1, n_trees // _CURVE_POINTS), _Curve(checking)
    sizes = [min(start + step, n_trees) for start in range(0, n_trees, step)]
    found = np.array([curve.at(boosters, size) for size in sizes])
    best = int(np.argmax(smoothed(found, round(_STRETCH * len(found)))))
    return sizes[best], float(found[best])


def smoothed(values: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Take the mean of each value and those around it.

    Args:
        values: float64 (n,).
        reach: How many on either side; fewer where the values end.

    Returns:
        float64 (n,).
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    low, high = np.maximum(places - reach, 0), np.minimum(places + reach + 1, len(values))
    means: NDArray[np.float64] = (sums[high] - sums[low]) / (high - low)
    return means


def _mean_of(boosters: list[lgb.Booster], size: int) -> str:
    """Put the first trees of all boosters into one model; its score is the mean of theirs.

    Returns:
        The model as LightGBM text.
    """
    texts = [booster.model_to_string(num_iteration=size) for booster in boosters]
    head, _, _ = texts[0].partition("Tree=0\n")
    # Without the sizes LightGBM reads one tree after another instead of jumping to them.
    head = "".join(line for line in head.splitlines(True) if not line.startswith("tree_sizes="))
    trees: list[str] = []
    for text in texts:
        body = text.partition("Tree=0\n")[2].partition("end of trees")[0]
        trees += re.split(r"^Tree=\d+\n", body, flags=re.MULTILINE)
    numbered = "".join(f"Tree={number}\n{tree}" for number, tree in enumerate(trees))
    tail = texts[0].partition("end of trees")[2]
    merged = lgb.Booster(model_str=f"{head}{numbered}end of trees{tail}")
    for number, n_leaves in enumerate(re.findall(r"^num_leaves=(\d+)$", numbered, re.MULTILINE)):
        for leaf in range(int(n_leaves)):
            share = merged.get_leaf_output(number, leaf) / len(boosters)
            merged.set_leaf_output(number, leaf, share)
    return str(merged.model_to_string())


def _dataset(rows: RankingRows, levels: np.ndarray[Any, Any]) -> lgb.Dataset:
    return lgb.Dataset(
        rows.matrix,
        label=np.searchsorted(levels, rows.grades).astype(np.float32),
        group=rows.group_sizes,
        # What is off from the start is not for the trees to learn, and is not in their scores.
        init_score=None if rows.log_q is None else rows.corrected(np.zeros(len(rows))),
        feature_name=booster_names(rows.feature_names),
        params={"verbosity": -1, "feature_pre_filter": False},
    )


def _parameters(config: RankerConfig, n_rows: int) -> dict[str, Any]:
    row_share = min(config.row_share, config.rows_per_tree / n_rows)
    return {
        "objective": "lambdarank",
        "num_leaves": config.leaves,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": min(config.min_rows_per_leaf, max(_FEWEST_ROWS, n_rows // _LEAF_SHARE)),
        "feature_fraction": config.feature_share,
        "bagging_fraction": row_share,
        "bagging_freq": 1 if row_share < 1 else 0,
        # An impression is drawn as a whole: half a list would teach another order.
        "bagging_by_query": True,
        "deterministic": True,
        # The same trees as by rows, a tenth sooner.
        "force_col_wise": True,
        # However many: `deterministic` promises the same trees.
        "num_threads": config.threads or _threads_for(n_rows),
        "feature_pre_filter": False,
        "verbosity": -1,
    }


def _threads_for(n_rows: int) -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    n_cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(n_cores, max(1, n_rows // _ROWS_PER_THREAD))


def _reporter(
    progress: Callable[[str, int, int], None], bag: int, config: RankerConfig, size: int | None
) -> Callable[[Any], None]:
    def report(state: Any) -> None:  # noqa: ANN401 - LightGBM gives its callback state no public type
        n_grown = state.iteration + 1
        # How large the first one becomes shows while it grows.
        each = size or min(config.trees, max(_FEWEST_TREES, n_grown + 1))
        progress("ranker", bag * each + n_grown, config.bags * each)

    return report
