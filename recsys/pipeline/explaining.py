"""Why an item got its score: SHAP values of the ranker's trees, named by feature.

Source: TreeSHAP (lundberg2020 in docs/references.md), as LightGBM computes it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.pipeline.requests import Contribution, Explanation
from recsys.ranking.ranker import Ranker


def explain(ranker: Ranker, matrix: NDArray[np.float32], item_ids: list[str]) -> list[Explanation]:
    """Explain the scores of a few items.

    Args:
        ranker: What scored them.
        matrix: float32 (n_items, n_features): their rows.
        item_ids: The items, in the same order.

    Returns:
        One explanation per item, contributions with the largest effect first.
    """
    contributions, base = ranker.explain(matrix)
    explanations = []
    for row, item_id in enumerate(item_ids):
        order = np.argsort(-np.abs(contributions[row]), kind="stable")
        parts = [
            Contribution(
                feature=ranker.feature_names[column],
                value=float(matrix[row, column]),
                contribution=float(contributions[row, column]),
            )
            for column in order.tolist()
        ]
        explanations.append(Explanation(item_id, float(base[row]), parts))
    return explanations
