"""How aggregates are read: one contract, an offline and an online execution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.features.entities import ANONYMOUS, Entities
from recsys.features.models import Histories
from recsys.features.seeds import in_front
from recsys.features.slates import Slates
from recsys.features.vocabulary import ANY_INTERACTION, Aggregate, parts_of
from recsys.schema import IMPRESSION, SESSION

if TYPE_CHECKING:
    from recsys.features.actions import EventTypes


class StateReader(Protocol):
    """Reads what was known at the instants of requests."""

    items: Entities
    users: Entities
    types: EventTypes

    def item_versions(self, slates: Slates) -> NDArray[np.int32]:
        """Find the version rows of all candidates: int32 (n_candidates,), -1 where unknown."""
        ...

    def user_versions(self, slates: Slates) -> NDArray[np.int32]:
        """Find the version rows of all users: int32 (n_requests,), -1 where unknown."""
        ...

    def named_items(self, slates: Slates) -> NDArray[np.int32]:
        """Find the candidates that an event had named: int32 (n_candidates,), negative: none."""
        ...

    def named_users(self, slates: Slates) -> NDArray[np.int32]:
        """Find the users that an event had named: int32 (n_requests,), negative: none."""
        ...

    def read(self, aggregate: Aggregate, slates: Slates) -> NDArray[np.float64]:
        """Read a scalar aggregate for every candidate.

        Returns:
            float64 (n_candidates,): NaN where it is missing.
        """
        return self.read_many((aggregate,), slates)[0]

    def read_many(
        self, aggregates: Sequence[Aggregate], slates: Slates
    ) -> list[NDArray[np.float64]]:
        """Read scalar aggregates, which share what they have in common: as of `read` each."""
        ...

    def histories(self, aggregate: Aggregate, slates: Slates) -> Histories:
        """Read a `last_items` aggregate, one row per request.

        Returns:
            The histories, newest first, seeds in front; empty where there is nobody or nothing was
            done.
        """
        past = self._done(aggregate, slates)
        if slates.seeds is None:
            return past
        kind = self.types.known(slates.seeds.event_type)
        if kind < 0 or not type_mask(aggregate.of, self.types)[kind]:
            return past
        rows = slates.seeds.rows
        seeded = replace(
            slates,
            items=np.concatenate(rows),
            offsets=np.concatenate([[0], np.cumsum([len(seeds) for seeds in rows])]),
            candidates={},
        )
        return in_front(past, rows, self.item_versions(seeded), kind)

    def _done(self, aggregate: Aggregate, slates: Slates) -> Histories:
        first, *others = parts_of(aggregate)
        unnamed = slates.users == ANONYMOUS
        if not others or not unnamed.any():
            return self.histories_of(first, slates)
        visits = self.histories_of(others[0], slates)
        if unnamed.all():
            return visits
        return _merged(unnamed, visits, self.histories_of(first, slates))

    def histories_of(self, aggregate: Aggregate, slates: Slates) -> Histories:
        """Read a `last_items` aggregate with one key."""
        ...


def _merged(chosen: NDArray[np.bool_], some: Histories, others: Histories) -> Histories:
    names = [field.name for field in fields(Histories)]
    columns = ((getattr(some, name), getattr(others, name)) for name in names)
    return Histories(*(np.where(chosen[:, None], one, other) for one, other in columns))


class BatchMemo:
    """What the aggregates of one batch have in common; a plan reads them one after another."""

    def __init__(self) -> None:
        self._owner: Slates | None = None
        self._found: dict[object, Any] = {}

    def of(self, slates: Slates) -> dict[object, Any]:
        """Give the notes on a batch; another batch starts with empty ones.

        Returns:
            A dictionary for the caller's own keys.
        """
        if self._owner is not slates:
            self.clear()
            self._owner = slates
        return self._found

    def clear(self) -> None:
        """Forget everything, because what was read may have changed."""
        self._owner, self._found = None, {}


def type_mask(of: tuple[str, ...], types: EventTypes) -> NDArray[np.bool_]:
    """Say which event types an aggregate is made of.

    Args:
        of: Names; `("session",)` is made of no type but of the events that begin a session.
        types: All event types.

    Returns:
        bool (n_types,).
    """
    if of == (SESSION,):
        return np.array([False, True])
    return np.array([
        name in of or (ANY_INTERACTION in of and name != IMPRESSION) for name in types.names
    ])
