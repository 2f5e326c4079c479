"""What is known of a catalogue, in tables that grow where they lie.

A shop changes prices all day, and every change is a new version of an item. Taking one in costs as
much as it brings, whatever the catalogue holds: nothing is copied, and what was given out before
stays as it was, because rows are only added behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.features.growable import Growable
from recsys.interest.catalogue import Growth, VersionTable
from recsys.interest.parts import Known, described
from recsys.interest.stored_vectors import NumberTraits, TextTable, rows_or_zeros

_VERSIONS = ("texts", "items", "numbers")


class Growing:
    """Tables of a catalogue; not thread-safe, its owner serialises growth.

    Args:
        known: What there is so far.
        numbers: From an item's numbers to traits; None before the first fit.
        rooms: Arrays of `known.texts` with room behind them, by name and `ROOM`, where they have.
    """

    def __init__(
        self, known: Known, numbers: NumberTraits | None, rooms: Mapping[str, NDArray[Any]]
    ) -> None:
        self._numbers = numbers
        self._hashes, self._item_numbers = dict(known.hashes), dict(known.versions.item_numbers)
        versions = {name: getattr(known.versions, name) for name in _VERSIONS}
        self._versions = {name: _taken_over(name, versions) for name in _VERSIONS}
        texts = {name: getattr(known.texts, name) for name in TextTable.__slots__}
        self._texts = {name: _taken_over(name, {**rooms, **texts}) for name in texts}
        described_so_far = {"traits": known.traits, "rates": known.rates}
        self._described = {name: _taken_over(name, described_so_far) for name in described_so_far}

    def add(self, growth: Growth, texts: TextTable | None) -> Known:
        """Add versions.

        Args:
            growth: What is new.
            texts: Vectors of its new texts; None: there are none.

        Returns:
            All that is known now.
        """
        # Before anything is added: what fails leaves everything as it was.
        of_texts = self._traits_of(growth.versions.texts, texts)
        new = described(growth.versions, growth.item_ids, of_texts, self._numbers)
        if texts is not None:
            for name, column in self._texts.items():
                column.extend(getattr(texts, name))
        for column, values in zip(self._described.values(), new, strict=True):
            column.extend(values)
        for name, column in self._versions.items():
            column.extend(getattr(growth.versions, name))
        self._hashes.update(growth.hashes)
        self._item_numbers.update(growth.versions.item_numbers)
        tables = {name: column.rows for name, column in self._versions.items()}
        versions = VersionTable(**tables, item_numbers=self._item_numbers)
        return Known(
            versions,
            self._hashes,
            TextTable(**{name: column.rows for name, column in self._texts.items()}),
            **{name: column.rows for name, column in self._described.items()},
        )

    def _traits_of(
        self, text_rows: NDArray[np.int32], texts: TextTable | None
    ) -> NDArray[np.float32]:
        known = self._texts["taste"].rows
        found = rows_or_zeros(known, np.where(text_rows < len(known), text_rows, -1))
        if texts is not None:
            found += rows_or_zeros(texts.taste, text_rows - len(known))
        return found


def _taken_over(name: str, arrays: Mapping[str, NDArray[Any]]) -> Growable:
    rows = arrays[name]
    column = Growable(rows.dtype, 0, rows.shape[1:])
    column.restore(arrays, name)
    return column
