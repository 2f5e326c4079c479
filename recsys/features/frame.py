"""The candidate frame: named columns that expressions are written over.

A column is an aggregate, `as_of`, an id, a score of a feature model, or an attribute: `item.NAME`,
`user.NAME`, `context.NAME`, `candidate.NAME`. Numeric columns are gathered with numpy; they become
polars columns only when an expression asks for them, then all together, and so does text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.features.candidates import read_candidates
from recsys.features.profile import LogProfile
from recsys.features.reading import StateReader
from recsys.features.slates import Slates
from recsys.features.vocabulary import Aggregate

AS_OF = "as_of"
#: Ids as text; null where no event has named them yet.
ITEM_ID = "item_id"
USER_ID = "user_id"
#: Number of the request that a candidate belongs to; list-wise expressions are evaluated per
#: request.
REQUEST = "request"
_SCOPES = frozenset({"item", "user", "context", "candidate"})

#: Numbers that are handed to polars at once.
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Frame:
    """Columns of one batch, read when first asked for.

    Args:
        slates: The requests.
        reader: Where state and attributes come from.
        aggregates: Scalar aggregates by column name.
        profile: Kinds of the attributes.
        scores: float32 (n_candidates,) columns of feature models by name.
        known: Aggregates that were read before, by name.
    """

    slates: Slates
    reader: StateReader
    aggregates: Mapping[str, Aggregate]
    profile: LogProfile
    scores: Mapping[str, NDArray[np.float32]]
    known: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def read(self, aggregates: Sequence[Aggregate]) -> None:
        """Read aggregates together: those with one key share a walk, and one call is cheaper."""
        values = self.reader.read_many(aggregates, self.slates)
        self.known.update((a.name, v) for a, v in zip(aggregates, values, strict=True))

    def column(self, name: str) -> NDArray[np.float64] | NDArray[np.float32] | pl.Series:
        """Read a column.

        Returns:
            A float array (NaN: missing) where the column is numeric, else a polars series.

        Raises:
            KeyError: No column has this name.
        """
        if name in self.aggregates:
            if name not in self.known:
                self.read([self.aggregates[name]])
            return self.known[name]
        if name in self.scores:
            return self.scores[name]
        scope, _, attribute = name.partition(".")
        if scope in _SCOPES and attribute:
            return self._attribute(scope, attribute)
        if name in {ITEM_ID, USER_ID}:
            return self._ids(name)
        if name in {REQUEST, AS_OF}:
            values = self.slates.as_of if name == AS_OF else np.arange(len(self.slates))
            return pl.Series(name, np.array(self.slates.spread(values)))
        raise KeyError(name)

    def numbers(self, name: str) -> NDArray[np.floating]:
        """Read a column of numbers.

        Returns:
            float (n_candidates,): NaN where it is missing.
        """
        if name == AS_OF:
            return self.slates.spread(self.slates.as_of).astype(np.float64)
        column = self.column(name)
        return column.to_numpy() if isinstance(column, pl.Series) else column

    def data(self, names: Iterable[str]) -> pl.DataFrame:
        """Lay columns out as polars sees them: missing is null, never NaN or zero.

        Returns:
            The columns; numbers are float64.
        """
        columns = {name: self.column(name) for name in names}
        numbers = {n: c for n, c in columns.items() if isinstance(c, np.ndarray)}
        series = {n: c.alias(n) for n, c in columns.items() if isinstance(c, pl.Series)}
        series.update(self._as_series(numbers))
        return pl.DataFrame([series[name] for name in columns])

    def _as_series(self, numbers: Mapping[str, NDArray[np.floating]]) -> dict[str, pl.Series]:
        """Make series of arrays: cut from one long series, a third of the cost of one by one.

        Returns:
            The series by name.
        """
        found: dict[str, pl.Series] = {}
        names, n_rows = list(numbers), len(self.slates.items)
        n_columns = max(1, _BLOCK // max(1, n_rows))
        for start in range(0, len(names), n_columns):
            group = names[start : start + n_columns]
            block = np.empty((len(group), n_rows))
            for row, name in zip(block, group, strict=True):
                row[:] = numbers[name]
            whole = pl.Series("", block.ravel(), nan_to_null=True)
            for number, name in enumerate(group):
                found[name] = whole.slice(number * n_rows, n_rows).alias(name)
        return found

    def _ids(self, name: str) -> pl.Series:
        of_users = name == USER_ID
        ids = (self.reader.users if of_users else self.reader.items).ids
        if of_users:
            rows = self.slates.spread(self.reader.named_users(self.slates))
        else:
            rows = self.reader.named_items(self.slates)
        found = [ids[row] if row >= 0 else None for row in rows.tolist()]
        return pl.Series(name, found, dtype=pl.String)

    def _attribute(self, scope: str, name: str) -> NDArray[np.float64] | pl.Series:
        if scope == "context":
            return self._context(name)
        if scope == "candidate":
            return self._candidate(name)
        if scope == "item":
            entities, versions = self.reader.items, self.reader.item_versions(self.slates)
            profile = self.profile.items.get(name)
        else:
            entities = self.reader.users
            versions = self.slates.spread(self.reader.user_versions(self.slates)).astype(np.int32)
            profile = self.profile.users.get(name)
        if profile is None or profile.numeric:
            return _known_numbers(entities.numbers(name), versions)
        return entities.values(name, profile.dtype).gather(versions + 1).alias(f"{scope}.{name}")

    def _context(self, name: str) -> NDArray[np.float64] | pl.Series:
        values = [context.get(name) for context in self.slates.context]
        values += [None] * (len(self.slates) - len(values))
        profile = self.profile.context.get(name)
        if profile is None or profile.numeric:
            numbers = np.array([float(v) if isinstance(v, int | float) else np.nan for v in values])
            return self.slates.spread(numbers).astype(np.float64, copy=False)
        rows = np.repeat(np.arange(len(values)), self.slates.sizes)
        return pl.Series(f"context.{name}", values, dtype=profile.dtype, strict=False)[rows]

    def _candidate(self, name: str) -> NDArray[np.float64] | pl.Series:
        profile = self.profile.candidates.get(name)
        kind = profile.kind if profile else "number"
        return read_candidates(self.slates.candidates, name, len(self.slates.items), kind)


def item_columns(frame: Frame, names: Sequence[str], start: int) -> pl.DataFrame:
    """Lay attributes of items out by version.

    Args:
        frame: A batch, for its catalogue and profile.
        names: `item.NAME` of each column.
        start: First row; row 0 is an item about which nothing is known, version v is row v + 1.

    Returns:
        The columns from `start` on.
    """
    items, columns = frame.reader.items, []
    for name in names:
        attribute = name.removeprefix("item.")
        profile = frame.profile.items.get(attribute)
        if profile is None or profile.numeric:
            numbers = np.concatenate([[np.nan], items.numbers(attribute)])[start:]
            columns.append(pl.Series(name, numbers, nan_to_null=True))
        else:
            columns.append(items.values(attribute, profile.dtype)[start:].alias(name))
    return pl.DataFrame(columns)


def _known_numbers(
    numbers: NDArray[np.float64], versions: NDArray[np.int32]
) -> NDArray[np.float64]:
    if not len(numbers):
        return np.full(len(versions), np.nan)
    return np.where(versions >= 0, numbers[np.maximum(versions, 0)], np.nan)
