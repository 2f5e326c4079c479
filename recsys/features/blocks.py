"""Slots for keys that are made of two parts: every request part owns a small table of item parts.

A request asks for one user and hundreds of candidates, so the keys of a user stand together: a
block of a power of two, searched by linear probing, at most three quarters full. A block that fills
up moves to one of twice the size, and the cells of its keys move along. Reading then touches a few
hundred bytes of one user instead of one cache line per key of a table over all users, and a key
costs four bytes.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.compiled import compiled, compiled_loop
from recsys.features.growable import Growable
from recsys.features.interning import hash_place

_FREE: Final = -1
_SMALLEST: Final = 2
_CLASSES: Final = 32
#: A search costs as much as looking at so many places one after another.
_DENSE: Final = 4


@compiled_loop
def _find(codes: NDArray[np.int32], offset: int, mask: int, code: int) -> int:
    place = hash_place(code, mask)
    while codes[offset + place] != _FREE and codes[offset + place] != code:
        place = (place + 1) & mask
    return offset + place


@compiled_loop
def insert(
    codes: NDArray[np.int32],
    offsets: NDArray[np.int64],
    logs: NDArray[np.int8],
    sizes: NDArray[np.int32],
    owner: int,
    key: int,
) -> int:
    """Find the slot of a key, or give it one in the tables of `Blocks.columns`.

    Args:
        codes: By slot.
        offsets: By owner.
        logs: By owner.
        sizes: By owner.
        owner: Not negative.
        key: Not negative.

    Returns:
        The slot; -1: the owner's block is full, or there is none.
    """
    if owner >= len(logs) or logs[owner] < 0:
        return -1
    capacity = 1 << logs[owner]
    place = _find(codes, offsets[owner], capacity - 1, key)
    if codes[place] == key:
        return place
    if 4 * (sizes[owner] + 1) > 3 * capacity:
        return -1
    codes[place] = key
    sizes[owner] += 1
    return place


@compiled_loop
def _insert_all(
    codes: NDArray[np.int32],
    offsets: NDArray[np.int64],
    logs: NDArray[np.int8],
    sizes: NDArray[np.int32],
    owners: NDArray[np.int32],
    keys: NDArray[np.int32],
    full: NDArray[np.int64],
) -> int:
    """Insert keys as far as their blocks have room.

    Returns:
        How many owners have too small a block, or none; they come first in `full`.
    """
    n_full = 0
    for i in range(len(owners)):
        owner = owners[i]
        # A negative size marks, within this loop, an owner that is in `full` already.
        if owner < 0 or keys[i] < 0 or sizes[owner] < 0:
            continue
        if insert(codes, offsets, logs, sizes, owner, keys[i]) < 0:
            full[n_full] = owner
            n_full += 1
            sizes[owner] = ~sizes[owner]
    for i in range(n_full):
        sizes[full[i]] = ~sizes[full[i]]
    return n_full


@compiled_loop
def _move_all(
    codes: NDArray[np.int32],
    owners: NDArray[np.int64],
    old_offsets: NDArray[np.int64],
    old_logs: NDArray[np.int8],
    offsets: NDArray[np.int64],
    logs: NDArray[np.int8],
    old_slots: NDArray[np.int64],
    new_slots: NDArray[np.int64],
) -> int:
    n_moved = 0
    for i in range(len(owners)):
        if old_logs[i] < 0:
            continue
        owner = owners[i]
        mask = (1 << logs[owner]) - 1
        for slot in range(old_offsets[i], old_offsets[i] + (1 << old_logs[i])):
            if codes[slot] != _FREE:
                place = _find(codes, offsets[owner], mask, codes[slot])
                codes[place] = codes[slot]
                codes[slot] = _FREE
                old_slots[n_moved] = slot
                new_slots[n_moved] = place
                n_moved += 1
    return n_moved


@compiled
def look_up_owner(
    codes: NDArray[np.int32],
    offsets: NDArray[np.int64],
    logs: NDArray[np.int8],
    owner: int,
    keys: NDArray[np.int32],
    n_codes: int,
    out: NDArray[np.int32],
) -> None:
    """Find slots of one owner in the tables of `Blocks.columns`.

    Args:
        codes: By slot.
        offsets: By owner.
        logs: By owner.
        owner: Negative: never seen.
        keys: int32 (n,): negative: never seen.
        n_codes: No code is as large.
        out: int32 (n,), written: -1 for a key without a slot.
    """
    out[:] = -1
    if not 0 <= owner < len(logs) or logs[owner] < 0:
        return
    first, capacity = offsets[owner], 1 << logs[owner]
    if n_codes + capacity > _DENSE * len(keys):
        for i in range(len(keys)):
            if keys[i] >= 0:
                place = _find(codes, first, capacity - 1, keys[i])
                if codes[place] != _FREE:
                    out[i] = place
        return
    # To lay the block out by code costs less than to search it so many times, mostly in vain.
    by_code = np.full(n_codes, -1, dtype=np.int32)
    for slot in range(first, first + capacity):
        if 0 <= codes[slot] < n_codes:
            by_code[codes[slot]] = slot
    for i in range(len(keys)):
        if keys[i] >= 0:
            out[i] = by_code[keys[i]]


@compiled_loop
def _look_up(
    codes: NDArray[np.int32],
    offsets: NDArray[np.int64],
    logs: NDArray[np.int8],
    owners: NDArray[np.int32],
    keys: NDArray[np.int32],
    out: NDArray[np.int32],
) -> None:
    for i in range(len(keys)):
        out[i] = -1
        owner = owners[i]
        if 0 <= owner < len(logs) and logs[owner] >= 0 and keys[i] >= 0:
            place = _find(codes, offsets[owner], (1 << logs[owner]) - 1, keys[i])
            if codes[place] != _FREE:
                out[i] = place


class Moves:
    """Where cells went when blocks grew.

    Args:
        old: int64 (n,): slots that were left.
        new: int64 (n,): slots that took their place.
    """

    __slots__ = ("new", "old")

    def __init__(self, old: NDArray[np.int64], new: NDArray[np.int64]) -> None:
        self.old = old
        self.new = new


class Blocks:
    """Gives each pair of an owner (a user, a session, a query) and a code a slot."""

    def __init__(self) -> None:
        self._codes = Growable(np.int32, _FREE)
        self._offsets = Growable(np.int64, 0)
        self._logs = Growable(np.int8, -1)
        self._sizes = Growable(np.int32, 0)
        self._unused: list[list[int]] = [[] for _ in range(_CLASSES)]

    @property
    def n_slots(self) -> int:
        """Slots of all blocks, the free ones included."""
        return len(self._codes)

    @property
    def n_keys(self) -> int:
        """Keys that have a slot."""
        return int(self._sizes.rows.sum())

    @property
    def nbytes(self) -> int:
        """Bytes of the tables, without cells."""
        columns = (self._codes, self._offsets, self._logs, self._sizes)
        return sum(int(column.rows.nbytes) for column in columns)

    @property
    def columns(self) -> tuple[Growable, Growable, Growable, Growable]:
        """Codes by slot; by owner its first slot, logarithm of the size of its block, and keys."""
        return self._codes, self._offsets, self._logs, self._sizes

    def grow(self, owners: NDArray[np.int32], keys: NDArray[np.int32]) -> Moves | None:
        """Insert keys until a block is full, then give those that are a larger one.

        Args:
            owners: int32 (n,): negative ones are passed over.
            keys: int32 (n,): codes; the same.

        Returns:
            What moved, and the call has to be made again; None when all keys have a slot.
        """
        n_owners = int(owners.max(initial=-1)) + 1
        for column in (self._offsets, self._logs, self._sizes):
            column.resize(n_owners)
        full = np.empty(len(owners), dtype=np.int64)
        n_full = _insert_all(
            self._codes.rows, self._offsets.rows, self._logs.rows, self._sizes.rows,
            owners, keys, full,
        )  # fmt: skip
        return self._enlarge(full[:n_full]) if n_full else None

    def look_up(self, owners: NDArray[np.int32], keys: NDArray[np.int32]) -> NDArray[np.int32]:
        """Find slots.

        Returns:
            int32 (n,): -1 for a key without one.
        """
        out = np.empty(len(keys), dtype=np.int32)
        _look_up(self._codes.rows, self._offsets.rows, self._logs.rows, owners, keys, out)
        return out

    def slots_of(self, owner: int) -> NDArray[np.int64]:
        """List the slots of an owner's block, taken or not.

        Returns:
            int64 (capacity,): empty for an owner without a block.
        """
        if owner >= len(self._logs) or self._logs.rows[owner] < 0:
            return np.zeros(0, dtype=np.int64)
        start = int(self._offsets.rows[owner])
        return np.arange(start, start + (1 << int(self._logs.rows[owner])))

    def keys_of(self, owner: int) -> NDArray[np.int32]:
        """List the keys of an owner.

        Returns:
            int32 (n,): ascending.
        """
        codes: NDArray[np.int32] = self._codes.rows[self.slots_of(owner)]
        return np.sort(codes[codes != _FREE])

    def compact(self) -> NDArray[np.int64]:
        """Put all blocks side by side, in order of their owners, and give up what is unused.

        Returns:
            int64 (n_slots,): where each slot was before.
        """
        owners = np.flatnonzero(self._logs.rows >= 0)
        sizes = np.int64(1) << self._logs.rows[owners].astype(np.int64)
        ends = np.cumsum(sizes)
        n_slots = int(ends[-1]) if len(ends) else 0
        within = np.arange(n_slots) - np.repeat(ends - sizes, sizes)
        before: NDArray[np.int64] = np.repeat(self._offsets.rows[owners], sizes) + within
        self._offsets.rows[owners] = ends - sizes
        self._codes.reorder(before)
        self._unused = [[] for _ in range(_CLASSES)]
        return before

    def drop(self, owner: int) -> None:
        """Forget an owner; the cells of its slots must have been cleared."""
        slots = self.slots_of(owner)
        if len(slots):
            self._codes.clear(slots)
            self._unused[int(self._logs.rows[owner])].append(int(slots[0]))
            self._logs.rows[owner] = -1
            self._sizes.rows[owner] = 0

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give the tables as arrays, for a snapshot.

        Returns:
            By name; views that must not be changed.
        """
        pairs = [(size, offset) for size, found in enumerate(self._unused) for offset in found]
        return {
            "codes": self._codes.rows,
            "offsets": self._offsets.rows,
            "logs": self._logs.rows,
            "sizes": self._sizes.rows,
            "unused": np.array(pairs, dtype=np.int64).reshape(-1, 2),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the tables from arrays that `arrays` gave."""
        for column, name in (
            (self._codes, "codes"),
            (self._offsets, "offsets"),
            (self._logs, "logs"),
            (self._sizes, "sizes"),
        ):
            column.restore(arrays, name)
        for size, offset in arrays["unused"].tolist():
            self._unused[size].append(offset)

    def _enlarge(self, owners: NDArray[np.int64]) -> Moves:
        old_logs, old_offsets = self._logs.rows[owners], self._offsets.rows[owners]
        new_logs = np.where(old_logs < 0, _SMALLEST, old_logs + 1).astype(np.int8)
        self._offsets.rows[owners] = self._allocate(new_logs)
        self._logs.rows[owners] = new_logs
        held = int((np.int64(1) << old_logs[old_logs >= 0].astype(np.int64)).sum())
        old, new = np.empty(held, dtype=np.int64), np.empty(held, dtype=np.int64)
        n_moved = _move_all(
            self._codes.rows, owners, old_offsets, old_logs,
            self._offsets.rows, self._logs.rows, old, new,
        )  # fmt: skip
        for log, offset in zip(old_logs.tolist(), old_offsets.tolist(), strict=True):
            if log >= 0:
                self._unused[log].append(offset)
        return Moves(old[:n_moved], new[:n_moved])

    def _allocate(self, logs: NDArray[np.int8]) -> NDArray[np.int64]:
        found = np.empty(len(logs), dtype=np.int64)
        end = len(self._codes)
        for i, log in enumerate(logs.tolist()):
            unused = self._unused[log]
            if unused:
                found[i] = unused.pop()
            else:
                found[i] = end
                end += 1 << log
        self._codes.resize(end)
        return found
