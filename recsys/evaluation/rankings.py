"""Rankings of the test requests: what a bundle is compared with, and the bundle itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.contents import Scorer
from recsys.features.offline import OfflineReader
from recsys.features.slates import Slates
from recsys.features.vocabulary import count
from recsys.schema import IMPRESSION
from recsys.training.labels import LabelledSlates

_PRIOR_SHOWS = 20.0


def baseline_scores(
    test: LabelledSlates, reader: OfflineReader, rng: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Score candidates without any learning.

    Args:
        test: The test requests.
        reader: The log.
        rng: Makes the random ranking.

    Returns:
        float64 (n_candidates,) by name: `random`, `shown_order` (only where lists were shown) and
        `click_rate`: the item's share of shows that were acted on so far, smoothed towards that of
        all items; on a log without impressions the number of actions.
    """
    slates = test.slates
    scores: dict[str, NDArray[np.float64]] = {"random": rng.random(len(slates.items))}
    actions = reader.read(count("actions", "*", by="item"), slates)
    if test.sampled:
        scores["click_rate"] = actions
        return scores
    starts = np.repeat(slates.offsets[:-1], slates.sizes)
    scores["shown_order"] = (starts - np.arange(len(slates.items))).astype(np.float64)
    shows = reader.read(count("shows", IMPRESSION, by="item"), slates)
    all_actions = reader.read(count("all_actions", "*", by="global"), slates)
    all_shows = reader.read(count("all_shows", IMPRESSION, by="global"), slates)
    prior = (all_actions + 1.0) / (all_shows + 10.0)
    scores["click_rate"] = (actions + _PRIOR_SHOWS * prior) / (shows + _PRIOR_SHOWS)
    return scores


def bundle_scores(
    test: LabelledSlates, reader: OfflineReader, scorer: Scorer
) -> dict[str, NDArray[np.float64]]:
    """Score candidates with a bundle: all of it, and its ranker without feature models.

    Args:
        test: The test requests.
        reader: The log.
        scorer: The bundle.

    Returns:
        float64 (n_candidates,) by name: `without_text`, `full`, and `full_frozen`: the bundle with
        features as they stood when the test slice began.
    """
    plan, contents = scorer.plan, scorer.contents
    plain = plan.without_models()
    scores = {
        "without_text": contents.fallback.score(plain.matrix(test.slates, reader, {})),
        "full": _full(test.slates, reader, scorer),
    }
    frozen_at = np.minimum(test.slates.as_of, test.slates.as_of[0])
    frozen = Slates(
        users=test.slates.users,
        as_of=frozen_at,
        items=test.slates.items,
        offsets=test.slates.offsets,
        context=test.slates.context,
    )
    scores["full_frozen"] = _full(frozen, reader, scorer)
    return scores


def _full(slates: Slates, reader: OfflineReader, scorer: Scorer) -> NDArray[np.float64]:
    found = scorer.plan.scores(slates, reader, scorer.contents.models)
    return scorer.contents.ranker.score(scorer.plan.matrix(slates, reader, found))
