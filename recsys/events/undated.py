"""When versions of items and users are known of which no instant is said, as in a product table.

The first one is known from the first interaction of the same import on: an item without a past
would have had no text in the requests that are learned from. A later one that says something else
is known from its import on, and one that says the same is none.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Final, Literal, Protocol

from recsys.events.columns import TableKind
from recsys.events.frames import Kind, json_of
from recsys.events.ids import content_id
from recsys.schema import Attributes

#: How ids of such versions begin: a later import compares with these, not with what others say.
PREFIX: Final = "table-"


class Known(Protocol):
    """The log, as far as undated versions are compared with it."""

    def newest_content(self, kind: Kind, prefix: str) -> dict[str, str]:
        """Find what the newest versions say whose event ids begin in one way."""
        ...

    def first_interaction(self) -> int | None:
        """Find when the first interaction happened."""
        ...


class Undated:
    """Gives every version its instant.

    Args:
        start: Gives the first instant of the import's interactions; asked for at most once.
    """

    def __init__(self, start: Callable[[], int | None] = lambda: None) -> None:
        self._find_start = start
        self._start: int | None = None
        self._now_us = time.time_ns() // 1000
        self._kinds: set[Literal["items", "users"]] = set()
        self._known: dict[TableKind, dict[str, str]] = {}
        self._first_known: int | None = None
        self._said: dict[tuple[TableKind, str], tuple[str, int]] = {}

    def expect(self, kind: TableKind) -> None:
        """Hear that a table of this kind says no instants."""
        if kind == "items" or kind == "users":  # the others always say one
            self._kinds.add(kind)

    def compare_with(self, log: Known) -> None:
        """Take what the log has, before anything is imported."""
        if self._kinds:
            self._first_known = log.first_interaction()
        for kind in self._kinds:
            self._known[kind] = log.newest_content(kind, PREFIX)

    def instant(self, kind: TableKind, who: str, attributes: Attributes) -> int | None:
        """Say from when on a version is known.

        Args:
            kind: `items` or `users`.
            who: Id of the item or user.
            attributes: What is said of it.

        Returns:
            Microseconds since the Unix epoch; None where nothing new is said.
        """
        content = content_of(json_of(attributes))
        before = self._said.get((kind, who))
        if before is None:
            known = self._known.get(kind, {}).get(who)
            if known == content:
                return None
            instant = self._first() if known is None else self._now_us
        elif before[0] == content:
            return None
        else:
            instant = before[1] + 1  # of two rows the later one counts
        self._said[kind, who] = content, instant
        return instant

    @staticmethod
    def event_id(who: str, instant: int | None, attributes: Attributes) -> str:
        """Make the id of a version.

        Returns:
            30 characters.
        """
        return PREFIX + content_id(who, instant, json_of(attributes))

    def _first(self) -> int:
        if self._start is None:
            # Without interactions anywhere nothing can be said but: from ever on.
            found = [one for one in (self._find_start(), self._first_known) if one is not None]
            self._start = min(found, default=0)
        return self._start


def content_of(attributes: str) -> str:
    """Make a digest of what a version says, as the log's own SQL does.

    Args:
        attributes: JSON, as the log has it.

    Returns:
        32 characters.
    """
    return hashlib.md5(attributes.encode(), usedforsecurity=False).hexdigest()
