"""From columns to the ranker's matrix: as little as possible through expressions.

A feature of the item's attributes alone has one value per version of the item, computed when the
version is first asked for. Columns of numbers and what is mere arithmetic over them are computed by
one compiled loop. Everything else goes through one polars `select` per batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.errors import PluginError, told
from recsys.features.arithmetic import Arithmetic, Program
from recsys.features.frame import AS_OF, REQUEST, Frame, item_columns
from recsys.features.profile import LogProfile
from recsys.features.vocabulary import Aggregate, Feature

#: What evaluating an expression may raise: polars' errors and, where it calls Python, any other.
EXPRESSION_FAILURES: Final = (Exception, pl.exceptions.PanicException)

_ITEM: Final = "item."


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the matrix.

    Args:
        position: Of the column.
        feature: What it holds.
        roots: Names of the columns that its expression reads.
        owner: Plugin that offers it.
        alone: Its expression, for a batch of one request.
        grouped: Its expression, for a batch of several.
    """

    position: int
    feature: Feature
    roots: tuple[str, ...]
    owner: str
    alone: pl.Expr
    grouped: pl.Expr

    @property
    def key(self) -> str:
        """Name under which values by version are kept: another expression has another one."""
        return f"{self.feature.name}={self.feature.expr}"


@dataclass(frozen=True)
class Layout:
    """How each column of a matrix is made.

    Args:
        n_columns: All of them.
        aggregates: What is read for every candidate.
        request_aggregates: What is read once per request.
        arithmetic: Columns that the program computes.
        program: Computes them.
        by_version: Columns with one value per version of an item.
        derived: Columns that need a `select`.
        per_request: Columns with one value per request.
    """

    n_columns: int
    aggregates: tuple[Aggregate, ...]
    request_aggregates: tuple[Aggregate, ...]
    arithmetic: tuple[Column, ...]
    program: Program
    by_version: tuple[Column, ...]
    derived: tuple[Column, ...]
    per_request: tuple[Column, ...]

    @cached_property
    def arithmetic_positions(self) -> NDArray[np.int64]:
        """Where the program's columns go."""
        return np.array([column.position for column in self.arithmetic], dtype=np.int64)

    @cached_property
    def versions_key(self) -> tuple[str, ...]:
        """Name under which values by version are kept."""
        return tuple(column.key for column in self.by_version)

    @cached_property
    def versions_positions(self) -> list[int]:
        """Where values by version go."""
        return [column.position for column in self.by_version]


def make_layout(
    features: Sequence[Feature],
    owners: Mapping[str, str],
    *,
    aggregates: Mapping[str, Aggregate],
    scores: set[str],
    profile: LogProfile,
) -> Layout:
    """Decide once per plan how each column is made.

    Args:
        features: In order of the columns.
        owners: Plugin of each feature.
        aggregates: By name.
        scores: Columns of feature models.
        profile: Kinds of the attributes.

    Returns:
        The layout.
    """
    kinds: dict[str, list[Column]] = {
        name: [] for name in ("arithmetic", "by_version", "derived", "requests")
    }
    arithmetic = Arithmetic(
        lambda name: name in aggregates or name in scores or _is_number(name, profile),
        exact=frozenset({AS_OF}),
    )
    for position, feature in enumerate(features):
        column = _column(position, feature, owners.get(feature.name, "unknown"))
        of_item = bool(column.roots) and all(root.startswith(_ITEM) for root in column.roots)
        if of_item and not feature.listwise:
            kinds["by_version"].append(column)
        elif arithmetic.take(feature.expr, listwise=feature.listwise):
            kinds["arithmetic"].append(column)
        else:
            kinds["requests" if feature.per_request else "derived"].append(column)

    return Layout(
        n_columns=len(features),
        aggregates=_read_by([*kinds["arithmetic"], *kinds["derived"]], aggregates),
        request_aggregates=_read_by(kinds["requests"], aggregates),
        arithmetic=tuple(kinds["arithmetic"]),
        program=arithmetic.program(),
        by_version=tuple(kinds["by_version"]),
        derived=tuple(kinds["derived"]),
        per_request=tuple(kinds["requests"]),
    )


def _read_by(
    columns: Sequence[Column], aggregates: Mapping[str, Aggregate]
) -> tuple[Aggregate, ...]:
    roots = {root for column in columns for root in column.roots}
    return tuple(a for name, a in aggregates.items() if name in roots)


