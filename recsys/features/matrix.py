"""From columns to the ranker's matrix: as little as possible through expressions.

A feature that is an aggregate, a score or a number of an item or user is copied. A feature of the
item's attributes alone has one value per version of the item, computed when the version is first
asked for. Everything else goes through one polars `select` per batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.errors import PluginError, told
from recsys.features.frame import REQUEST, Frame, item_columns
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
    """

    position: int
    feature: Feature
    roots: tuple[str, ...]
    owner: str

    @property
    def key(self) -> str:
        """Name under which values by version are kept: another expression has another one."""
        return f"{self.feature.name}={self.feature.expr}"


@dataclass(frozen=True, slots=True)
class Layout:
    """How each column of a matrix is made.

    Args:
        n_columns: All of them.
        aggregates: What is read.
        plain: Columns that are copied.
        by_version: Columns with one value per version of an item.
        derived: Columns that need a `select`.
        per_request: Columns with one value per request.
    """

    n_columns: int
    aggregates: tuple[Aggregate, ...]
    plain: tuple[Column, ...]
    by_version: tuple[Column, ...]
    derived: tuple[Column, ...]
    per_request: tuple[Column, ...]


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
    kinds: dict[str, list[Column]] = {"plain": [], "by_version": [], "derived": [], "requests": []}
    read: set[str] = set()
    for position, feature in enumerate(features):
        roots = tuple(dict.fromkeys(feature.expr.meta.root_names()))
        read.update(roots)
        column = Column(position, feature, roots, owners.get(feature.name, "unknown"))
        numeric = feature.expr.meta.is_column() and (
            roots[0] in aggregates or roots[0] in scores or _is_number(roots[0], profile)
        )
        of_item = bool(roots) and all(root.startswith(_ITEM) for root in roots)
        if numeric:
            kinds["plain"].append(column)
        elif of_item and not feature.listwise:
            kinds["by_version"].append(column)
        else:
            kinds["requests" if feature.per_request else "derived"].append(column)
    return Layout(
        n_columns=len(features),
        aggregates=tuple(a for name, a in aggregates.items() if name in read),
        plain=tuple(kinds["plain"]),
        by_version=tuple(kinds["by_version"]),
        derived=tuple(kinds["derived"]),
        per_request=tuple(kinds["requests"]),
    )


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
    # Together, so that aggregates with one key share one walk; the frame then finds them read.
    frame.reader.read_many(layout.aggregates, slates)
    matrix = np.empty((len(slates.items), layout.n_columns), dtype=np.float32, order="F")
    for column in layout.plain:
        matrix[:, column.position] = frame.column(column.roots[0])
    if layout.by_version:
        versions = frame.reader.item_versions(slates)
        for column in layout.by_version:
            matrix[:, column.position] = _by_version(column, frame)[versions + 1]
    for columns, part in ((layout.derived, frame), (layout.per_request, None)):
        if not columns:
            continue
        shown = part or Frame(slates.heads(), frame.reader, frame.aggregates, frame.profile, {})
        for column, values in zip(columns, _select(shown, columns), strict=True):
            matrix[:, column.position] = values if part else slates.spread(values)
    matrix[~np.isfinite(matrix)] = np.nan
    return matrix


def _by_version(column: Column, frame: Frame) -> NDArray[np.float64]:
    """Give the values of all versions, computing those of versions that are new.

    Returns:
        float64 (n_versions + 1,): version row v stands at v + 1; first, an unknown item.
    """

    def compute(start: int) -> NDArray[np.float64]:
        data = item_columns(frame, column.roots, start)
        requests = pl.Series(REQUEST, np.zeros(data.height, dtype=np.int64))
        (values,) = _evaluate(data.with_columns(requests), [column], alone=True)
        return values.astype(np.float64)

    return frame.reader.items.derived(column.key, compute)


def _select(frame: Frame, columns: Sequence[Column]) -> list[NDArray[np.float32]]:
    names = {root for column in columns for root in column.roots} | {REQUEST}
    data = pl.DataFrame([frame.series(name) for name in sorted(names)])
    return _evaluate(data, columns, alone=len(frame.slates) == 1)


def _evaluate(
    data: pl.DataFrame, columns: Sequence[Column], *, alone: bool
) -> list[NDArray[np.float32]]:
    try:
        selected = data.select(_numeric(column.feature, alone=alone) for column in columns)
    except EXPRESSION_FAILURES as error:
        raise _culprit(data, columns) from error
    if selected.height != data.height:
        raise _culprit(data, columns)
    return [_floats(column) for column in selected.iter_columns()]


def _culprit(data: pl.DataFrame, columns: Sequence[Column]) -> PluginError:
    """Find the feature that broke a select by evaluating them one by one.

    Returns:
        The error that names it.
    """
    for column in columns:
        hook = f"feature {column.feature.name}"
        try:
            found = data.select(_numeric(column.feature, alone=False))
        except EXPRESSION_FAILURES as error:
            return PluginError(column.owner, hook, told(error))
        if found.height not in {1, data.height}:
            cause = f"returned shape {found.shape}; expected {(data.height, 1)}"
            return PluginError(column.owner, hook, cause)
    names = ", ".join(column.feature.name for column in columns)
    return PluginError("unknown", "features", f"fail together but not alone: {names}")


def _numeric(feature: Feature, *, alone: bool) -> pl.Expr:
    # A single request is its own group; grouping it costs more than most expressions.
    grouped = feature.listwise and not alone
    expr = feature.expr.over(REQUEST) if grouped else feature.expr
    return expr.cast(pl.Float32).alias(feature.name)


def _floats(column: pl.Series) -> NDArray[np.float32]:
    values: NDArray[np.float32] = column.to_numpy()
    return values
