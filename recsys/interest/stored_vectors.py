"""The arrays of a fitted model that scores are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.interest.text import HASH_BYTES

Vector = NDArray[np.float32]


class Head(NamedTuple):
    """The scalars of a fitted `InterestNet`; a tuple, as compiled loops want it.

    Args:
        mix: (4,): weight of liked mean, liked attended, passed-over mean, passed-over attended.
        temperature: (2,)
        shrinkage: (2,): imagined items of the past at which the candidate is neither near nor far.
        type_bias: (N_TYPES,)
        age_bias: (2, N_AGES)
        taste_weights: (2,): of what was liked and passed over in the regression of a taste.
        ridge: (1,): how strongly a taste is held at zero.
        scale: (1,): of a taste's score.
        constant: (1,): the trait that every item has.
        expected: (2,): slope and intercept of what was to be expected, over log odds of the rate.
    """

    mix: Vector
    temperature: Vector
    shrinkage: Vector
    type_bias: Vector
    age_bias: Vector
    taste_weights: Vector
    ridge: Vector
    scale: Vector
    constant: Vector
    expected: Vector


@dataclass(frozen=True, slots=True)
class TextTable:
    """What is stored of each distinct text.

    Args:
        plain: float32 (n_texts, k): as the pretrained encoder sees it, centred, main directions,
            unit length.
        points: float32 (n_texts, size): in the fitted interest space, unit length.
        values: float32 (n_texts, 2): log weight as an item of the past, liked and passed over.
        appeal: float32 (n_texts,)
        taste: float32 (n_texts, n_traits): directions that a taste is made of.
    """

    plain: Vector
    points: Vector
    values: Vector
    appeal: Vector
    taste: Vector

    def __len__(self) -> int:
        return len(self.plain)


@dataclass(frozen=True)
class NumberTraits:
    """How an item's numbers become traits, and how often items are acted on.

    Args:
        stretch: (n_numbers,)
        inner: (hidden, n_numbers): of the layer between; empty without numbers.
        inner_bias: (hidden,)
        outer: (n_bent, hidden)
        outer_bias: (n_bent,)
        item_keys: uint8 (n_items, HASH_BYTES): hashes of the item ids whose rate is known.
        rates: (n_items + 1,): log odds of being acted on when shown; the last one is that of all.
    """

    stretch: Vector
    inner: Vector
    inner_bias: Vector
    outer: Vector
    outer_bias: Vector
    item_keys: NDArray[np.uint8]
    rates: Vector

    def traits(self, numbers: Vector) -> Vector:
        """Describe items by their numbers.

        Returns:
            float32 (n, n_numbers + n_bent); (n, 0) without numbers.
        """
        if not len(self.stretch):
            return np.zeros((len(numbers), 0), dtype=np.float32)
        bent = np.maximum(numbers @ self.inner.T + self.inner_bias, 0.0) @ self.outer.T
        found: Vector = np.concatenate([numbers * self.stretch, bent + self.outer_bias], axis=1)
        return found.astype(np.float32)

    def rates_of(self, keys: Sequence[bytes]) -> Vector:
        """Look up how often items are acted on.

        Args:
            keys: Hashes of their ids.

        Returns:
            float32 (n,): log odds when shown; those of all items where the item is unknown.
        """
        ordered, places = self._by_key
        wanted = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, HASH_BYTES)
        found = np.full(len(wanted), len(self.item_keys), dtype=np.int64)
        if len(ordered):
            place = places[np.searchsorted(ordered, _heads(wanted)) % len(ordered)]
            is_there = (self.item_keys[place] == wanted).all(axis=1)
            found[is_there] = place[is_there]
        rates: Vector = self.rates[found]
        return rates

    @cached_property
    def _by_key(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """The beginnings of `item_keys`, ascending, and whose they are."""
        heads = _heads(self.item_keys)
        order = np.argsort(heads, kind="stable")
        return heads[order], order


def _heads(keys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    heads: NDArray[np.uint64] = np.ascontiguousarray(keys[:, :8]).view("<u8")[:, 0]
    return heads


def rows_or_zeros(table: Vector, rows: NDArray[np.integer]) -> Vector:
    """Read rows of a table.

    Args:
        table: float32 (n_rows, k)
        rows: (n,): negative: none.

    Returns:
        float32 (n, k): zero where there is none.
    """
    found = np.zeros((len(rows), table.shape[1]), dtype=np.float32)
    there = rows >= 0
    found[there] = table[rows[there]]
    return found


def joined(tables: Sequence[TextTable]) -> TextTable:
    """Put texts behind one another.

    Returns:
        A table of all.
    """
    return TextTable(
        *(
            np.concatenate([getattr(table, name) for table in tables])
            for name in TextTable.__slots__
        )
    )
