"""What the online execution keeps for one key: where keys have their cells, and the cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.features.actions import Actions, EventTypes
from recsys.features.asked import combine
from recsys.features.blocks import Blocks
from recsys.features.cells import Cells, KeyedRows, cell_key
from recsys.features.folding import keyed_events
from recsys.features.interning import PairTable
from recsys.features.keys import Key
from recsys.features.pairs import EventPairs, Sources, event_owners, event_pairs
from recsys.features.reading import type_mask
from recsys.features.rings import Rings
from recsys.features.vocabulary import Aggregate
from recsys.schema import SESSION


class Batch(NamedTuple):
    """Events to be folded in.

    Args:
        actions: In order of `visible_at`.
        sessions: int32 (n,): visitor rows of those that belong to a running session, else -1; None:
            nobody asks for sessions.
        numbers: int32 (n,): numbers of the sessions, which no other session ever has.
        begins: int16 (n,): 1 where a session begins.
    """

    actions: Actions
    sessions: NDArray[np.int32] | None
    numbers: NDArray[np.int32]
    begins: NDArray[np.int16]


class _Part(Protocol):
    """What can be written down as arrays."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give the state as arrays."""
        ...

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the state from arrays."""
        ...


class KeyState:
    """All aggregates with one key.

    Args:
        key: The key.
        types: All event types; grows.
    """

    def __init__(self, key: Key, types: EventTypes) -> None:
        self.key = key
        self._types = types
        self.blocks = Blocks() if key.combined else None
        self.n_slots = 0
        self._cells: dict[Aggregate, Cells] = {}
        self._shared: dict[Aggregate, Cells] = {}
        self._pairs: dict[Aggregate, PairTable] = {}
        self._rings: dict[Aggregate, Rings] = {}
        self._masks: dict[tuple[str, ...], NDArray[np.bool_]] = {}

    @property
    def n_keys(self) -> int:
        """Keys that something is kept for, or room for it."""
        return self.blocks.n_keys if self.blocks is not None else self.n_slots

    @property
    def nbytes(self) -> int:
        """Bytes of everything kept."""
        tables = sum(pairs.nbytes for pairs in self._pairs.values())
        tables += self.blocks.nbytes if self.blocks else 0
        cells = sum(cells.nbytes for cells in self._cells.values())
        return tables + cells + sum(rings.nbytes for rings in self._rings.values())

    def keep(self, aggregate: Aggregate) -> None:
        """Keep an aggregate; those that differ in name, reduction or n share a state.

        Call it before events are added.
        """
        shared = cell_key(aggregate)
        if aggregate.fold == "last_items":
            # The longest holds what shorter ones would.
            held = self._rings.get(_ring_key(aggregate))
            if held is None or held.n < aggregate.n:
                self._rings[_ring_key(aggregate)] = Rings(shared)
            return
        self._shared[aggregate] = self._cells.setdefault(shared, Cells(shared))
        if aggregate.fold == "distinct":
            windowed = aggregate.window_s is not None
            narrow = not self.key.combined
            self._pairs.setdefault(shared, PairTable(windowed=windowed, narrow=narrow))

    def cells(self, aggregate: Aggregate) -> Cells:
        """Find the cells of a scalar aggregate.

        Returns:
            The cells.
        """
        return self._shared[aggregate]

    def rings(self, aggregate: Aggregate) -> Rings:
        """Find the rings of a `last_items` aggregate.

        Returns:
            The rings.
        """
        return self._rings[_ring_key(aggregate)]

    def add(self, batch: Batch, sources: Sources) -> None:
        """Fold events in."""
        owners = None
        if self.key.request:
            owners = event_owners(self.key, batch.actions, sources, batch.sessions)
        pairs = event_pairs(self.key, batch.actions, sources.items, owners)
        if not len(pairs.rows):
            return
        keyed = KeyedRows(pairs.rows, self._slots(pairs))
        for aggregate, cells in self._cells.items():
            actions = batch.actions
            if aggregate.of == (SESSION,):
                actions = replace(actions, types=batch.begins)
            seen = self._pairs.get(aggregate)
            keys = self._stable_keys(pairs, batch) if seen is not None else None
            wanted = self._mask(aggregate.of)
            folded = keyed_events(aggregate, keyed, actions, wanted, pairs=seen, keys=keys)
            cells.add(*folded)
        for aggregate, rings in self._rings.items():
            rings.add(keyed, batch.actions, self._mask(aggregate.of))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give the state as arrays, for a snapshot.

        Returns:
            By name; views that must not be changed.
        """
        found: dict[str, NDArray[Any]] = {"n_slots": np.array([self.n_slots])}
        for name, part in self._parts():
            found |= {f"{name}.{key}": array for key, array in part.arrays().items()}
        return found

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the state from arrays that `arrays` gave; the same aggregates are kept."""
        self.n_slots = int(arrays["n_slots"][0])
        for name, part in self._parts():
            mine = {
                key.removeprefix(f"{name}."): array
                for key, array in arrays.items()
                if key.startswith(f"{name}.")
            }
            part.restore(mine)

    def _parts(self) -> Iterator[tuple[str, _Part]]:
        if self.blocks is not None:
            yield "blocks", self.blocks
        for number, cells in enumerate(self._cells.values()):
            yield f"cells{number}", cells
        for number, pairs in enumerate(self._pairs.values()):
            yield f"pairs{number}", pairs
        for number, rings in enumerate(self._rings.values()):
            yield f"rings{number}", rings

    def compact(self) -> None:
        """Give up what growing left behind."""
        if self.blocks is None:
            return
        slots = self.blocks.compact()
        self.n_slots = len(slots)
        for cells in self._cells.values():
            cells.reorder(slots)

    def clear_owners(self, owners: NDArray[np.int32]) -> None:
        """Forget what is kept for parts of the request."""
        if self.blocks is None:
            self._clear_slots(owners[owners < self.n_slots].astype(np.int64))
            return
        for owner in owners.tolist():
            self._clear_slots(self.blocks.slots_of(owner))
            self.blocks.drop(owner)

    def keep_sessions(self, numbers: NDArray[np.int32]) -> None:
        """Forget the distinct items of all sessions but these."""
        for pairs in self._pairs.values():
            keys, _, _ = pairs.entries()
            pairs.forget(~np.isin(keys >> 32 if self.key.combined else keys, numbers))

    def forget_user(self, row: int) -> None:
        """Forget what is kept for a user, and take the user out of what was counted as distinct."""
        if self.key.request == "user":
            self.clear_owners(np.array([row], dtype=np.int32))
        for aggregate, pairs in self._pairs.items():
            keys, others, marks = pairs.entries()
            if self.key.request == "user":
                pairs.forget((keys >> 32 if self.key.combined else keys) == row)
            elif aggregate.what == "user" and self.key.request != "session":
                gone = others == row
                self._uncount(aggregate, keys[gone], marks[gone])
                pairs.forget(gone)

    def _uncount(
        self, aggregate: Aggregate, keys: NDArray[np.int64], buckets: NDArray[np.int64]
    ) -> None:
        slots = keys
        if self.blocks is not None:
            owners, codes = (keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.int32)
            slots = self.blocks.look_up(owners, codes).astype(np.int64)
        self._cells[aggregate].uncount(slots, buckets)

    def _clear_slots(self, slots: NDArray[np.int64]) -> None:
        for cells in self._cells.values():
            cells.clear(slots)
        for rings in self._rings.values():
            rings.clear(slots)

    def _slots(self, pairs: EventPairs) -> NDArray[np.int32]:
        if self.blocks is None:
            slots = pairs.codes if self.key.item else pairs.owners
            self._resize(int(slots.max(initial=-1)) + 1)
            return slots
        while (moves := self.blocks.grow(pairs.owners, pairs.codes)) is not None:
            self._resize(self.blocks.n_slots)
            for cells in self._cells.values():
                cells.move(moves.old, moves.new)
        return self.blocks.look_up(pairs.owners, pairs.codes)

    def _resize(self, n_slots: int) -> None:
        self.n_slots = max(self.n_slots, n_slots)
        for cells in self._cells.values():
            cells.resize(self.n_slots)

    def _stable_keys(self, pairs: EventPairs, batch: Batch) -> NDArray[np.int64]:
        """Name cells by what neither changes when blocks move nor comes back in another session.

        Returns:
            int64 (n,).
        """
        owners = pairs.owners
        if self.key.request == "session":
            owners = batch.numbers[pairs.rows]
        if self.blocks is not None:
            return combine(owners, pairs.codes)
        return (pairs.codes if self.key.item else owners).astype(np.int64)

    def _mask(self, of: tuple[str, ...]) -> NDArray[np.bool_]:
        mask = self._masks.get(of)
        if mask is None or (len(mask) != len(self._types.names) and of != (SESSION,)):
            mask = self._masks[of] = type_mask(of, self._types)
        return mask


def _ring_key(aggregate: Aggregate) -> Aggregate:
    return replace(cell_key(aggregate), n=0)
