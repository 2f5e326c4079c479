"""Warm-up: the latest requests of the log are answered once more, for nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from recsys.errors import BundleError
from recsys.pipeline.cascade import INCOMPLETE
from recsys.pipeline.given import given_of
from recsys.pipeline.live import LiveState
from recsys.pipeline.requests import RankedList, RankQuery


def answer_latest(
    rank: Callable[[RankQuery], RankedList], live: LiveState, version: str
) -> Iterator[str]:
    """Answer the latest requests of a log.

    Args:
        rank: Answers one.
        live: What is known; remembers the requests.
        version: The bundle that answers.

    Yields:
        What answers lacked.

    Raises:
        BundleError: A request was not answered.
    """
    for past in live.requests.latest():
        query = RankQuery(
            past.user_id,
            past.item_ids,
            live.last_event_us,
            context=past.context,
            candidate_attributes=given_of(past.item_attributes),
        )
        try:
            ranked = rank(query)
        except Exception as error:
            # Whatever it is, it would be the answer to somebody's request.
            found = f"warm-up failed ({type(error).__name__}: {error})"
            raise BundleError(Path(version), found, "answers") from error
        yield from (warning for warning in ranked.warnings if warning.startswith(INCOMPLETE))
