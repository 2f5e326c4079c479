"""The offline execution: every aggregate for any number of past requests, from the whole log.

Events and requests are merged in time and walked through once per key: events change cells,
requests read them, by the same compiled functions that serve online. Only keys that some request
asks for have cells, and the log is taken in pieces, so memory depends on how much is asked at a
time and not on how long the log is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.features.actions import Actions, EncodedLog
from recsys.features.asked import KeyReads, SlotMap, ask
from recsys.features.cells import Cells, KeyedRows, cell_key
from recsys.features.compiled import compiled
from recsys.features.folding import keyed_events
from recsys.features.folds import Asked
from recsys.features.interning import PairTable
from recsys.features.keys import Key, parse_key
from recsys.features.models import Histories
from recsys.features.naming import first_named, named_before
from recsys.features.pairs import Sources, event_owners, event_pairs
from recsys.features.reading import BatchMemo, StateReader, type_mask
from recsys.features.ring_loops import LastItems, ages_of, no_items
from recsys.features.rings import Rings
from recsys.features.sessions import AskingVisitors, SessionTracker
from recsys.features.slates import Slates
from recsys.features.versions import VersionTimeline
from recsys.features.vocabulary import Aggregate
from recsys.schema import SESSION

#: Events that are taken into memory at a time.
CHUNK_EVENTS: Final = 4_000_000
#: Candidates that are asked for at a time; more walk through the log once more.
CHUNK_CANDIDATES: Final = 4_000_000


class Piece(NamedTuple):
    """Some events of the log, and the requests that fall among them.

    Args:
        actions: The events.
        sessions: int32 (n_events,): their sessions; empty where nobody asks for sessions.
        begins: int16 (n_events,): 1 where a session begins.
        ends: int64 (n,): events of the piece before each request.
        requests: Which requests, of those in time order.
    """

    actions: Actions
    sessions: NDArray[np.int32]
    begins: NDArray[np.int16]
    ends: NDArray[np.int64]
    requests: slice


class OfflineReader(StateReader):
    """Reads aggregates from an encoded log, as of any instants.

    Args:
        log: The log; its columns may be mapped from files.
        chunk_events: Events that are taken into memory at a time.
    """

    def __init__(self, log: EncodedLog, chunk_events: int = CHUNK_EVENTS) -> None:
        self.items = log.items
        self.users = log.users
        self.types = log.types
        self._log = log
        self._sources = Sources(log.items, log.users, log.visitors, log.contexts)
        self._chunk_events = chunk_events
        self._item_timeline = VersionTimeline(log.items)
        self._user_timeline = VersionTimeline(log.users)
        self._memo = BatchMemo()
        self._first: dict[str, NDArray[np.int64]] = {}

    def item_versions(self, slates: Slates) -> NDArray[np.int32]:
        """Find the version rows of all candidates.

        Returns:
            int32 (n_candidates,), -1 where nothing was known.
        """
        memo = self._memo.of(slates)
        if "versions" not in memo:
            memo["versions"] = self._versions_of(slates)
        versions: NDArray[np.int32] = memo["versions"]
        return versions

    def user_versions(self, slates: Slates) -> NDArray[np.int32]:
        """Find the version rows of all users.

        Returns:
            int32 (n_requests,), -1 where nothing was known.
        """
        return self._user_timeline.as_of(slates.users, slates.as_of)

    def named_items(self, slates: Slates) -> NDArray[np.int32]:
        """Find the candidates that an event had named before their request.

        Returns:
            int32 (n_candidates,): their rows; negative: none.
        """
        first = self._first_named("items")
        return named_before(slates.items, first, np.asarray(slates.spread(slates.as_of)))

    def named_users(self, slates: Slates) -> NDArray[np.int32]:
        """Find the users that an event had named before their request.

        Returns:
            int32 (n_requests,): their rows; negative: none.
        """
        return named_before(slates.users, self._first_named("users"), slates.as_of)

    def _first_named(self, what: Literal["items", "users"]) -> NDArray[np.int64]:
        # Kept, because only expressions over ids ask.
        if what not in self._first:
            self._first[what] = first_named(self._log, what)
        return self._first[what]

    def read_many(
        self, aggregates: Sequence[Aggregate], slates: Slates
    ) -> list[NDArray[np.float64]]:
        """Read scalar aggregates; those with one key share its walk through the log.

        Returns:
            float64 (n_candidates,) for each: NaN where it is missing.
        """
        memo = self._memo.of(slates)
        wanted = {(cell_key(a), a.reduce): a for a in aggregates}
        by_key: dict[str, list[Aggregate]] = {}
        for key, aggregate in wanted.items():
            if key not in memo:
                by_key.setdefault(aggregate.by, []).append(aggregate)
        for by, group in by_key.items():
            columns = self._read_key(parse_key(by), group, slates)
            for aggregate, column in zip(group, columns, strict=True):
                memo[cell_key(aggregate), aggregate.reduce] = column
        return [memo[cell_key(a), a.reduce] for a in aggregates]

    def histories_of(self, aggregate: Aggregate, slates: Slates) -> Histories:
        """Read the last items of every request's user or session.

        Returns:
            The histories, newest first.
        """
        order = np.argsort(slates.as_of, kind="stable")
        found = self._last_items(aggregate, slates.take(order))
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        items, types = found.items[back], found.types[back]
        instants = np.repeat(slates.as_of, aggregate.n)
        versions = self._item_timeline.as_of(items.ravel(), instants).reshape(items.shape)
        ages_s = np.empty(items.shape, dtype=np.float32)
        ages_of(types, found.occurred[back], slates.as_of, ages_s)
        return Histories(items, versions, types, ages_s, found.values[back])

    def _last_items(self, aggregate: Aggregate, slates: Slates) -> LastItems:
        key, out = parse_key(aggregate.by), no_items(len(slates), aggregate.n)
        asked = self._ask(key, slates, needs_sessions=key.of_session)
        rings, slot_map = Rings(aggregate), SlotMap(key, asked.pairs)
        wanted = type_mask(aggregate.of, self.types)
        slots = slot_map.slots(asked.pairs.owners, asked.pairs.codes)
        per_request = np.full(len(slates), -1, dtype=np.int32)
        per_request[np.diff(asked.pairs.starts) > 0] = slots
        for piece in self._pieces(slates, needs_sessions=key.of_session):
            keyed = self._keyed(key, piece, slot_map, wanted)
            there = piece.requests
            rings.stream(
                keyed, piece.actions, wanted,
                ends=piece.ends, slots=per_request[there], as_of=slates.as_of[there],
                out=out.part(there),
            )  # fmt: skip
        return out

    def _read_key(
        self, key: Key, aggregates: Sequence[Aggregate], slates: Slates
    ) -> list[NDArray[np.float64]]:
        """Read aggregates with one key, a bounded number of candidates at a time.

        Returns:
            float64 (n_candidates,) for each aggregate.
        """
        out = [np.empty(len(slates.items)) for _ in aggregates]
        in_order = bool((slates.as_of[1:] >= slates.as_of[:-1]).all())
        order = np.arange(len(slates)) if in_order else np.argsort(slates.as_of, kind="stable")
        sizes = np.cumsum(slates.sizes[order])
        ends = np.searchsorted(
            sizes, np.arange(CHUNK_CANDIDATES, sizes[-1:].sum(), CHUNK_CANDIDATES)
        )
        for requests in np.split(order, np.unique(ends)):
            part, places = _chosen(slates, requests, in_order=in_order)
            columns = self._read_part(key, aggregates, part)
            for column, found in zip(out, columns, strict=True):
                column[places] = found
        return out

    def _read_part(
        self, key: Key, aggregates: Sequence[Aggregate], slates: Slates
    ) -> list[NDArray[np.float64]]:
        starts = any(a.of == (SESSION,) for a in aggregates)
        needs_sessions = starts or key.of_session
        asked = self._ask(key, slates, needs_sessions=key.of_session)
        slot_map = SlotMap(key, asked.pairs)
        slots = slot_map.slots(asked.pairs.owners, asked.pairs.codes)
        walks = [_Walk(a, self, slot_map.n_slots, asked.n_readers) for a in aggregates]
        counted = np.ones(len(self.types.names), dtype=np.bool_)
        if not starts:
            counted = np.logical_or.reduce([walk.wanted for walk in walks])
        offsets = slates.offsets if key.item else np.arange(len(slates) + 1, dtype=np.int64)
        for piece in self._pieces(slates, needs_sessions=needs_sessions):
            first, last = piece.requests.start, piece.requests.stop
            keyed = self._keyed(key, piece, slot_map, counted)
            reads = Asked(
                piece.ends, offsets[first : last + 1], slots, asked.pairs.starts,
                slates.as_of[piece.requests],
            )  # fmt: skip
            for walk in walks:
                walk.through(piece, keyed, reads)
        if key.item:
            return [walk.out for walk in walks]
        return [slates.spread(walk.out).astype(np.float64, copy=False) for walk in walks]

    def _ask(self, key: Key, slates: Slates, *, needs_sessions: bool) -> KeyReads:
        running = self._running(slates) if needs_sessions else None
        versions = self._versions_of(slates) if key.item_attribute else slates.items
        return ask(
            key,
            slates,
            self._sources,
            item_rows=versions,
            user_versions=self.user_versions(slates) if key.user_attribute else slates.users,
            sessions=running,
        )

    def _versions_of(self, slates: Slates) -> NDArray[np.int32]:
        instants = slates.spread(slates.as_of).astype(np.int64, copy=False)
        return self._item_timeline.as_of(slates.items, instants)

    def _keyed(
        self, key: Key, piece: Piece, slot_map: SlotMap, counted: NDArray[np.bool_]
    ) -> KeyedRows:
        """Find the cells of the events that count for anything.

        Args:
            key: The key.
            piece: The events.
            slot_map: Where keys have their cells.
            counted: bool (n_types,): event types that some aggregate is made of.

        Returns:
            Events and cells.
        """
        actions = piece.actions
        owners = event_owners(key, actions, self._sources, piece.sessions) if key.request else None
        if key.item_attribute:
            pairs = event_pairs(key, actions, self.items, owners)
            slots = slot_map.slots(pairs.owners, pairs.codes)
            there = slots >= 0
            return KeyedRows(pairs.rows[there], slots[there])
        return KeyedRows(*slot_map.keyed(owners, actions.items, actions.types, counted))

    def _running(self, slates: Slates) -> NDArray[np.int32]:
        """Find the running session of every request, by a walk of its own.

        Returns:
            int32 (n_requests,).
        """
        tracker, found = SessionTracker(), np.empty(len(slates), dtype=np.int32)
        session_ids = slates.sessions or [""] * len(slates)
        visitors = np.array(
            [
                self._log.visitors.find(session_id, user)
                for session_id, user in zip(session_ids, slates.users.tolist(), strict=True)
            ],
            dtype=np.int32,
        )
        for piece in self._pieces(slates, needs_sessions=False):
            asking = AskingVisitors(
                piece.ends, visitors[piece.requests], slates.as_of[piece.requests]
            )
            walked = tracker.walk(piece.actions.visitors, piece.actions.visible, asking)
            found[piece.requests] = walked.running
        return found

    def _pieces(self, slates: Slates, *, needs_sessions: bool) -> Iterator[Piece]:
        """Walk through the log as far as requests in time order look.

        Yields:
            Pieces of the log; every request falls into one of them.
        """
        actions, tracker = self._log.actions, SessionTracker()
        n_seen = int(np.searchsorted(actions.visible, slates.as_of[-1])) if len(slates) else 0
        first = 0
        for start in range(0, max(n_seen, 1), self._chunk_events):
            stop = min(start + self._chunk_events, n_seen)
            part = actions.in_memory(start, stop)
            last = len(slates)
            if stop < n_seen:
                last = int(np.searchsorted(slates.as_of, part.visible[-1], side="right"))
            sessions, begins = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int16)
            if needs_sessions:
                walked = tracker.walk(part.visitors, part.visible)
                sessions, begins = walked.sessions, walked.begins.astype(np.int16)
            before = _events_before(part.visible, slates.as_of[first:last])
            yield Piece(part, sessions, begins, before, slice(first, last))
            first = last


def _chosen(
    slates: Slates, requests: NDArray[np.int64], *, in_order: bool
) -> tuple[Slates, slice | NDArray[np.int64]]:
    """Choose requests; consecutive ones without a copy.

    Returns:
        The requests, and the places of their candidates.
    """
    if not in_order:
        return slates.take(requests), slates.candidates_of(requests)
    start = int(requests[0]) if len(requests) else 0
    stop = start + len(requests)
    part = slates if len(requests) == len(slates) else slates.part(start, stop)
    return part, slice(int(slates.offsets[start]), int(slates.offsets[stop]))


@compiled
def _events_before(visible: NDArray[np.int64], as_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the events before each request; both in order of time.

    Returns:
        int64 (n_requests,).
    """
    found = np.empty(len(as_of), dtype=np.int64)
    n = 0
    for request in range(len(as_of)):
        while n < len(visible) and visible[n] < as_of[request]:
            n += 1
        found[request] = n
    return found


