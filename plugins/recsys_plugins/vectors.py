"""Lists of numbers as columns: reduced to one number, or by their distance to the request's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from recsys.config import Section, parse_settings
from recsys.features.profile import LogProfile
from recsys.features.vocabulary import Feature
from recsys.hookspecs import hookimpl

Reducer = Literal["first", "last", "min", "max", "mean", "sum", "size", "norm"]


class Settings(Section):
    """The table `[settings.vectors]`.

    `reducers` of every list of numbers of items, users and requests; `elements`: that many first
    elements as columns of their own. Distances are offered where an item and a request, or an item
    and a user, have lists of numbers of one name.
    """

    reducers: tuple[Reducer, ...] = ("min", "max", "mean")
    elements: int = Field(default=0, ge=0, le=1024)


@hookimpl
def recsys_features(profile: LogProfile, settings: dict[str, Any]) -> list[Feature]:
    """Offer reductions and distances."""
    chosen = parse_settings(Settings, settings)
    scopes = {"item": profile.items, "user": profile.users, "context": profile.context}
    names = [
        f"{scope}.{name}"
        for scope, attributes in scopes.items()
        for name, attribute in attributes.items()
        if attribute.kind == "numbers"
    ]
    features = [f for name in names for f in _reduced(name, chosen)]
    for name in names:
        scope, _, attribute = name.partition(".")
        if scope != "item" and f"item.{attribute}" in names:
            features += _distances(f"item.{attribute}", name)
    return features


def _reduced(name: str, settings: Settings) -> list[Feature]:
    parts = pl.col(name).list
    of_request = not name.startswith("item.")
    exprs = {
        "first": parts.first(),
        "last": parts.last(),
        "min": parts.min(),
        "max": parts.max(),
        "mean": parts.mean(),
        "sum": parts.sum(),
        "size": parts.len(),
        "norm": parts.eval(pl.element() ** 2).list.sum().sqrt(),
    }
    chosen = {f"{name}_{reducer}": exprs[reducer] for reducer in settings.reducers}
    for place in range(settings.elements):
        chosen[f"{name}_{place}"] = parts.get(place, null_on_oob=True)
    return [Feature(name=n, expr=e, per_request=of_request) for n, e in chosen.items()]


def _distances(item: str, other: str) -> list[Feature]:
    columns = [pl.col(item), pl.col(other)]
    return [
        Feature(
            name=f"{item}_to_{other}_distance",
            expr=pl.map_batches(columns, _euclidean, return_dtype=pl.Float64),
            description=f"Euclidean distance of {item} from {other}",
        ),
        Feature(
            name=f"{item}_to_{other}_cosine",
            expr=pl.map_batches(columns, _cosine, return_dtype=pl.Float64),
            description=f"cosine similarity of {item} and {other}",
        ),
    ]


def _euclidean(columns: Sequence[pl.Series]) -> pl.Series:
    pairs = _paired(columns)
    return pairs.series(np.sqrt(pairs.sums((pairs.first - pairs.second) ** 2)))


def _cosine(columns: Sequence[pl.Series]) -> pl.Series:
    pairs = _paired(columns)
    norms = pairs.sums(pairs.first**2) * pairs.sums(pairs.second**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return pairs.series(pairs.sums(pairs.first * pairs.second) / np.sqrt(norms))


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Two lists of numbers per row, laid out end to end.

    Args:
        rows: bool (n_rows,): both lists are there, of one length and not empty.
        sizes: int64 (n,): elements of each such row.
        first: float64 (sum of sizes,): elements of the first list.
        second: float64 (sum of sizes,): elements of the second list.
    """

    rows: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add the elements of each row up."""
        if not len(self.sizes):
            return np.zeros(0)
        starts = np.cumsum(self.sizes) - self.sizes
        sums: NDArray[np.float64] = np.add.reduceat(values, starts)
        return sums

    def series(self, values: NDArray[np.float64]) -> pl.Series:
        """Put values of paired rows where they belong; the others are missing."""
        full = np.full(len(self.rows), np.nan)
        full[self.rows] = values
        return pl.Series(full, nan_to_null=True)


def _paired(columns: Sequence[pl.Series]) -> _Pairs:
    sizes = [column.list.len().fill_null(0).to_numpy() for column in columns]
    rows = (sizes[0] == sizes[1]) & (sizes[0] > 0)
    kept = columns if rows.all() else [column.filter(pl.Series(rows)) for column in columns]
    first, second = (column.explode().cast(pl.Float64).to_numpy() for column in kept)
    return _Pairs(rows, sizes[0][rows].astype(np.int64), first, second)
