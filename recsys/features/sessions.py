"""Sessions: what one visitor does without a pause of half an hour.

A visitor is a `session_id` where the event has one, else its user. A session ends after
`SESSION_GAP_S` without an event of its visitor, by `visible_at`; an event that comes later begins
another session, even under the same id. Both executions walk through events with the same tracker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.features.compiled import compiled
from recsys.features.folds import NEVER
from recsys.features.growable import Growable
from recsys.schema import MICROSECONDS

SESSION_GAP_S: Final = 1_800
_GAP_US: Final = SESSION_GAP_S * MICROSECONDS
#: The visitor of an event that names neither a user nor a session.
NO_VISITOR: Final = -1
#: A visitor that no event has named yet.
UNKNOWN_VISITOR: Final = -2


class AskingVisitors(NamedTuple):
    """Requests among a batch of events.

    Args:
        ends: int64 (n_requests,): events of the batch before each request, ascending.
        visitors: int32 (n_requests,): visitor rows, `NO_VISITOR` or `UNKNOWN_VISITOR`.
        as_of: int64 (n_requests,): microseconds.
    """

    ends: NDArray[np.int64]
    visitors: NDArray[np.int32]
    as_of: NDArray[np.int64]


class Walked(NamedTuple):
    """Sessions of a batch.

    Args:
        sessions: int32 (n_events,): session of each event, -1 without a visitor.
        begins: bool (n_events,): it begins there.
        running: int32 (n_requests,): session of each request; -1: nobody; -2: none is running.
    """

    sessions: NDArray[np.int32]
    begins: NDArray[np.bool_]
    running: NDArray[np.int32]


@compiled
def _running(
    latest: NDArray[np.int64], current: NDArray[np.int32], visitor: int, as_of: int
) -> int:
    if visitor < 0 or visitor >= len(latest):
        return visitor if visitor < 0 else UNKNOWN_VISITOR
    fresh = latest[visitor] != NEVER and as_of - latest[visitor] <= _GAP_US
    return current[visitor] if fresh else UNKNOWN_VISITOR


@compiled
def _walk(
    latest: NDArray[np.int64],
    current: NDArray[np.int32],
    n_sessions: int,
    visitors: NDArray[np.int32],
    visible: NDArray[np.int64],
    sessions: NDArray[np.int32],
    begins: NDArray[np.bool_],
    ends: NDArray[np.int64],
    asking: NDArray[np.int32],
    as_of: NDArray[np.int64],
    running: NDArray[np.int32],
) -> int:
    position = 0
    for request in range(len(ends) + 1):
        end = ends[request] if request < len(ends) else len(visitors)
        while position < end:
            visitor = visitors[position]
            sessions[position] = -1
            begins[position] = False
            if visitor >= 0:
                previous = latest[visitor]
                begins[position] = previous == NEVER or visible[position] - previous > _GAP_US
                if begins[position]:
                    current[visitor] = n_sessions
                    n_sessions += 1
                latest[visitor] = visible[position]
                sessions[position] = current[visitor]
            position += 1
        if request < len(ends):
            running[request] = _running(latest, current, asking[request], as_of[request])
    return n_sessions


class SessionTracker:
    """Numbers sessions in the order in which they begin, batch after batch."""

    def __init__(self) -> None:
        self._latest = Growable(np.int64, NEVER)
        self._current = Growable(np.int32, -1)
        self._n_sessions = 0

    def is_latest(
        self, visitors: NDArray[np.int32], sessions: NDArray[np.int32]
    ) -> NDArray[np.bool_]:
        """Say of which events the session is the one that their visitor began last.

        Returns:
            bool (n,): False without a visitor.
        """
        found = visitors >= 0
        found[found] = self._current.rows[visitors[found]] == sessions[found]
        return found

    def walk(
        self,
        visitors: NDArray[np.int32],
        visible: NDArray[np.int64],
        requests: AskingVisitors | None = None,
    ) -> Walked:
        """Take events in, in order of `visible_at`, and answer requests in between.

        Args:
            visitors: int32 (n_events,).
            visible: int64 (n_events,).
            requests: Who asks when; None: nobody.

        Returns:
            Sessions of the events and of the requests.
        """
        asked = requests or AskingVisitors(
            np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int64)
        )
        n_visitors = int(visitors.max(initial=-1)) + 1
        self._latest.resize(n_visitors)
        self._current.resize(n_visitors)
        sessions = np.empty(len(visitors), dtype=np.int32)
        begins = np.empty(len(visitors), dtype=np.bool_)
        running = np.empty(len(asked.visitors), dtype=np.int32)
        self._n_sessions = _walk(
            self._latest.rows, self._current.rows, self._n_sessions, visitors, visible,
            sessions, begins, asked.ends, asked.visitors, asked.as_of, running,
        )  # fmt: skip
        return Walked(sessions, begins, running)

    def running(self, visitors: NDArray[np.int32], as_of: NDArray[np.int64]) -> NDArray[np.int32]:
        """Find the sessions that go on at instants after everything taken in.

        Returns:
            int32 (n,): session of each visitor; -1: nobody; -2: none is running.
        """
        nothing = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int64)
        asking = AskingVisitors(np.zeros(len(visitors), dtype=np.int64), visitors, as_of)
        return self.walk(*nothing, asking).running

    def forget(self, visitors: NDArray[np.int32]) -> None:
        """Forget that visitors were ever there."""
        inside = visitors[visitors < len(self._latest)]
        self._latest.clear(inside)
        self._current.clear(inside)

    def ended(self, as_of: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Tell sessions that are over from those that are not.

        Returns:
            int32: visitors whose session is over, and numbers of the sessions that go on.
        """
        latest = self._latest.rows
        over = (latest != NEVER) & (as_of - np.maximum(latest, 0) > _GAP_US)
        running = self._current.rows[(latest != NEVER) & ~over]
        return np.flatnonzero(over).astype(np.int32), running

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give the state as arrays, for a snapshot.

        Returns:
            By name; views that must not be changed.
        """
        count = np.array([self._n_sessions], dtype=np.int64)
        return {"latest": self._latest.rows, "current": self._current.rows, "count": count}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the state from arrays that `arrays` gave."""
        for column, name in ((self._latest, "latest"), (self._current, "current")):
            column.restore(arrays, name)
        self._n_sessions = int(arrays["count"][0])


