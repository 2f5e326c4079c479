"""Requests as they were lately made, to try a bundle on before anybody's answer depends on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import polars as pl

from recsys.events.frames import decode_attributes
from recsys.events.snapshot import LogSnapshot
from recsys.schema import (
    MICROSECONDS,
    Attributes,
    Event,
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
    UserEvent,
    VisibleEvent,
)

#: Requests that a bundle is tried on.
N_REQUESTS: Final = 32


@dataclass(frozen=True, slots=True)
class PastRequest:
    """What somebody once asked.

    Args:
        user_id: Empty: nobody in particular.
        item_ids: Candidates, at least one.
        context: What was known of the request.
        item_attributes: What was known of candidates within it, by item id.
    """

    user_id: str
    item_ids: list[str]
    context: Attributes
    item_attributes: dict[str, Attributes] = field(default_factory=dict)


class RecentRequests:
    """The latest lists that were shown; of a log without any, its latest users and items.

    Args:
        snapshot: The log so far.
    """

    def __init__(self, snapshot: LogSnapshot) -> None:
        shown = snapshot.impressions.tail(N_REQUESTS)
        columns = shown.select("user_id", "item_ids", "context", "item_attributes").iter_rows()
        found = [
            PastRequest(user, items, decode_attributes(context), decode_attributes(said))
            for user, items, context, said in columns
        ]
        self._kept = deque(found or _from_interactions(snapshot.interactions), maxlen=N_REQUESTS)

    def add(self, events: Sequence[VisibleEvent]) -> None:
        """Take in what was shown since."""
        for visible in events[-N_REQUESTS:]:
            event = visible.event
            if isinstance(event, ImpressionEvent):
                self._kept.append(
                    PastRequest(event.user_id, event.item_ids, event.context, event.item_attributes)
                )

    def forget(self, user_ids: Sequence[str]) -> None:
        """Let nobody in particular have made the requests of some users."""
        for place, past in enumerate(self._kept):
            if past.user_id in user_ids:
                self._kept[place] = replace(past, user_id="", context={})

    def latest(self) -> list[PastRequest]:
        """List them.

        Returns:
            Oldest first; none of an empty log.
        """
        return list(self._kept)


def _from_interactions(interactions: pl.DataFrame) -> list[PastRequest]:
    latest = interactions.tail(10 * N_REQUESTS)
    items = latest["item_id"].unique(maintain_order=True).to_list()
    users = latest["user_id"].unique(maintain_order=True).to_list()[-N_REQUESTS:]
    return [PastRequest(user, items, {}) for user in users]


def one_of_each(type_names: Sequence[str]) -> list[VisibleEvent]:
    """Make up events of all kinds and types, to try a state on that nobody asks.

    Args:
        type_names: Types of interactions.

    Returns:
        In order of `visible_at`.
    """
    list_id, first_us = "list", MICROSECONDS
    events: list[Event] = [
        ItemEvent("item", first_us, "i", {}),
        UserEvent("user", first_us, "u", {}),
        ImpressionEvent(list_id, first_us, "u", ["i", "j"], list_id),
    ]
    for name in type_names:
        events.append(InteractionEvent(f"{name}/list", first_us, "u", "i", name, list_id))
        events.append(InteractionEvent(name, first_us, "u", "i", name))
    return [VisibleEvent(event, first_us + place) for place, event in enumerate(events)]
