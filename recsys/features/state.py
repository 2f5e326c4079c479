"""What the online execution keeps for one key: where keys have their cells, and the cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
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
from recsys.features.pairs import EventPairs
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
        #: How often tables have grown or moved: who holds their addresses takes new ones.
        self.n_moves = 0
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

    @property
    def kept(self) -> Mapping[Aggregate, Cells]:
        """All cells, by an aggregate that stands for those that share them."""
        return self._cells

    def make_room(self, pairs: EventPairs, slots: NDArray[np.int32]) -> None:
        """Make the cells that pairs lack.

        Args:
            pairs: What events count for; none of them is missing.
            slots: int32 (n,): cells; of combined keys, -1 where a pair lacks one, and written.
        """
        if self.blocks is None:
            self._resize(int(slots.max(initial=-1)) + 1)
            return
        lacking = slots < 0
        owners, codes = pairs.owners[lacking], pairs.codes[lacking]
        while (moves := self.blocks.grow(owners, codes)) is not None:
            self._resize(self.blocks.n_slots)
            for cells in self._cells.values():
                cells.move(moves.old, moves.new)
        self.n_moves += 1
        # The cells of others may have moved too.
        slots[:] = self.blocks.look_up(pairs.owners, pairs.codes)

    @property
    def has_memory(self) -> bool:
        """Whether more is kept than cells that events are folded into one by one."""
        return bool(self._pairs or self._rings)

    def remember(self, pairs: EventPairs, slots: NDArray[np.int32], batch: Batch) -> None:
        """Take events in that count only where they are new, and the last items.

        Args:
            pairs: What the events count for.
            slots: int32 (n,): their cells.
            batch: The events.
        """
        keyed = KeyedRows(pairs.rows, slots)
        keys = self._stable_keys(pairs, batch) if self._pairs else None
        for aggregate, seen in self._pairs.items():
            actions, wanted = batch.actions, self.mask(aggregate.of)
            if aggregate.of == (SESSION,):
                actions = replace(actions, types=batch.begins)
            folded = keyed_events(aggregate, keyed, actions, wanted, pairs=seen, keys=keys)
            self._cells[aggregate].add(*folded)
        for aggregate, rings in self._rings.items():
            rings.add(keyed, batch.actions, self.mask(aggregate.of))

    def mask(self, of: tuple[str, ...]) -> NDArray[np.bool_]:
        """Say which event types an aggregate is made of.

        Returns:
            bool (n_types,), or of `session` (2,): see `type_mask`.
        """
        mask = self._masks.get(of)
        if mask is None or (len(mask) != len(self._types.names) and of != (SESSION,)):
            mask = self._masks[of] = type_mask(of, self._types)
        return mask

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
        self.n_moves += 1
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
        self.n_moves += 1
        slots = self.blocks.compact()
        self.n_slots = len(slots)
        for cells in self._cells.values():
            cells.reorder(slots)

    def clear_owners(self, owners: NDArray[np.int32]) -> None:
        """Forget what is kept for parts of the request."""
        if self.blocks is None:
            slots = owners[owners < self.n_slots].astype(np.int64)
            if len(slots):
                self._clear_slots(slots)
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
            elif aggregate.what == "user" and not self.key.of_session:
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

    def _resize(self, n_slots: int) -> None:
        self.n_moves += 1
        self.n_slots = max(self.n_slots, n_slots)
        for cells in self._cells.values():
            cells.resize(self.n_slots)

    def _stable_keys(self, pairs: EventPairs, batch: Batch) -> NDArray[np.int64]:
        """Name cells by what neither changes when blocks move nor comes back in another session.

        Returns:
            int64 (n,).
        """
        owners = pairs.owners
        if self.key.of_session:
            owners = batch.numbers[pairs.rows]
        if self.blocks is not None:
            return combine(owners, pairs.codes)
        return (pairs.codes if self.key.item else owners).astype(np.int64)


@lru_cache(maxsize=256)  # every request asks for those of the same few
def _ring_key(aggregate: Aggregate) -> Aggregate:
    return replace(cell_key(aggregate), n=0)
