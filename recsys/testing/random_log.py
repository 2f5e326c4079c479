"""Random logs in which everything happens that makes two executions disagree.

Equal timestamps, retries of known ids with other contents, events that arrive late or out of order,
attributes that change, are missing or describe the past, anonymous users, items that nobody
described, visits, request attributes, values of interactions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from recsys.features.profile import AttributeProfile, Kind, LogProfile
from recsys.schema import (
    MICROSECONDS,
    Attributes,
    AttributeValue,
    Event,
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
    UserEvent,
    VisibleEvent,
)

START: Final = 1_700_000_000 * MICROSECONDS
#: Between an event and the next one, in seconds: ties, one visit, the same day, windows apart.
_STEPS_S: Final = (0, 0, 0, 1, 45, 600, 7_200, 86_400)
#: Between an event and its arrival, in seconds.
_DELAYS_S: Final = (0, 0, 0, 0, 0, 1, 3_600, 2 * 86_400)
_WORDS: Final = ("red", "blue", "old", "new", "large", "small", "wool", "linen", "warm", "light")
_MISSING: Final = 0.2
_ODD: Final = 0.02


def _attribute(kind: Kind, mean_words: float = 1.0) -> AttributeProfile:
    return AttributeProfile(kind, 1, 1, 1, mean_words)


#: What is known of things in a random log, where no other log is to be imitated.
USUAL_LOG: Final = LogProfile(
    items={
        "title": _attribute("string", 4.0),
        "category": _attribute("string"),
        "tags": _attribute("strings"),
        "price": _attribute("number"),
        "in_stock": _attribute("boolean"),
        "vector": _attribute("numbers"),
    },
    users={"country": _attribute("string"), "age": _attribute("number")},
    context={"query": _attribute("string", 2.0), "device": _attribute("string")},
    candidates={"relevancy": _attribute("number"), "badge": _attribute("string")},
    event_types={"view": 6, "click": 3, "purchase": 1},
)


def random_log(
    rng: np.random.Generator,
    like: LogProfile = USUAL_LOG,
    *,
    n_events: int = 240,
    n_users: int = 6,
    n_items: int = 12,
) -> list[VisibleEvent]:
    """Make a log of accidents.

    Args:
        rng: Of every choice.
        like: Names and kinds of attributes, and event types, are those of this log.
        n_events: Events, retries included; about a sixth are impressions.
        n_users: Users.
        n_items: Items; a tenth is never described.

    Returns:
        Events in no particular order.
    """
    maker = _Maker(rng, like, n_users, n_items)
    described = n_items - n_items // 10 - 1
    now, events = START, list[Event](maker.item(n, START) for n in range(described))
    for number in range(len(events), n_events):
        now += int(rng.choice(_STEPS_S)) * MICROSECONDS
        events.append(maker.event(number, now))
    visible = [VisibleEvent(event, event.occurred_at + maker.delay_us()) for event in events]
    for retried in rng.choice(len(visible), size=len(visible) // 20, replace=False).tolist():
        original = visible[retried]
        again = replace(original.event, occurred_at=original.event.occurred_at + MICROSECONDS)
        visible.append(VisibleEvent(again, original.visible_at + 60 * MICROSECONDS))
    return [visible[i] for i in rng.permutation(len(visible)).tolist()]


class _Maker:
    """Makes events of a log like another one."""

    def __init__(
        self, rng: np.random.Generator, like: LogProfile, n_users: int, n_items: int
    ) -> None:
        self._rng = rng
        self._like = like
        self._users = [f"user{n}" for n in range(n_users)] + [""]
        self._items = [f"item{n}" for n in range(n_items)]
        self._types = list(like.event_types) or ["click"]

    def event(self, number: int, now: int) -> Event:
        chance = self._rng.random()
        if chance < 0.1:
            return self.item(int(self._rng.integers(len(self._items))), now, f"item-{number}")
        if chance < 0.2:
            user = self._users[int(self._rng.integers(len(self._users) - 1))]
            about = self._attributes(self._like.users)
            return UserEvent(f"about-{number}", now, user, about)
        user, item = self._one(self._users), self._one(self._items)
        session = f"{user}-{now // (900 * MICROSECONDS)}" if user and chance < 0.8 else ""
        if chance < 0.4:
            return self._impression(number, now, user, session)
        value = None if chance < 0.6 else float(self._rng.integers(0, 6))
        shown = f"shown-{self._rng.integers(number)}" if chance > 0.8 else ""
        kind = self._one(self._types)
        return InteractionEvent(f"did-{number}", now, user, item, kind, shown, session, value)

    def item(self, row: int, now: int, event_id: str = "") -> ItemEvent:
        attributes = self._attributes(self._like.items)
        # A description may be of the past: it must not replace a newer one.
        at = now - (86_400 * MICROSECONDS if self._rng.random() < 0.2 else 0)
        return ItemEvent(event_id or f"first-{row}", at, self._items[row], attributes)

    def delay_us(self) -> int:
        return int(self._rng.choice(_DELAYS_S)) * MICROSECONDS

    def _impression(self, number: int, now: int, user: str, session: str) -> ImpressionEvent:
        size = int(self._rng.integers(1, min(8, len(self._items)) + 1))
        shown = self._rng.choice(self._items, size=size, replace=False).tolist()
        context = self._attributes(self._like.context)
        said = {item: self._said() for item in shown if self._rng.random() > _MISSING}
        name = f"shown-{number}"
        return ImpressionEvent(name, now, user, shown, name, session, context, said)

    def _said(self) -> Attributes:
        attributes = self._attributes(self._like.candidates)
        # Now and then somebody writes another type.
        return {n: "many" if self._rng.random() < _ODD else v for n, v in attributes.items()}

    def _attributes(self, profiles: Mapping[str, AttributeProfile]) -> Attributes:
        there = {name: p for name, p in profiles.items() if self._rng.random() > _MISSING}
        return {name: self._value(profile) for name, profile in there.items()}

    def _value(self, profile: AttributeProfile) -> AttributeValue:
        n_words = max(1, round(profile.mean_words))
        if profile.kind == "number":
            return float(self._rng.integers(0, 2_000)) / 4.0
        if profile.kind == "boolean":
            return bool(self._rng.random() < 0.5)
        if profile.kind == "string":
            return " ".join(self._rng.choice(_WORDS, size=n_words).tolist())
        size = int(self._rng.integers(0, 4))
        if profile.kind == "numbers":
            return [float(v) for v in self._rng.normal(size=4)]
        return [str(word) for word in self._rng.choice(_WORDS, size=size, replace=False)]

    def _one(self, names: list[str]) -> str:
        return names[int(self._rng.integers(len(names)))]
