"""Attribute values as small integers, so that a value can be part of a key."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.features.growable import Growable
from recsys.schema import AttributeValue

#: The code of a value that no event has had yet: it reads like a key without events.
UNKNOWN_VALUE = -2
#: The code of no value at all: whatever depends on it is missing.
NO_VALUE = -1
#: Texts from this many on are numbered by their hashes, which takes a third of the time where most
#: are different, and a compiled loop.
_FEW = 1_000


def number_texts(texts: pl.Series) -> tuple[NDArray[np.uint32], pl.Series]:
    """Number the distinct texts of a column, in one pass of hashing.

    Args:
        texts: No nulls.

    Returns:
        The number of every row, and the distinct texts in order of first sight.
    """
    if len(texts) >= _FEW:
        # Declarations of plugins come here as well, and need no compiler.
        from recsys.features.interning import KeyTable

        table, hashes = KeyTable(), (texts.hash().to_numpy() >> np.uint64(1)).view(np.int64)
        table.insert(hashes)
        numbers, distinct = _numbered(texts, pl.Series(table.look_up(hashes)))
        # Two texts may have one hash.
        if (distinct.gather(numbers) == texts).all():
            return numbers, distinct
    # Categories of their own: those that all columns share are kept as long as any of them lives.
    return _numbered(texts, texts.cast(pl.Categorical(pl.Categories.random())).to_physical())


def _numbered(texts: pl.Series, found: pl.Series) -> tuple[NDArray[np.uint32], pl.Series]:
    numbers = found.to_numpy().astype(np.uint32, copy=False)
    first = np.empty(int(numbers.max(initial=0)) + 1 if len(numbers) else 0, dtype=np.int64)
    first[numbers[::-1]] = np.arange(len(numbers) - 1, -1, -1)
    return numbers, texts.gather(first)


class MultiCodes:
    """Values of one attribute, several or none per row; a value that stands twice counts once."""

    __slots__ = ("_codes", "_flat", "_offsets", "values")

    def __init__(self) -> None:
        self.values: list[str] = []
        self._codes: dict[str, int] = {}
        self._flat = Growable(np.int32, NO_VALUE)
        self._offsets = Growable(np.int64, 0)
        self._offsets.resize(1)

    def know(self, values: Sequence[str]) -> None:
        """Give values their codes before any row has them."""
        for text in values:
            self._codes[text] = len(self.values)
            self.values.append(text)

    def append(self, value: AttributeValue | None) -> None:
        """Add the value of the next row."""
        codes = []
        for text in dict.fromkeys(_texts(value)):
            code = self._codes.get(text)
            if code is None:
                code = self._codes[text] = len(self.values)
                self.values.append(text)
            codes.append(code)
        self._flat.extend(np.array(codes, dtype=np.int32))
        self._offsets.extend(np.array([len(self._flat)], dtype=np.int64))

    @property
    def ragged(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Codes of row r are `codes[offsets[r]:offsets[r + 1]]`: offsets and codes."""
        return self._offsets.rows, self._flat.rows

    @property
    def columns(self) -> tuple[Growable, Growable]:
        """What `ragged` gives, as it grows."""
        return self._offsets, self._flat


class SingleCodes:
    """Values of one attribute, one per row; a list is one value, made of its parts."""

    __slots__ = ("_codes", "_rows")

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._rows = Growable(np.int32, NO_VALUE)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> NDArray[np.int32]:
        """Code of every row: int32 (n_rows,), `NO_VALUE` where it has none."""
        return self._rows.rows

    @property
    def values(self) -> list[str]:
        """All values in order of their codes."""
        return list(self._codes)

    def know(self, values: Sequence[str]) -> None:
        """Give values their codes before any row has them."""
        for text in values:
            self._codes[text] = len(self._codes)

    def append(self, value: AttributeValue | None) -> None:
        """Add the value of the next row."""
        code = NO_VALUE
        if value is not None:
            code = self._codes.setdefault(_one_text(value), len(self._codes))
        self._rows.extend(np.array([code], dtype=np.int32))

    def look_up(self, value: AttributeValue | None) -> int:
        """Find the code of a value.

        Returns:
            The code, `UNKNOWN_VALUE` for a value that no row has, `NO_VALUE` for none.
        """
        return NO_VALUE if value is None else self._codes.get(_one_text(value), UNKNOWN_VALUE)


def _texts(value: AttributeValue | None) -> list[str]:
    if value is None:
        return []
    if isinstance(value, list):
        return [str(part) for part in value]
    return [str(value)]


def _one_text(value: AttributeValue) -> str:
    return "\x1f".join(_texts(value))