class _Walk:
    """One aggregate on its way through the log.

    Args:
        aggregate: Which one.
        reader: Knows the event types.
        n_slots: Cells.
        n_readers: Candidates, or requests where the key has no part of the item.
    """

    def __init__(
        self, aggregate: Aggregate, reader: OfflineReader, n_slots: int, n_readers: int
    ) -> None:
        self._aggregate = aggregate
        self._cells = Cells(aggregate, n_slots)
        self.wanted = type_mask(aggregate.of, reader.types)
        windowed = aggregate.window_s is not None
        self._pairs: PairTable | None = None
        if aggregate.fold == "distinct":
            self._pairs = PairTable(windowed=windowed, narrow=True)  # a key is a cell
        self.out = np.empty(n_readers)

    def through(self, piece: Piece, keyed: KeyedRows, reads: Asked) -> None:
        """Fold the events of a piece in and answer its requests."""
        actions = piece.actions
        if self._aggregate.of == (SESSION,):
            actions = replace(actions, types=piece.begins)
        keys = keyed.slots.astype(np.int64) if self._pairs is not None else None
        folded = keyed_events(
            self._aggregate, keyed, actions, self.wanted, pairs=self._pairs, keys=keys
        )
        self._cells.stream(*folded, reads, self._aggregate.reduce, out=self.out)
