"""Open-addressing tables over integers: dense numbers for keys, and the last mark of each pair.

Linear probing in arrays of a power of two, at most two thirds full. A Python dictionary of the same
keys takes five times the memory and cannot be searched from compiled code.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.compiled import compiled_loop
from recsys.features.folds import NEVER

#: An entry that is not taken; no key is negative.
_FREE: Final = -1
_SMALLEST: Final = 64
#: Fibonacci hashing: the golden ratio of 64 bits.
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)


@compiled_loop
def hash_place(key: int, mask: int) -> int:
    """Give the place at which the search for a key begins.

    Returns:
        0 to `mask`.
    """
    mixed = np.uint64(key) * _GOLDEN
    mixed ^= mixed >> np.uint64(29)
    return int(np.int64(mixed >> np.uint64(3)) & mask)


@compiled_loop
def _find(keys: NDArray[np.int64], mask: int, key: int) -> int:
    place = hash_place(key, mask)
    while keys[place] != _FREE and keys[place] != key:
        place = (place + 1) & mask
    return place


@compiled_loop
def _insert_all(
    table: NDArray[np.int64], ids: NDArray[np.int32], keys: NDArray[np.int64], size: int
) -> int:
    mask = len(table) - 1
    for i in range(len(keys)):
        if keys[i] >= 0:
            place = _find(table, mask, keys[i])
            if table[place] == _FREE:
                table[place] = keys[i]
                ids[place] = size
                size += 1
    return size


@compiled_loop
def _rehash(
    table: NDArray[np.int64],
    ids: NDArray[np.int32],
    new_table: NDArray[np.int64],
    new_ids: NDArray[np.int32],
) -> None:
    mask = len(new_table) - 1
    for i in range(len(table)):
        if table[i] != _FREE:
            place = _find(new_table, mask, table[i])
            new_table[place] = table[i]
            new_ids[place] = ids[i]


@compiled_loop
def _look_up(
    table: NDArray[np.int64],
    ids: NDArray[np.int32],
    keys: NDArray[np.int64],
    out: NDArray[np.int32],
) -> None:
    mask = len(table) - 1
    for i in range(len(keys)):
        out[i] = -1
        if keys[i] >= 0:
            place = _find(table, mask, keys[i])
            if table[place] != _FREE:
                out[i] = ids[place]


class KeyTable:
    """Numbers keys of 64 bits in order of first sight."""

    def __init__(self) -> None:
        self._size = 0
        self._table = np.full(_SMALLEST, _FREE, dtype=np.int64)
        self._ids = np.empty(_SMALLEST, dtype=np.int32)

    def __len__(self) -> int:
        return self._size

    def insert(self, keys: NDArray[np.int64]) -> None:
        """Number keys that have no number yet; negative ones get none."""
        # In parts: how many of the keys are new is known only afterwards.
        for start in range(0, len(keys), 1 << 20):
            part = keys[start : start + (1 << 20)]
            self._make_room(self._size + len(part))
            self._size = int(_insert_all(self._table, self._ids, part, self._size))

    def look_up(self, keys: NDArray[np.int64]) -> NDArray[np.int32]:
        """Find the numbers of keys.

        Returns:
            int32 (n,): -1 for a key without one.
        """
        out = np.empty(len(keys), dtype=np.int32)
        _look_up(self._table, self._ids, keys, out)
        return out

    def _make_room(self, size: int) -> None:
        if 3 * size <= 2 * len(self._table):
            return
        capacity = 1 << int(np.ceil(np.log2(1.5 * size)))
        table = np.full(capacity, _FREE, dtype=np.int64)
        ids = np.empty(capacity, dtype=np.int32)
        _rehash(self._table, self._ids, table, ids)
        self._table, self._ids = table, ids


@compiled_loop
def _find_pair(
    keys: NDArray[np.integer], others: NDArray[np.int32], mask: int, key: int, other: int
) -> int:
    place = hash_place(key * 1_000_003 + other, mask)
    while others[place] != _FREE and (keys[place] != key or others[place] != other):
        place = (place + 1) & mask
    return place


@compiled_loop
def _visit_all(
    table: NDArray[np.integer],
    table_others: NDArray[np.int32],
    marks: NDArray[np.int64],
    keys: NDArray[np.int64],
    others: NDArray[np.int32],
    buckets: NDArray[np.int64],
    previous: NDArray[np.int64],
    size: int,
) -> int:
    mask, remember = len(table) - 1, len(marks) > 0
    for i in range(len(keys)):
        if keys[i] < 0 or others[i] < 0:
            previous[i] = buckets[i]  # as if seen already: counts for nothing
            continue
        place = _find_pair(table, table_others, mask, keys[i], others[i])
        if table_others[place] == _FREE:
            table[place] = keys[i]
            table_others[place] = others[i]
            previous[i] = NEVER
            size += 1
        else:
            previous[i] = marks[place] if remember else 0
        if remember:
            marks[place] = buckets[i]
    return size


@compiled_loop
def _rehash_pairs(
    table: NDArray[np.integer],
    others: NDArray[np.int32],
    marks: NDArray[np.int64],
    new_table: NDArray[np.integer],
    new_others: NDArray[np.int32],
    new_marks: NDArray[np.int64],
) -> None:
    mask = len(new_table) - 1
    for i in range(len(table)):
        if others[i] != _FREE:
            place = _find_pair(new_table, new_others, mask, table[i], others[i])
            new_table[place] = table[i]
            new_others[place] = others[i]
            if len(marks) > 0:
                new_marks[place] = marks[i]


class PairTable:
    """Remembers pairs of a key and an item or user, and perhaps when each was last seen.

    Args:
        windowed: The bucket in which a pair was last seen is remembered too.
        narrow: No key is as large as 2 ** 31; a pair then takes eight bytes and not twelve.
    """

    def __init__(self, *, windowed: bool, narrow: bool) -> None:
        self._windowed = windowed
        self._dtype: type[np.integer] = np.int32 if narrow else np.int64
        self._size = 0
        self._keys: NDArray[np.integer] = np.zeros(0, dtype=self._dtype)
        self._others: NDArray[np.int32] = np.zeros(0, dtype=np.int32)
        self._marks: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._resize(_SMALLEST)

    def __len__(self) -> int:
        return self._size

    @property
    def nbytes(self) -> int:
        """Bytes of the table."""
        return int(self._keys.nbytes + self._others.nbytes + self._marks.nbytes)

    def visit(
        self, keys: NDArray[np.int64], others: NDArray[np.int32], buckets: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Mark pairs one after another.

        Args:
            keys: int64 (n,): negative ones count for nothing.
            others: int32 (n,): the same.
            buckets: int64 (n,): bucket of each event, ascending.

        Returns:
            int64 (n,): bucket in which the pair was seen before (0 without a window), `NEVER` for a
            new pair.
        """
        previous = np.empty(len(keys), dtype=np.int64)
        for start in range(0, len(keys), 1 << 20):
            part = slice(start, start + (1 << 20))
            self._make_room(self._size + len(keys[part]))
            self._size = _visit_all(
                self._keys, self._others, self._marks,
                keys[part], others[part], buckets[part], previous[part], self._size,
            )  # fmt: skip
        return previous

    def forget(self, drop: NDArray[np.bool_]) -> None:
        """Remove the entries at which `drop`, aligned with `entries`, is true."""
        keys, others, marks = self.entries()
        self._size = 0
        self._fill(keys[~drop], others[~drop], marks[~drop])

    def entries(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
        """List all pairs with their marks, in no particular order.

        Returns:
            Keys, items or users, buckets (0 without a window); copies.
        """
        taken = self._others != _FREE
        keys, others = self._keys[taken].astype(np.int64), self._others[taken]
        marks = self._marks[taken] if self._windowed else np.zeros(len(keys), dtype=np.int64)
        return keys, others, marks

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give the pairs as arrays, for a snapshot.

        Returns:
            By name.
        """
        return dict(zip(("keys", "others", "marks"), self.entries(), strict=True))

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Take the pairs from arrays that `arrays` gave."""
        self._fill(arrays["keys"], arrays["others"], arrays["marks"])

    def _fill(
        self, keys: NDArray[np.int64], others: NDArray[np.int32], marks: NDArray[np.int64]
    ) -> None:
        self._size = 0
        self._resize(_SMALLEST)
        self.visit(keys, others, marks)

    def _make_room(self, size: int) -> None:
        if 3 * size > 2 * len(self._keys):
            self._resize(1 << int(np.ceil(np.log2(1.5 * size))))

    def _resize(self, capacity: int) -> None:
        keys: NDArray[np.integer] = np.zeros(capacity, dtype=self._dtype)
        others = np.full(capacity, _FREE, dtype=np.int32)
        marks = np.empty(capacity if self._windowed else 0, dtype=np.int64)
        if self._size:
            _rehash_pairs(self._keys, self._others, self._marks, keys, others, marks)
        self._keys, self._others, self._marks = keys, others, marks
