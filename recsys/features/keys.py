"""What an aggregate is kept for: a part of the request, a part of the candidate, or one of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Parts that a request has one value of; `user.` and `context.` are followed by an attribute.
_REQUEST_PARTS: Final = ("user", "session", "visit")
_REQUEST_SCOPES: Final = ("user.", "context.")
_ITEM_SCOPE: Final = "item."


@dataclass(frozen=True, slots=True)
class Key:
    """A parsed `Aggregate.by`.

    Args:
        request: Part of the request: `user`, `session`, `visit`, `user.NAME`, `context.NAME`;
            empty: none.
        item: Part of the candidate: `item`, `item.NAME`; empty: none.
    """

    request: str
    item: str

    @property
    def item_attribute(self) -> str:
        """Name of the item attribute that is part of the key; empty: none."""
        return self.item.removeprefix(_ITEM_SCOPE) if self.item.startswith(_ITEM_SCOPE) else ""

    @property
    def user_attribute(self) -> str:
        """Name of the user attribute that is part of the key; empty: none."""
        return self.request.removeprefix("user.") if self.request.startswith("user.") else ""

    @property
    def context_attribute(self) -> str:
        """Name of the request attribute that is part of the key; empty: none."""
        return self.request.removeprefix("context.") if self.request.startswith("context.") else ""

    @property
    def of_session(self) -> bool:
        """Whether the request's part is a running session, of anybody or of who is not named."""
        return self.request in {"session", "visit"}

    @property
    def combined(self) -> bool:
        """Whether the key has both parts."""
        return bool(self.request and self.item)


def parse_key(by: str) -> Key:
    """Read an `Aggregate.by` such as `item`, `user*item` or `context.query*item.genres`.

    Returns:
        The key.

    Raises:
        ValueError: It is none of the known forms.
    """
    if by == "global":
        return Key("", "")
    first, star, second = by.partition("*")
    if star and _is_request_part(first) and _is_item_part(second):
        return Key(first, second)
    if not star and _is_request_part(first):
        return Key(first, "")
    if not star and _is_item_part(first):
        return Key("", first)
    text = (
        f"key {by!r}: expected global, user, session, visit, user.NAME, context.NAME, item,"
        " item.NAME, or one of the request's times one of the item's, such as user*item.NAME"
    )
    raise ValueError(text)


def _is_request_part(text: str) -> bool:
    named = any(text.startswith(s) and len(text) > len(s) for s in _REQUEST_SCOPES)
    return text in _REQUEST_PARTS or named


def _is_item_part(text: str) -> bool:
    return text == "item" or (text.startswith(_ITEM_SCOPE) and len(text) > len(_ITEM_SCOPE))
