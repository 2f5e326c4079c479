"""The online execution: incremental state, updated by each event, read by integer row.

The state of a whole log is built by the same `add` of the same cells, in large batches. Reading is
array gathers; no row is joined. Not thread-safe: the owner serialises `apply` and reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.actions import Actions, EncodedLog, no_actions
from recsys.features.arrivals import Arrivals
from recsys.features.entities import EntitiesRecord
from recsys.features.gather import Gather
from recsys.features.keys import Key, parse_key
from recsys.features.leaders import Leaders
from recsys.features.models import Histories
from recsys.features.pairs import Sources, request_owners
from recsys.features.reading import BatchMemo, StateReader
from recsys.features.ring_loops import describe
from recsys.features.scatter import Scatter
from recsys.features.sessions import SessionTracker, Visitors
from recsys.features.slates import Slates
from recsys.features.state import Batch, KeyState
from recsys.features.vocabulary import Aggregate, parts_of
from recsys.schema import SESSION, VisibleEvent

#: Events that are folded in at a time when the state of a log is built.
_BULK_EVENTS: Final = 131_072
#: Ended sessions are swept out when there are so many more visitors than after the last sweep.
_SWEEP_VISITORS: Final = 50_000
#: Sets of aggregates that are read again and again; a plan has two or three.
_MOST_GATHERS: Final = 64


@dataclass(frozen=True, slots=True)
class StateRecord:
    """What of a state is no array.

    Args:
        items: The catalogue.
        users: All users.
        types: Event types by index.
        visitors: Key of each visitor row.
        unused_visitors: Visitor rows that are given up.
        contexts: Attributes of each context row.
        context_names: Context attributes that are part of keys.
        recent: Impression id, context row and `visible_at` of the impressions of the last day.
        n_swept: Visitors that the last sweep left.
    """

    items: EntitiesRecord
    users: EntitiesRecord
    types: list[str]
    visitors: list[str | int]
    unused_visitors: list[int]
    contexts: list[Any]  # Attributes; a decoder cannot tell its lists apart
    context_names: list[str]
    recent: list[tuple[str, int, int]]
    n_swept: int


class OnlineState(StateReader):
    """Aggregates as of now; as a reader it sees everything that was applied.

    Args:
        log: Where the state starts; it takes over the log's entities and lets them grow.
        aggregates: What to keep.
    """

    def __init__(self, log: EncodedLog, aggregates: Sequence[Aggregate]) -> None:
        self.items = log.items
        self.users = log.users
        self.types = log.types
        self.visitors: Visitors = log.visitors
        self._sources = Sources(log.items, log.users, log.visitors, log.contexts)
        self._arrivals = Arrivals(log)
        self._memo = BatchMemo()
        self._keys: dict[str, KeyState] = {}
        self._n_changes = 0
        self._gathers: dict[tuple[int, ...], tuple[int, Gather]] = {}
        self._leaders = Leaders()
        kept = [part for aggregate in aggregates for part in parts_of(aggregate)]
        for aggregate in kept:
            state = self._keys.get(aggregate.by)
            if state is None:
                state = self._keys[aggregate.by] = KeyState(parse_key(aggregate.by), self.types)
            state.keep(aggregate)
        self._keeps_sessions = any(a.of == (SESSION,) or parse_key(a.by).of_session for a in kept)
        self._scatter = Scatter(self._keys.values(), self._sources, self.types)
        self._tracker = SessionTracker()
        self._n_swept = 0
        for start in range(0, len(log.actions), _BULK_EVENTS):
            self._add(log.actions.in_memory(start, start + _BULK_EVENTS))
        for state in self._keys.values():
            state.compact()
        # A state that is restored folds nothing before the first event, which must not wait for the
        # compiler, or for what it left on disk.
        self._scatter.add(self._batch(no_actions()))
        if self._keeps_sessions and len(log.actions):
            _, running = self._tracker.ended(int(log.actions.visible[-1]))
            self._keep_sessions(running)

    def apply(self, events: Sequence[VisibleEvent]) -> None:
        """Take events in, in order of `visible_at`, each with an event id not seen before."""
        self._changed()
        for actions in self._arrivals.encode(events):
            self._add(actions)
            self._leaders.add(actions.items)

    def item_versions(self, slates: Slates) -> NDArray[np.int32]:
        """Find the latest version rows of all candidates.

        Returns:
            int32 (n_candidates,), -1 where nothing is known.
        """
        memo = self._memo.of(slates)
        if "versions" not in memo:
            memo["versions"] = self.items.current_versions(slates.items)
        versions: NDArray[np.int32] = memo["versions"]
        return versions

    def user_versions(self, slates: Slates) -> NDArray[np.int32]:
        """Find the latest version rows of all users.

        Returns:
            int32 (n_requests,), -1 where nothing is known.
        """
        return self.users.current_versions(slates.users)

    def named_items(self, slates: Slates) -> NDArray[np.int32]:
        """Find the candidates that an event has named; a row is given by nothing else.

        Returns:
            int32 (n_candidates,): their rows; negative: none.
        """
        return slates.items

    def named_users(self, slates: Slates) -> NDArray[np.int32]:
        """Find the users that an event has named.

        Returns:
            int32 (n_requests,): their rows; negative: none.
        """
        return slates.users

    def read_many(
        self, aggregates: Sequence[Aggregate], slates: Slates
    ) -> list[NDArray[np.float64]]:
        """Read scalar aggregates.

        Returns:
            float64 (n_candidates,) for each: NaN where it is missing.
        """
        gather = self._gather(aggregates)
        items = slates.items.astype(np.int32, copy=False)
        versions = self.item_versions(slates) if gather.needs_versions else items
        owners = self._owners(gather.keys, slates)
        return list(gather.read(owners, items, versions, slates.offsets, slates.as_of))

    def histories_of(self, aggregate: Aggregate, slates: Slates) -> Histories:
        """Read the last items of every request's user or session.

        Returns:
            The histories, newest first.
        """
        state = self._keys[aggregate.by]
        rows = self._owners_of(state.key, slates)
        found = state.rings(aggregate).read(rows, slates.as_of, aggregate.n)
        versions, ages = np.empty_like(found.items), np.empty_like(found.values)
        current = self.items.current
        describe(found.items, found.types, found.occurred, current, slates.as_of, versions, ages)
        return Histories(found.items, versions, found.types, ages, found.values)

    def best_items(self, aggregate: Aggregate, request: Slates, n: int) -> NDArray[np.int32]:
        """Find the items with the largest values of a scalar aggregate, among all.

        Args:
            aggregate: Which; counts by item without a window cost no search (`Leaders`).
            request: One; its own candidates are ignored.
            n: How many at most.

        Returns:
            int32 (<= n,): item rows, largest first, ties in order of rows; never missing ones.
        """

        def read(items: NDArray[np.int32]) -> NDArray[np.float64]:
            return self.read(aggregate, request.about(items))

        return self._leaders.best(aggregate, n, len(self.items.ids), read)

    def items_of_user(self, aggregate: Aggregate, user: int) -> NDArray[np.int32]:
        """Find the items for which something is kept of a user.

        Args:
            aggregate: By `user*item`.
            user: The user's row.

        Returns:
            int32 (n,): item rows, ascending; empty for nobody.

        Raises:
            ValueError: The aggregate has another key.
        """
        blocks = self._keys[aggregate.by].blocks
        if blocks is None or aggregate.by != "user*item":
            problem = f"{aggregate.name} is kept by {aggregate.by}; expected user*item"
            raise ValueError(problem)
        return blocks.keys_of(user) if user >= 0 else np.zeros(0, dtype=np.int32)

    def forget_user(self, user_id: str) -> None:
        """Forget a user at once: what is kept by user or session, and the user among the distinct.

        What the user's events added to items, attributes and everything else stays, as it does in
        a log in which the same events name nobody.
        """
        self._changed()
        row = self.users.forget(user_id)
        if row < 0:
            return
        visitor = self.visitors.find("", row)
        if visitor >= 0:
            self._forget_visitors(np.array([visitor], dtype=np.int32))
        for state in self._keys.values():
            state.forget_user(row)

    def record(self) -> tuple[StateRecord, dict[str, NDArray[Any]]]:
        """Write everything down, for a snapshot.

        Returns:
            What is no array, and the arrays by name; views that must not be changed.
        """
        attributes, names = self._sources.contexts.record()
        keys, unused = self.visitors.record()
        plain = StateRecord(
            items=self.items.record(),
            users=self.users.record(),
            types=self.types.names,
            visitors=keys,
            unused_visitors=unused,
            contexts=attributes,
            context_names=names,
            recent=self._arrivals.recent.record(),
            n_swept=self._n_swept,
        )
        arrays = {f"tracker/{name}": array for name, array in self._tracker.arrays().items()}
        for by, state in self._keys.items():
            arrays |= {f"{by}/{name}": array for name, array in state.arrays().items()}
        return plain, arrays

    def restore(self, record: StateRecord, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the state of cells from what was written down; ids and attributes are there already.

        Args:
            record: From `record`.
            arrays: From `record`, of a state with the same aggregates.
        """
        self._changed()
        self._n_swept = record.n_swept
        by_part: dict[str, dict[str, NDArray[Any]]] = {}
        for name, array in arrays.items():
            part, _, rest = name.rpartition("/")
            by_part.setdefault(part, {})[rest] = array
        self._tracker.restore(by_part["tracker"])
        for by, state in self._keys.items():
            state.restore(by_part[by])

    def nbytes(self) -> dict[str, int]:
        """Measure the state.

        Returns:
            Bytes by key; of cells, rings and the tables that find them.
        """
        return {by: state.nbytes for by, state in self._keys.items()}

    def n_keys(self) -> dict[str, int]:
        """Count what the state is kept for.

        Returns:
            Users, items, pairs or whatever, by key.
        """
        return {by: state.n_keys for by, state in self._keys.items()}

    def _gather(self, aggregates: Sequence[Aggregate]) -> Gather:
        """Find or make what reads these aggregates; up to date with the state.

        Returns:
            The gather.
        """
        # By identity, which the gather keeps alive: hashing all fields costs more than the reads.
        wanted = tuple(map(id, aggregates))
        found = self._gathers.get(wanted)
        if found is None:
            if len(self._gathers) >= _MOST_GATHERS:
                self._gathers.clear()
            gather = Gather(aggregates, self._keys, self._sources)
            self._gathers[wanted] = (self._n_changes, gather)
            return gather
        n_changes, gather = found
        if n_changes != self._n_changes:
            gather.refresh()
            self._gathers[wanted] = (self._n_changes, gather)
        return gather

    def _owners(self, keys: Sequence[Key], slates: Slates) -> NDArray[np.int32]:
        """Find the request's part of keys.

        Returns:
            int32 (n_keys, n_requests): 0 where a key has no such part.
        """
        found: dict[str, NDArray[np.int32]] = {"": np.zeros(len(slates), dtype=np.int32)}
        for key in keys:
            if key.request not in found:
                found[key.request] = self._owners_of(key, slates)
        rows = np.array([found[key.request] for key in keys], dtype=np.int32)
        return rows.reshape(len(keys), len(slates))

    def _owners_of(self, key: Key, slates: Slates) -> NDArray[np.int32]:
        sessions = self._sessions(slates) if key.of_session else None
        versions = self.user_versions(slates) if key.user_attribute else slates.users
        return request_owners(key, slates, self._sources, versions, sessions)

    def _changed(self) -> None:
        """Note that what was read may be another now, and that tables may have moved."""
        self._memo.clear()
        self._n_changes += 1

    def _sessions(self, slates: Slates) -> NDArray[np.int32]:
        """Find the visitors whose session is running; a session's cells are its visitor's.

        Returns:
            int32 (n_requests,): visitor rows, or the negative numbers of `Walked.running`.
        """
        ids = slates.sessions or [""] * len(slates)
        pairs = zip(ids, slates.users.tolist(), strict=True)
        visitors = np.array([self.visitors.find(i, user) for i, user in pairs], dtype=np.int32)
        running = self._tracker.running(visitors, slates.as_of)
        return np.where(running >= 0, visitors, running).astype(np.int32)

    def _add(self, actions: Actions) -> None:
        if not len(actions):
            return
        self._scatter.add(self._batch(actions))
        if self._keeps_sessions and len(self.visitors) > self._n_swept + _SWEEP_VISITORS:
            self._sweep(int(actions.visible[-1]))

    def _batch(self, actions: Actions) -> Batch:
        if not self._keeps_sessions:
            nothing = np.zeros(0, dtype=np.int32)
            return Batch(actions, None, nothing, nothing.astype(np.int16))
        walked = self._tracker.walk(actions.visitors, actions.visible)
        # Cells belong to the visitor; only the session that was begun last is kept.
        latest = self._tracker.is_latest(actions.visitors, walked.sessions)
        sessions = np.where(latest, actions.visitors, np.int32(-1)).astype(np.int32)
        self._clear_sessions(np.unique(actions.visitors[walked.begins]))
        return Batch(actions, sessions, walked.sessions, walked.begins.astype(np.int16))

    def _sweep(self, now: int) -> None:
        """Forget sessions that are over."""
        ended, kept = self._tracker.ended(now)
        self._forget_visitors(ended)
        self._keep_sessions(kept)
        self._n_swept = len(self.visitors) - len(ended)

    def _keep_sessions(self, numbers: NDArray[np.int32]) -> None:
        for state in self._keys.values():
            if state.key.of_session:
                state.keep_sessions(numbers)

    def _clear_sessions(self, visitors: NDArray[np.int32]) -> None:
        for state in self._keys.values():
            if state.key.of_session:
                state.clear_owners(visitors)

    def _forget_visitors(self, visitors: NDArray[np.int32]) -> None:
        self._clear_sessions(visitors)
        self._tracker.forget(visitors)
        self.visitors.forget(visitors.tolist())
