"""Training of the ranker: LambdaMART over all columns, stopped early on a later slice of time.

Source: lambdamart
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightgbm as lgb
import numpy as np

from recsys.config import RankerConfig
from recsys.errors import TrainingError
from recsys.ranking.ranker import Ranker, booster_names
from recsys.ranking.rows import RankingRows, check_rows, informative_rows

EARLY_STOPPING_K = 10


def train_ranker(
    train: RankingRows,
    validation: RankingRows,
    config: RankerConfig,
    seed: int,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> Ranker:
    """Fit a ranker; the same rows, configuration, seed and thread count give the same model.

    Args:
        train: Rows to learn from.
        validation: Later rows; trees are added until their nDCG@10 has not risen for
            `config.patience` trees. Without an impression that teaches an order: `config.trees`.
        config: Size and speed of the model.
        seed: Of every random choice.
        progress: Called with (label, trees grown, trees at most).

    Returns:
        The ranker with its best number of trees.

    Raises:
        TrainingError: Rows are malformed, columns differ, or no impression teaches an order.
    """
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
    callbacks: list[Callable[..., Any]] = []
    if progress is not None:
        callbacks.append(_reporter(progress))
    if len(checking):
        callbacks.append(lgb.early_stopping(config.patience, verbose=False))
    return _boost(fitting, checking, config, seed=seed, callbacks=callbacks)


def _boost(
    train: RankingRows,
    validation: RankingRows,
    config: RankerConfig,
    *,
    seed: int,
    callbacks: list[Callable[..., Any]],
) -> Ranker:
    # LightGBM wants whole-number labels, from 0 up; their gains are the grades themselves.
    levels = np.unique(np.concatenate([[0], train.grades, validation.grades]))
    data = _dataset(train, levels)
    checks = [_dataset(validation, levels, reference=data)] if len(validation) else []
    booster = lgb.train(
        {**_parameters(config, seed), "label_gain": levels.tolist()},
        data,
        num_boost_round=config.trees,
        valid_sets=checks,
        valid_names=["validation"] * len(checks),
        callbacks=callbacks,
    )
    best = booster.best_score.get("validation", {}).get(f"ndcg@{EARLY_STOPPING_K}")
    text = booster.model_to_string(num_iteration=booster.best_iteration)
    return Ranker(text, train.feature_names, None if best is None else float(best))


def _dataset(
    rows: RankingRows, levels: np.ndarray[Any, Any], reference: lgb.Dataset | None = None
) -> lgb.Dataset:
    return lgb.Dataset(
        rows.matrix,
        label=np.searchsorted(levels, rows.grades).astype(np.float32),
        group=rows.group_sizes,
        feature_name=booster_names(rows.feature_names),
        reference=reference,
        params={"verbosity": -1, "feature_pre_filter": False},
    )


def _parameters(config: RankerConfig, seed: int) -> dict[str, Any]:
    return {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [EARLY_STOPPING_K],
        "num_leaves": config.leaves,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": config.min_rows_per_leaf,
        "feature_fraction": config.feature_share,
        "bagging_fraction": config.row_share,
        "bagging_freq": 1 if config.row_share < 1 else 0,
        # An impression is drawn as a whole: half a list would teach another order.
        "bagging_by_query": True,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": config.threads,
        "feature_pre_filter": False,
        "verbosity": -1,
    }


def _reporter(progress: Callable[[str, int, int], None]) -> Callable[[Any], None]:
    def report(state: Any) -> None:  # noqa: ANN401 - untyped there
        progress("ranker", state.iteration + 1, state.end_iteration)

    return report
