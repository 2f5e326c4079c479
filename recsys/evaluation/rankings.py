"""Rankings of the test requests: what a bundle is compared with, and the bundle itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from recsys.bundle.contents import Scorer
from recsys.features.offline import OfflineReader
from recsys.features.slates import Slates
from recsys.features.vocabulary import count, decayed_count
from recsys.pipeline.rules import Rules
from recsys.ranking.ranker import Ranker
from recsys.schema import IMPRESSION
from recsys.training.labels import LabelledSlates

#: The ranking that rules make of the bundle's.
BY_RULES = "by_rules"
_PRIOR_SHOWS = 20.0
_WEEK_S = 7 * 86_400.0

Scores = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Rankings:
    """Everything that scores the candidates of a request.

    Args:
        reader: The log.
        scorer: The bundle.
        baselines: Rankers over some of the bundle's columns, by name.
        frozen_at: When the test slice began, in microseconds.
        shown: Candidates are in the order in which they were shown.
    """

    reader: OfflineReader
    scorer: Scorer
    baselines: Mapping[str, Ranker]
    frozen_at: int
    shown: bool

    def scores(self, test: LabelledSlates, rng: np.random.Generator) -> Scores:
        """Score all candidates by all rankings.

        Args:
            test: The requests.
            rng: Makes the random ranking.

        Returns:
            float64 (n_candidates,) by name: `random`; `shown_order` where lists were shown;
            `click_rate`: the item's share of shows that were acted on so far, smoothed towards
            that of all items, or the number of actions where nothing is known of shows;
            `recent_popularity` there too: the same with a half-life of a week; baselines;
            `without_text`; `full`; `by_rules` where plugins offer rules: places of `full` as they
            order it; and `full_frozen`: with features as they stood when the test slice began.
        """
        slates = test.slates
        scores: Scores = {"random": rng.random(len(slates.items))}
        scores |= self._shown(slates) if self.shown else self._popularity(slates)
        plan, contents = self.scorer.plan, self.scorer.contents
        matrix = self._matrix(slates)
        for name, ranker in {**self.baselines, "without_text": contents.fallback}.items():
            columns = [plan.names.index(feature) for feature in ranker.feature_names]
            scores[name] = ranker.score(matrix[:, columns])
        scores["full"] = contents.ranker.score(matrix)
        if rules := Rules(self.scorer, self.reader.items):
            scores[BY_RULES] = self._by_rules(rules, slates, scores["full"])
        frozen = replace(slates, as_of=np.minimum(slates.as_of, self.frozen_at))
        scores["full_frozen"] = contents.ranker.score(self._matrix(frozen))
        return scores

    def _matrix(self, slates: Slates) -> NDArray[np.float32]:
        found = self.scorer.plan.scores(slates, self.reader, self.scorer.contents.models)
        return self.scorer.plan.matrix(slates, self.reader, found)

    def _by_rules(
        self, rules: Rules, slates: Slates, scores: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        versions = self.reader.item_versions(slates)
        places = np.empty(len(scores))
        for low, high in pairwise(slates.offsets.tolist()):
            order, failures = rules.order(scores[low:high], versions[low:high], 0)
            for failure in failures:
                raise failure
            places[low + order] = -np.arange(high - low, dtype=np.float64)
        return places

    def _shown(self, slates: Slates) -> Scores:
        starts = np.repeat(slates.offsets[:-1], slates.sizes)
        order = (starts - np.arange(len(slates.items))).astype(np.float64)
        actions = self.reader.read(count("actions", "*", by="item"), slates)
        shows = self.reader.read(count("shows", IMPRESSION, by="item"), slates)
        all_actions = self.reader.read(count("all_actions", "*", by="global"), slates)
        all_shows = self.reader.read(count("all_shows", IMPRESSION, by="global"), slates)
        prior = (all_actions + 1.0) / (all_shows + 10.0)
        rate = (actions + _PRIOR_SHOWS * prior) / (shows + _PRIOR_SHOWS)
        return {"shown_order": order, "click_rate": rate}

    def _popularity(self, slates: Slates) -> Scores:
        heat = decayed_count("heat", "*", by="item", half_life_s=_WEEK_S)
        return {
            "click_rate": self.reader.read(count("actions", "*", by="item"), slates),
            "recent_popularity": self.reader.read(heat, slates),
        }
