"""What an aggregate is kept for: one integer key per event, per candidate, or several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.actions import Actions
from recsys.features.entities import ANONYMOUS, Entities
from recsys.features.slates import Slates
from recsys.features.vocabulary import Reduce

#: A user takes the upper 32 bits of a combined key, an item or attribute code the lower.
_SHIFT: Final = 32
#: The key of something that no event has: it reads as a key without events.
NO_EVENTS: Final = np.int64(-1)
_LOW: Final = np.int64(2**_SHIFT - 1)


@dataclass(frozen=True, slots=True)
class Key:
    """A parsed `Aggregate.by`.

    Args:
        user: The user is part of the key.
        item: The item is part of the key.
        attribute: The item attribute that is part of the key; empty: none.
    """

    user: bool
    item: bool
    attribute: str

    @property
    def dense(self) -> bool:
        """Whether keys are rows of one entity (or the single global row) and need no look-up."""
        return not self.attribute and not (self.user and self.item)


@dataclass(frozen=True, slots=True)
class KeyedRows:
    """Integer keys, several or none for some rows.

    Args:
        positions: int64 (n_keys,): which row each key belongs to, ascending.
        keys: int64 (n_keys,): the keys; `NO_EVENTS` where an id is unknown.
        one_each: Every row has exactly one key, in order.
    """

    positions: NDArray[np.int64]
    keys: NDArray[np.int64]
    one_each: bool


def parse_key(by: str) -> Key:
    """Read an `Aggregate.by` such as `item`, `user*item` or `user*item.genres`.

    Returns:
        The key.

    Raises:
        ValueError: It is none of the known forms.
    """
    parts = by.split("*")
    user = parts[0] == "user"
    rest = parts[1:] if user else parts
    if by == "global" or (user and not rest):
        return Key(user=user, item=False, attribute="")
    if len(rest) == 1 and rest[0] == "item":
        return Key(user=user, item=True, attribute="")
    if len(rest) == 1 and rest[0].startswith("item.") and len(rest[0]) > len("item."):
        return Key(user=user, item=False, attribute=rest[0].removeprefix("item."))
    text = f"key {by!r}: expected item, user, global, user*item, item.NAME or user*item.NAME"
    raise ValueError(text)


def action_keys(key: Key, actions: Actions, items: Entities) -> KeyedRows:
    """Find the keys that each action counts for; an action of nobody counts for no user.

    Returns:
        Keys by row of the actions.
    """
    named = actions.users >= 0 if key.user else np.ones(len(actions), dtype=bool)
    rows = np.flatnonzero(named)
    users = actions.users[rows]
    if key.attribute:
        positions, codes = items.codes(key.attribute).expand(actions.versions[rows])
        return KeyedRows(rows[positions], _combine(key, users[positions], codes), one_each=False)
    lower = actions.items[rows] if key.item else np.zeros(len(rows), dtype=np.int32)
    return KeyedRows(rows, _combine(key, users, lower), one_each=len(rows) == len(actions))


def candidate_keys(
    key: Key, slates: Slates, versions: NDArray[np.int32], items: Entities
) -> KeyedRows:
    """Find the keys that each candidate reads; one without an attribute, or of nobody, reads none.

    Args:
        key: The parsed key.
        slates: The requests.
        versions: int32 (n_candidates,): version rows of the candidates as of the request.
        items: The catalogue.

    Returns:
        Keys by candidate.
    """
    users = slates.spread(slates.users).astype(np.int32, copy=False)
    if key.attribute:
        positions, codes = items.codes(key.attribute).expand(versions)
        users, lower = users[positions], codes
    else:
        positions = np.arange(len(slates.items))
        lower = slates.items if key.item else np.zeros(len(positions), dtype=np.int32)
    keys = _combine(key, users, lower)
    if not key.user:
        return KeyedRows(positions, keys, one_each=not key.attribute)
    named = users != ANONYMOUS
    if named.all():
        return KeyedRows(positions, keys, one_each=not key.attribute)
    return KeyedRows(positions[named], keys[named], one_each=False)


def _combine(key: Key, users: NDArray[np.int32], lower: NDArray[np.int32]) -> NDArray[np.int64]:
    low = lower.astype(np.int64)
    if not key.user:
        return np.where(low < 0, NO_EVENTS, low)
    if not (key.item or key.attribute):
        return np.where(users < 0, NO_EVENTS, users.astype(np.int64))
    combined = (users.astype(np.int64) << _SHIFT) | (low & _LOW)
    return np.where((users < 0) | (low < 0), NO_EVENTS, combined)


def reduce_values(
    values: NDArray[np.float64], keyed: KeyedRows, n_rows: int, how: Reduce
) -> NDArray[np.float64]:
    """Make one value per row of the values of its keys; missing values are left out.

    Returns:
        float64 (n_rows,): NaN for a row without keys or with missing values only.
    """
    if keyed.one_each:
        return values
    present = ~np.isnan(values)
    positions, values = keyed.positions[present], values[present]
    counts = np.bincount(positions, minlength=n_rows)
    if how == "max":
        result = np.full(n_rows, -np.inf)
        np.maximum.at(result, positions, values)
    else:
        # Without any key, bincount gives integers whatever the weights are.
        result = np.bincount(positions, weights=values, minlength=n_rows).astype(np.float64)
        if how == "mean":
            result = result / np.maximum(counts, 1)
    result[counts == 0] = np.nan
    return result
