"""Warm-up: the latest requests of the log are answered once more, for nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from recsys.errors import BundleError
from recsys.pipeline.cascade import INCOMPLETE
from recsys.pipeline.given import given_of
from recsys.pipeline.live import LiveState
from recsys.pipeline.requests import RankedList, RankQuery, RecommendQuery

#: Users to whom something is recommended.
_N_RECOMMENDED: Final = 4


def answer_latest(
    rank: Callable[[RankQuery], RankedList],
    recommend: Callable[[RecommendQuery], RankedList],
    *,
    live: LiveState,
    version: str,
) -> Iterator[str]:
    """Answer the latest requests of a log, and recommend to some of those users.

    Args:
        rank: Answers one.
        recommend: Answers a user.
        live: What is known; remembers the requests.
        version: The bundle that answers.

    Yields:
        What answers lacked.

    Raises:
        BundleError: A request was not answered.
    """
    for place, past in enumerate(live.requests.latest()):
        query = RankQuery(
            past.user_id,
            past.item_ids,
            live.last_event_us,
            context=past.context,
            candidate_attributes=given_of(past.item_attributes),
        )
        try:
            warnings = rank(query).warnings
            if place < _N_RECOMMENDED:
                # Whatever a source or filter lacks costs only its own part.
                recommend(RecommendQuery(past.user_id, live.last_event_us))
        except Exception as error:
            # Whatever it is, it would be the answer to somebody's request.
            told = f"warm-up failed ({type(error).__name__}: {error})"
            raise BundleError(Path(version), told, "answers") from error
        yield from (warning for warning in warnings if warning.startswith(INCOMPLETE))
