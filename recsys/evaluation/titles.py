"""What rankings, metrics and intervals look like in print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

TITLES: Final = {
    "random": "random",
    "shown_order": "shown order",
    "click_rate": "click rate so far",
    "recent_popularity": "recent popularity",
    "without_text": "ranker without text",
    "full": "ranker with text",
    "by_rules": "the same, by the rules",
    "full_frozen": "ranker with text, frozen",
}
#: Of lists that were shown.
SHOWN: Final = {"auc": "AUC", "mrr": "MRR", "ndcg@5": "nDCG@5", "ndcg@10": "nDCG@10"}
#: Of the whole catalogue.
CATALOGUE: Final = {
    "auc": "AUC",
    "mrr": "MRR",
    "ndcg@10": "nDCG@10",
    "recall@10": "recall@10",
    "hit@10": "HR@10",
}
#: Fewer lists than this are no table: they say nothing of any ranking.
FEW_LISTS: Final = 10


def in_order(names: Iterable[str]) -> list[str]:
    """Order rankings from the simplest to the bundle; baselines before the rankers.

    Returns:
        The names.
    """
    order = list(TITLES)
    return sorted(names, key=lambda n: order.index(n) if n in TITLES else 4)


def interval_text(interval: Sequence[float]) -> str:
    """Write a mean difference and its bounds.

    Returns:
        Such as `+0.0070 [+0.0028, +0.0113]`.
    """
    mean, low, high = interval
    return f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"