def somebody(users: NDArray[np.int32], visitors: NDArray[np.int32]) -> NDArray[np.int64]:
    """Tell people apart: users, and the visits in which nobody is named.

    Args:
        users: int32 (n,): user rows, or a negative number.
        visitors: int32 (n,): visitor rows, or `NO_VISITOR`.

    Returns:
        int64 (n,): a number from 0 on for a user, below -1 for a visit, -1 for nobody.
    """
    return np.where(users >= 0, users, -2 - visitors.astype(np.int64))


class Visitors:
    """Rows of visitors: sessions that have an id, and users who act without one."""

    def __init__(self) -> None:
        self._of_session: dict[str, int] = {}
        self._of_user = Growable(np.int32, NO_VISITOR)
        self._keys: list[str | int] = []
        self._unused: list[int] = []

    def __len__(self) -> int:
        return len(self._keys) - len(self._unused)

    def add(self, session_ids: Sequence[str], users: NDArray[np.int32]) -> NDArray[np.int32]:
        """Find or give the rows of visitors.

        Args:
            session_ids: One per event; empty where it has none. Empty altogether: none has one.
            users: int32 (n,): user rows; negative: nobody.

        Returns:
            int32 (n,): `NO_VISITOR` where an event has neither.
        """
        self._of_user.resize(int(users.max(initial=-1)) + 1)
        named = np.array([bool(session) for session in session_ids], dtype=np.bool_)
        plain = users if not named.any() else users[~named]
        plain = plain[plain >= 0]
        for user in np.unique(plain[self._of_user.rows[plain] == NO_VISITOR]).tolist():
            self._of_user.rows[user] = self._give(user)
        found = np.full(len(users), NO_VISITOR, dtype=np.int32)
        there = users >= 0
        found[there] = self._of_user.rows[users[there]]
        for position in np.flatnonzero(named).tolist():
            session_id = session_ids[position]
            row = self._of_session.get(session_id)
            if row is None:
                row = self._of_session[session_id] = self._give(session_id)
            found[position] = row
        return found

    def find(self, session_id: str, user: int) -> int:
        """Look a visitor up.

        Args:
            session_id: Empty: the user is the visitor.
            user: User row, or one of the negative numbers that stand for none.

        Returns:
            The row, `UNKNOWN_VISITOR` or `NO_VISITOR`.
        """
        if session_id:
            return self._of_session.get(session_id, UNKNOWN_VISITOR)
        if user < 0:
            return NO_VISITOR if user == NO_VISITOR else UNKNOWN_VISITOR
        known = user < len(self._of_user) and self._of_user.rows[user] != NO_VISITOR
        return int(self._of_user.rows[user]) if known else UNKNOWN_VISITOR

    def session_ids(self, rows: NDArray[np.int32]) -> tuple[str, ...]:
        """Name the sessions of visitors, as requests do.

        Args:
            rows: int32 (n,): visitor rows, or `NO_VISITOR`.

        Returns:
            One per visitor, empty text for a user without one; empty when there are none at all.
        """
        keys = [self._keys[row] if row >= 0 else "" for row in rows.tolist()]
        found = tuple(key if isinstance(key, str) else "" for key in keys)
        return found if any(found) else ()

    def forget(self, rows: Sequence[int]) -> None:
        """Give up rows, whose numbers are then given to others."""
        for row in rows:
            key = self._keys[row]
            if isinstance(key, str):
                del self._of_session[key]
            else:
                self._of_user.rows[key] = NO_VISITOR
            self._keys[row] = ""
            self._unused.append(row)

    def record(self) -> tuple[list[str | int], list[int]]:
        """Write everything down, for a snapshot.

        Returns:
            Key of each row, and the rows that are given up.
        """
        return self._keys, self._unused

    def restore(self, keys: Sequence[str | int], unused: Sequence[int]) -> None:
        """Become what was written down; must be empty."""
        self._keys, self._unused = list(keys), list(unused)
        gone = set(unused)
        users = [key for row, key in enumerate(keys) if isinstance(key, int) and row not in gone]
        self._of_user.resize(max(users, default=-1) + 1)
        for row, key in enumerate(keys):
            if row in gone:
                continue
            if isinstance(key, str):
                self._of_session[key] = row
            else:
                self._of_user.rows[key] = row

    def _give(self, key: str | int) -> int:
        if self._unused:
            row = self._unused.pop()
            self._keys[row] = key
            return row
        self._keys.append(key)
        return len(self._keys) - 1
