"""What a caller says of the candidates within one request, such as a relevancy: as columns.

A value belongs to one item in one list. Past ones are the `item_attributes` of impressions, those
of a request come with it; both become the columns that `candidate.NAME` reads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.features.profile import DTYPES, Kind, kind_of_value
from recsys.schema import Attributes, AttributeValue

#: Numbers, NaN where missing, or a polars series of texts or lists, null where missing.
CandidateColumn: TypeAlias = NDArray[np.float64] | pl.Series
#: By name and kind of the values; booleans are numbers. Values of a name may be of several kinds.
CandidateColumns: TypeAlias = Mapping[tuple[str, Kind], CandidateColumn]

_NUMBER: Final[Kind] = "number"
_NUMERIC: Final = frozenset({"number", "boolean"})


def candidate_columns(
    said: Iterable[tuple[int, Attributes]], n_candidates: int
) -> dict[tuple[str, Kind], CandidateColumn]:
    """Lay out what was said of candidates.

    Args:
        said: Positions of candidates with their attributes.
        n_candidates: All of them.

    Returns:
        (n_candidates,) by name and kind.
    """
    values: dict[tuple[str, Kind], list[tuple[int, AttributeValue]]] = defaultdict(list)
    for position, attributes in said:
        for name, value in attributes.items():
            kind = kind_of_value(value)
            values[name, _NUMBER if kind in _NUMERIC else kind].append((position, value))
    found: dict[tuple[str, Kind], CandidateColumn] = {}
    for (name, kind), pairs in values.items():
        rows: list[AttributeValue | None] = [None] * n_candidates
        for position, value in pairs:
            rows[position] = value
        found[name, kind] = number_column(rows) if kind == _NUMBER else text_column(rows, kind)
    return found


def number_column(values: Iterable[object]) -> NDArray[np.float64]:
    """Lay numbers out.

    Args:
        values: One per candidate, None where there is none.

    Returns:
        float64 (n_candidates,): NaN where a value is missing or not finite.
    """
    numbers = np.array(list(values), dtype=np.float64)
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def text_column(values: Iterable[object], kind: Kind = "string") -> pl.Series:
    """Lay texts or lists out.

    Args:
        values: One per candidate, None where there is none.
        kind: Of all that are there.

    Returns:
        (n_candidates,)
    """
    return pl.Series(list(values), dtype=DTYPES[kind])


def read_candidates(
    columns: CandidateColumns, name: str, n_candidates: int, kind: Kind
) -> CandidateColumn:
    """Read a column in the form that the profile of the log gives it.

    Args:
        columns: What was said.
        name: Of the attribute.
        n_candidates: How long a column is.
        kind: Of its values.

    Returns:
        (n_candidates,): missing where nothing of this kind was said.
    """
    is_number = kind in _NUMERIC
    found = columns.get((name, _NUMBER if is_number else kind))
    if found is not None:
        return found
    if is_number:
        return np.full(n_candidates, np.nan)
    return pl.repeat(None, n_candidates, dtype=DTYPES[kind], eager=True)


def chosen_candidates(
    columns: CandidateColumns, rows: slice | NDArray[np.int64]
) -> dict[tuple[str, Kind], CandidateColumn]:
    """Choose candidates.

    Args:
        columns: Of all of them.
        rows: Positions.

    Returns:
        The same columns with the chosen ones, in the given order.
    """
    return {key: column[rows] for key, column in columns.items()}


def said_of(columns: CandidateColumns, n_candidates: int) -> dict[str, list[AttributeValue | None]]:
    """Write columns down.

    Args:
        columns: What was said.
        n_candidates: How long a column is.

    Returns:
        One value per candidate by name, None where it is missing.
    """
    written: dict[str, list[AttributeValue | None]] = {}
    for (name, _), column in columns.items():
        values = pl.Series(column, nan_to_null=True) if isinstance(column, np.ndarray) else column
        rows = written.setdefault(name, [None] * n_candidates)
        for position, value in enumerate(values.to_list()):
            if value is not None:
                rows[position] = value
    return written
