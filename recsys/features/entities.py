"""Items or users: ids as integer rows, and every version of what is known of them.

Ids are resolved to rows once; everything after that is array arithmetic. A *version row* is one
version of one entity; attributes are columns over version rows, made the first time somebody asks
for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.features.codes import MultiCodes, SingleCodes, number_texts
from recsys.features.growable import Growable
from recsys.schema import Attributes, AttributeValue

#: The row of an id that no event has named yet; it reads like an entity without events.
UNKNOWN = -2
#: The row of an empty id: nobody in particular; whatever depends on it is missing.
ANONYMOUS = -1


@dataclass(frozen=True, slots=True)
class EntitiesRecord:
    """Entities as plain values.

    Args:
        ids: By row; empty where an id was forgotten.
        owners: Row of each version.
        visible: Of each version, microseconds.
        occurred: Of each version, microseconds.
        attributes: Of each version.
        current: Latest version of each row.
        codes: Values of attributes with several values, in order of their codes.
        single_codes: Values of attributes with one value, in order of their codes.
    """

    ids: list[str]
    owners: list[int]
    visible: list[int]
    occurred: list[int]
    attributes: list[Any]  # Attributes; a decoder cannot tell its lists apart
    current: list[int]
    codes: dict[str, list[str]]
    single_codes: dict[str, list[str]]


class Entities:
    """All items, or all users, with their versions in the order in which they became visible."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._rows: dict[str, int] = {}
        self._attributes: list[Attributes] = []
        self._owners = Growable(np.int32, -1)
        self._visible = Growable(np.int64, 0)
        self._occurred = Growable(np.int64, 0)
        self._current = Growable(np.int32, -1)
        self._numbers: dict[str, Growable] = {}
        self._codes: dict[str, MultiCodes] = {}
        self._single_codes: dict[str, SingleCodes] = {}
        self._values: dict[str, pl.Series] = {}
        self._derived: dict[tuple[str, ...], Growable] = {}
        #: Versions that were looked at for an attribute that none of them carries.
        self._without: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._attributes)

    def attributes(self, version_row: int) -> Attributes:
        """Read what is known of an entity in one of its versions.

        Returns:
            The attributes, which must not be changed.
        """
        return self._attributes[version_row]

    def item_id(self, version_row: int) -> str:
        """Say which entity a version row belongs to.

        Returns:
            Its id.
        """
        return self.ids[int(self._owners.rows[version_row])]

    def row(self, entity_id: str) -> int:
        """Look an id up.

        Returns:
            Its row, `ANONYMOUS` for an empty id, `UNKNOWN` for one that no event named.
        """
        return self._rows.get(entity_id, UNKNOWN) if entity_id else ANONYMOUS

    def rows(self, entity_ids: Sequence[str]) -> NDArray[np.int32]:
        """Look ids up.

        Returns:
            int32 (n,): rows as in `row`.
        """
        found = np.fromiter(
            map(self._rows.get, entity_ids, repeat(UNKNOWN)), dtype=np.int32, count=len(entity_ids)
        )
        if "" in entity_ids:
            found[[not entity_id for entity_id in entity_ids]] = ANONYMOUS
        return found

    def rows_of(self, ids: pl.Series, *, add: bool = False) -> NDArray[np.int32]:
        """Look a long column of ids up: each distinct id once.

        Args:
            ids: Text, no nulls.
            add: Give a row to every id that has none, in order of first sight.

        Returns:
            int32 (n,): rows as in `row`.
        """
        numbers, distinct = number_texts(ids)
        texts = distinct.to_list()
        if add:
            self.add_ids(texts)
        return self.rows(texts)[numbers]

    def add_ids(self, entity_ids: Iterable[str]) -> None:
        """Give a row to every id that has none; empty ids get none."""
        rows, ids = self._rows, self.ids
        new = [i for i in dict.fromkeys(entity_ids) if i and i not in rows]
        rows.update(zip(new, range(len(ids), len(ids) + len(new)), strict=True))
        ids += new
        self._current.resize(len(ids))

    def forget(self, entity_id: str) -> int:
        """Forget an id and what is known of it; seen again, it gets another row.

        Returns:
            The row that it had; negative: it was not known.
        """
        row = self._rows.pop(entity_id, UNKNOWN)
        if row >= 0:
            self.ids[row] = ""
            self._current.rows[row] = -1
            for version in np.flatnonzero(self._owners.rows == row).tolist():
                self._attributes[version] = {}
        return row

    def add_version(
        self, entity_id: str, attributes: Attributes, occurred_at: int, visible_at: int
    ) -> int:
        """Add a version; versions must come in order of `visible_at`.

        Returns:
            Its version row.
        """
        self.add_ids((entity_id,))
        version, owner = len(self._attributes), self._rows[entity_id]
        self._attributes.append(attributes)
        for column, value in (
            (self._owners, owner),
            (self._visible, visible_at),
            (self._occurred, occurred_at),
        ):
            column.resize(version + 1)
            column.rows[version] = value
        current = self._current.rows[owner]
        # A version that arrives late must not replace one that describes a later time.
        if current < 0 or occurred_at >= self._occurred.rows[current]:
            self._current.rows[owner] = version
        for name, numbers in self._numbers.items():
            _extend_numbers(numbers, [attributes.get(name)])
        for name, codes in self._codes.items():
            codes.append(attributes.get(name))
        for name, single in self._single_codes.items():
            single.append(attributes.get(name))
        return version

    def current_versions(self, rows: NDArray[np.int32]) -> NDArray[np.int32]:
        """Find the latest version of entities.

        Returns:
            int32, shape of `rows`: version rows; -1 where nothing is known.
        """
        if not len(self._current):
            return np.full(rows.shape, -1, dtype=np.int32)
        found: NDArray[np.int32] = self._current.rows[np.maximum(rows, 0)]
        return np.where(rows >= 0, found, np.int32(-1))

    @property
    def current(self) -> NDArray[np.int32]:
        """The latest version row of every entity: int32 (n,), -1 where nothing is known."""
        found: NDArray[np.int32] = self._current.rows
        return found

    def version_table(self) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        """Give owner row, `visible_at` and `occurred_at` of every version row.

        Returns:
            Three arrays (n_versions,).
        """
        return self._owners.rows, self._visible.rows, self._occurred.rows

    def carries(self, name: str) -> bool:
        """Say whether any version carries an attribute; only new ones are looked at.

        Returns:
            True from the first one on.
        """
        start = self._without.get(name, 0)
        if start < 0:
            return True
        found = any(name in attributes for attributes in self._attributes[start:])
        self._without[name] = -1 if found else len(self._attributes)
        return found

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Give a numeric attribute as a column; booleans are 0 and 1.

        Returns:
            float64 (n_versions,): NaN where it is missing or not a number.
        """
        if name not in self._numbers:
            column = Growable(np.float64, np.nan)
            _extend_numbers(column, [a.get(name) for a in self._attributes])
            self._numbers[name] = column
        return self._numbers[name].rows

    def values(self, name: str, dtype: pl.DataType) -> pl.Series:
        """Give an attribute of any type as a column; what does not fit the type is null.

        Args:
            name: The attribute.
            dtype: Of the column.

        Returns:
            (n_versions + 1,): version row v stands at v + 1, so that -1, nothing known, reads null.
        """
        column = self._values.get(name)
        if column is None:
            column = pl.Series(name, [None], dtype=dtype)
        if len(column) <= len(self._attributes):
            added = [a.get(name) for a in self._attributes[len(column) - 1 :]]
            column = column.append(pl.Series(name, added, dtype=dtype, strict=False))
            self._values[name] = column
        return column

    def record(self) -> EntitiesRecord:
        """Write everything down, for a snapshot.

        Returns:
            What `restore` reads.
        """
        return EntitiesRecord(
            ids=self.ids,
            owners=self._owners.rows.tolist(),
            visible=self._visible.rows.tolist(),
            occurred=self._occurred.rows.tolist(),
            attributes=self._attributes,
            current=self._current.rows.tolist(),
            codes={name: codes.values for name, codes in self._codes.items()},
            single_codes={name: codes.values for name, codes in self._single_codes.items()},
        )

    def restore(self, record: EntitiesRecord) -> None:
        """Become what was written down; must be empty."""
        self.ids = list(record.ids)
        # The row of an id that was forgotten has lost it.
        self._rows = {name: row for row, name in enumerate(self.ids) if name}
        self._attributes = list(record.attributes)
        for column, values in (
            (self._owners, record.owners),
            (self._visible, record.visible),
            (self._occurred, record.occurred),
            (self._current, record.current),
        ):
            column.extend(np.array(values, dtype=column.rows.dtype))
        # A code is part of keys: the same values must get the same ones again.
        for name, known in record.codes.items():
            self._codes[name] = MultiCodes()
            self._codes[name].know(known)
            for attributes in self._attributes:
                self._codes[name].append(attributes.get(name))
        for name, known in record.single_codes.items():
            self._single_codes[name] = SingleCodes()
            self._single_codes[name].know(known)
            for attributes in self._attributes:
                self._single_codes[name].append(attributes.get(name))

    def derived(
        self, key: tuple[str, ...], compute: Callable[[int], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """Keep what is computed of attributes, and compute it for versions that are new.

        Args:
            key: Names the columns.
            compute: Called with the first row that is wanted; gives all from there on.

        Returns:
            float32 (n_versions + 1, n_columns): version row v stands at v + 1, nothing known at 0.
        """
        column = self._derived.get(key)
        if column is None:
            column = self._derived[key] = Growable(np.float32, np.nan, (len(key),))
        if len(column) <= len(self._attributes):
            column.extend(compute(len(column)))
        found: NDArray[np.float32] = column.rows
        return found

    def codes(self, name: str) -> MultiCodes:
        """Give an attribute as integer codes, several per version where it is a list.

        Returns:
            The codes of all version rows.
        """
        if name not in self._codes:
            codes = MultiCodes()
            for attributes in self._attributes:
                codes.append(attributes.get(name))
            self._codes[name] = codes
        return self._codes[name]

    def single_codes(self, name: str) -> SingleCodes:
        """Give an attribute as one integer code per version.

        Returns:
            The codes of all version rows.
        """
        if name not in self._single_codes:
            codes = self._single_codes[name] = SingleCodes()
            for attributes in self._attributes:
                codes.append(attributes.get(name))
        return self._single_codes[name]


def _extend_numbers(column: Growable, values: Sequence[AttributeValue | None]) -> None:
    # A number that overflowed or is not one is as good as missing: LightGBM splits on missing.
    numbers = np.array(
        [float(v) if isinstance(v, int | float) else np.nan for v in values], dtype=np.float64
    )
    numbers[~np.isfinite(numbers)] = np.nan
    column.extend(numbers)
