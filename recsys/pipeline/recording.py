"""Keeps what the ranker is given, where a feature log is open."""

from __future__ import annotations

from collections.abc import Sequence

from recsys.bundle.contents import Scorer
from recsys.features.candidates import said_of
from recsys.features.slates import Slates
from recsys.pipeline.cascade import Table
from recsys.pipeline.feature_log import FeatureLog, ServedRequest, fingerprint
from recsys.pipeline.live import LiveState
from recsys.pipeline.requests import RankQuery, RecommendQuery


class Recorder:
    """Hands a sample of requests to the feature log.

    Args:
        scorer: The bundle that answers.
        live: What is known.
    """

    def __init__(self, scorer: Scorer, live: LiveState) -> None:
        self._version, self._live = scorer.version, live
        self._plugins = fingerprint(scorer.capabilities.plugins)
        #: None: nothing is kept.
        self.log: FeatureLog | None = None

    def record(
        self, query: RankQuery | RecommendQuery, slates: Slates, item_ids: list[str], table: Table
    ) -> None:
        """Keep a request, if it is drawn; call it with the lock of the state held.

        The position of the state, as it is noted, then belongs to this very matrix.
        """
        if self.log is None or table.ranker is None or not self.log.draw():
            return
        seeds = slates.seeds.rows[0].tolist() if slates.seeds else []
        served = ServedRequest(
            request_id=query.request_id,
            user_id=query.user_id,
            as_of=int(slates.as_of[0]),
            last_visible_at=self._live.last_event_us,
            n_events=self._live.n_events,
            n_erased=self._live.n_erased,
            model_version=self._version,
            plugins=self._plugins,
            is_degraded=bool(table.warnings),
            context=query.context,
            session_id=query.session_id,
            item_ids=item_ids,
            seed_item_ids=[self._live.state.items.ids[row] for row in seeds],
            candidates=said_of(slates.candidates, len(item_ids)),
            features=table.ranker.feature_names,
            matrix=table.matrix,
        )
        self.log.put(served)

    def forget(self, user_ids: Sequence[str]) -> None:
        """Leave out what waits to be written about users."""
        if self.log is not None:
            self.log.forget(user_ids)