def _column(position: int, feature: Feature, owner: str) -> Column:
    roots = tuple(dict.fromkeys(feature.expr.meta.root_names()))
    alone = feature.expr.alias(feature.name)
    # A single request is its own group; grouping it costs more than most expressions.
    grouped = feature.expr.over(REQUEST).alias(feature.name) if feature.listwise else alone
    return Column(position, feature, roots, owner, alone, grouped)


def _is_number(name: str, profile: LogProfile) -> bool:
    scope, _, attribute = name.partition(".")
    scopes = profile.scopes
    if scope not in scopes or not attribute:
        return False
    found = scopes[scope].get(attribute)
    return found is None or found.numeric


def compute_matrix(layout: Layout, frame: Frame) -> NDArray[np.float32]:
    """Compute all columns.

    Args:
        layout: How.
        frame: The batch.

    Returns:
        float32 (n_candidates, n_columns): NaN is missing, never infinite.

    Raises:
        PluginError: An expression failed or gave another number of rows.
    """
    slates = frame.slates
    frame.read(layout.aggregates)
    matrix = np.empty((len(slates.items), layout.n_columns), dtype=np.float32, order="F")
    # A number that no float32 holds becomes infinite, and what is infinite is missing.
    with np.errstate(over="ignore"):
        if layout.arithmetic:
            known = frame.known  # most of them, and asked for without a call
            numbers = [
                known[name] if name in known else frame.numbers(name)
                for name in layout.program.columns
            ]
            layout.program.run(numbers, slates, matrix, layout.arithmetic_positions)
        if layout.by_version:
            versions = frame.reader.item_versions(slates)
            matrix[:, layout.versions_positions] = _by_version(layout, frame)[versions + 1]
        if layout.derived:
            for column, values in _select(frame, layout.derived):
                matrix[:, column.position] = values
        if layout.per_request:
            heads = Frame(slates.heads(), frame.reader, frame.aggregates, frame.profile, {})
            heads.read(layout.request_aggregates)
            for column, values in _select(heads, layout.per_request):
                matrix[:, column.position] = slates.spread(values)
    # Plans are made by commands that compute nothing; those do without the compiler.
    from recsys.features.arithmetic_loops import miss_what_is_infinite

    miss_what_is_infinite(matrix.T.reshape(-1))
    return matrix


def _by_version(layout: Layout, frame: Frame) -> NDArray[np.float32]:
    """Give the values of all versions, computing those of versions that are new.

    Returns:
        float32 (n_versions + 1, n_columns): version row v stands at v + 1; first, an unknown item.
    """
    columns = layout.by_version

    def compute(start: int) -> NDArray[np.float32]:
        names = sorted({root for column in columns for root in column.roots})
        data = item_columns(frame, names, start)
        found = np.empty((data.height, len(columns)), dtype=np.float32)
        for position, (_, values) in enumerate(_evaluate(data, columns, alone=True)):
            found[:, position] = values
        return found

    return frame.reader.items.derived(layout.versions_key, compute)


def _select(frame: Frame, columns: Sequence[Column]) -> Iterator[tuple[Column, NDArray[Any]]]:
    names = {root for column in columns for root in column.roots}
    alone = len(frame.slates) == 1
    if not names or not alone:
        names.add(REQUEST)
    return _evaluate(frame.data(sorted(names)), columns, alone=alone)


def _evaluate(
    data: pl.DataFrame, columns: Sequence[Column], *, alone: bool
) -> Iterator[tuple[Column, NDArray[Any]]]:
    try:
        selected = data.select([c.alone if alone else c.grouped for c in columns])
        found = [_numbers(series) for series in selected.iter_columns()]
    except EXPRESSION_FAILURES as error:
        raise _culprit(data, columns) from error
    if selected.height != data.height:
        raise _culprit(data, columns)
    return zip(columns, found, strict=True)


def _culprit(data: pl.DataFrame, columns: Sequence[Column]) -> PluginError:
    """Find the feature that broke a select by evaluating them one by one.

    Returns:
        The error that names it.
    """
    for column in columns:
        hook = f"feature {column.feature.name}"
        try:
            found = data.select(column.alone.cast(pl.Float32))
        except EXPRESSION_FAILURES as error:
            return PluginError(column.owner, hook, told(error))
        if found.height not in {1, data.height}:
            cause = f"returned shape {found.shape}; expected {(data.height, 1)}"
            return PluginError(column.owner, hook, cause)
    names = ", ".join(column.feature.name for column in columns)
    return PluginError("unknown", "features", f"fail together but not alone: {names}")


def _numbers(series: pl.Series) -> NDArray[Any]:
    values: NDArray[Any] = series.to_numpy()
    if values.dtype.kind != "f" or not series.dtype.is_float():
        values = series.cast(pl.Float32).to_numpy()
    return values
