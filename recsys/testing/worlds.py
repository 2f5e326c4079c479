"""Made-up logs in which the right ranking is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.schema import (
    MICROSECONDS,
    Attributes,
    ImpressionEvent,
    InteractionEvent,
    ItemEvent,
    VisibleEvent,
)

_TOPICS = {
    "space": "rocket orbit moon galaxy astronaut launch planet comet telescope starship",
    "cooking": "recipe oven garlic butter pasta sauce baking bread chef kitchen",
    "football": "goal striker league stadium penalty keeper coach match midfield derby",
    "gardening": "tomato seedling compost rose pruning soil greenhouse tulip lawn orchard",
}
START = 1_700_000_000 * MICROSECONDS


@dataclass(frozen=True, slots=True)
class TopicWorld:
    """Users who like one topic each, shown lists in which every topic occurs.

    Args:
        events: In time order.
        topic_of_item: The answer for items.
        topic_of_user: The answer for users.
    """

    events: list[VisibleEvent]
    topic_of_item: dict[str, str]
    topic_of_user: dict[str, str]


def topic_world(
    *, n_users: int = 40, n_lists: int = 6, n_items: int = 80, seed: int = 3, loyalty: float = 0.9
) -> TopicWorld:
    """Make a world in which a user clicks what belongs to the user's topic.

    Args:
        n_users: Users.
        n_lists: Lists that each user sees, one after another, interleaved with those of others.
        n_items: Items, evenly over four topics; their titles are words of the topic.
        seed: Of every choice.
        loyalty: Probability that an item of the own topic is clicked; another one is with a
            tenth of the rest.

    Returns:
        The world; ten seconds lie between lists.
    """
    rng = np.random.default_rng(seed)
    topics = list(_TOPICS)
    topic_of_item = {f"item{i}": topics[i % len(topics)] for i in range(n_items)}
    topic_of_user = {f"user{u}": topics[int(rng.integers(len(topics)))] for u in range(n_users)}
    events = [
        _visible(ItemEvent(f"v-{item}", START, item, _attributes(topic, rng)))
        for item, topic in topic_of_item.items()
    ]
    items = list(topic_of_item)
    now = START
    for number in range(n_lists):
        for user, topic in topic_of_user.items():
            now += 10 * MICROSECONDS
            shown = [items[i] for i in rng.choice(n_items, size=8, replace=False).tolist()]
            list_id = f"list-{number}-{user}"
            events.append(_visible(ImpressionEvent(list_id, now, user, shown, list_id)))
            for item in shown:
                mine = topic_of_item[item] == topic
                if rng.random() < (loyalty if mine else (1.0 - loyalty) / 10):
                    click = InteractionEvent(
                        f"c-{list_id}-{item}",
                        now + MICROSECONDS,
                        user,
                        item,
                        "click",
                        list_id,
                    )
                    events.append(_visible(click))
    return TopicWorld(events, topic_of_item, topic_of_user)


def without_impressions(events: Sequence[VisibleEvent]) -> list[VisibleEvent]:
    """Make the log of a shop that keeps what was done and not what was shown.

    Returns:
        The same events without impressions, and interactions that name none.
    """
    kept: list[VisibleEvent] = []
    for visible in events:
        event = visible.event
        if isinstance(event, InteractionEvent):
            bare = InteractionEvent(
                event.event_id, event.occurred_at, event.user_id, event.item_id, "purchase"
            )
            kept.append(VisibleEvent(bare, visible.visible_at))
        elif not isinstance(event, ImpressionEvent):
            kept.append(visible)
    return kept


def _attributes(topic: str, rng: np.random.Generator) -> Attributes:
    words = rng.permutation(_TOPICS[topic].split())[:4].tolist()
    return {
        "title": " ".join(words[:3]),
        "tags": [str(word) for word in words],
        "length": float(rng.integers(1, 100)),
    }


def _visible(event: ItemEvent | ImpressionEvent | InteractionEvent) -> VisibleEvent:
    return VisibleEvent(event, event.occurred_at)
