"""The demo's viewer: who gets a list of the log, and clicks on what is like one item of it."""

from __future__ import annotations

from collections.abc import Sequence

from recsys.events.replay import visible_events
from recsys.events.snapshot import LogSnapshot
from recsys.schema import Attributes, Event, ImpressionEvent, InteractionEvent, ItemEvent

_CLICKS = 3


class Story:
    """A list of candidates, and clicks that show an interest.

    Args:
        candidates: Items of one list of the log.
        items: Attributes of all items.
        now: The log's last instant, in microseconds; clicks come after it.
    """

    def __init__(self, candidates: list[str], items: dict[str, Attributes], now: int) -> None:
        self.candidates = candidates
        self._items = items
        self._now = now
        self._clicked: list[str] = []

    @property
    def n_clicks(self) -> int:
        """How many items are clicked."""
        return len(self._clicked)

    def title(self, item_id: str) -> str:
        """Find an item's title.

        Returns:
            The title, or the id where there is none.
        """
        return str(self._items.get(item_id, {}).get("title", item_id))

    def choose_interest(self, ranked: Sequence[str]) -> None:
        """Choose the item in the lower half that most resembles others, and those others.

        The clicked items are not candidates themselves, so that what moves afterwards was moved by
        likeness alone.
        """
        lower = ranked[len(ranked) // 2 :]
        others = [item for item in self._items if item not in set(self.candidates)]
        best: tuple[int, list[str]] = (-1, [])
        for anchor in lower:
            words = self._words(anchor)
            alike = sorted(others, key=lambda item: -len(words & self._words(item)))[:_CLICKS]
            total = sum(len(words & self._words(item)) for item in alike)
            best = max(best, (total, alike), key=lambda found: found[0])
        self._clicked = best[1]

    def clicked_titles(self) -> list[str]:
        """List what is clicked.

        Returns:
            Titles with genres.
        """
        return [f"{self.title(i)} ({self._listed(i, 'genres')})" for i in self._clicked]

    def clicks(self, user_id: str) -> list[Event]:
        """Make the events: the list that showed the items, and a click on each.

        Returns:
            Events that are ready to be written.
        """
        shown = ImpressionEvent("demo-list", self._now, user_id, self._clicked, "demo-list")
        events: list[Event] = [shown]
        for number, item_id in enumerate(self._clicked):
            events.append(
                InteractionEvent(
                    event_id=f"demo-click-{number}",
                    occurred_at=self._now,
                    user_id=user_id,
                    item_id=item_id,
                    type="click",
                    impression_id="demo-list",
                )
            )
        return events

    def _words(self, item_id: str) -> set[str]:
        attributes = self._items[item_id]
        lists = (value for value in attributes.values() if isinstance(value, list))
        return {str(part) for value in lists for part in value}

    def _listed(self, item_id: str, name: str) -> str:
        value = self._items[item_id].get(name, "")
        return ", ".join(str(part) for part in value) if isinstance(value, list) else str(value)


def make_story(snapshot: LogSnapshot) -> Story:
    """Take the newest list of a log as the candidates.

    Returns:
        The story.
    """
    items: dict[str, Attributes] = {}
    newest: list[str] = []
    now = 0
    for visible in visible_events(snapshot):
        now = visible.visible_at
        if isinstance(visible.event, ItemEvent):
            items[visible.event.item_id] = visible.event.attributes
        elif isinstance(visible.event, ImpressionEvent):
            newest = visible.event.item_ids
    return Story(newest, items, now)
