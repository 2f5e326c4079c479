"""Finds at load time what can be known of features without any data: type, rows, never a number.

Expressions are resolved against the types of the columns that they read, then evaluated on five
made-up candidates. What they raise on made-up values is no error here: `recsys plugins check` runs
them on real ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import polars as pl

from recsys.errors import PluginError
from recsys.events.snapshot import snapshot_of
from recsys.features.actions import encode_log
from recsys.features.entities import ANONYMOUS, UNKNOWN
from recsys.features.frame import REQUEST, Frame
from recsys.features.offline import OfflineReader
from recsys.features.plan import EXPRESSION_FAILURES, FeaturePlan
from recsys.features.slates import one_slate
from recsys.features.vocabulary import Feature
from recsys.plugins.watchdog import run_within

#: Different, equal and missing values, so that an expression that drops or merges rows shows.
_NUMBERS: Final = ([None, 0, 1, 1, 2], [-1_000_000, -3, 5, 40, 1_000_000])
_TEXTS: Final = [None, "", "a", "a", "b c"]
_N_ROWS: Final = 5
_HOOK: Final = "recsys_features"


def probe_features(plan: FeaturePlan, budget_s: float) -> None:
    """Check every feature of a plan.

    Args:
        plan: Of all plugins.
        budget_s: Seconds that the features of one plugin may take.

    Raises:
        PluginError: A feature is not a number for each candidate.
    """
    frames = [_made_up_columns(plan, numbers) for numbers in _NUMBERS]
    by_plugin: dict[str, list[Feature]] = {}
    for feature in plan.features:
        by_plugin.setdefault(plan.owners[feature.name], []).append(feature)
    for plugin, features in by_plugin.items():
        run_within(budget_s, plugin, _HOOK, partial(_probe, plugin, features, frames))


def _made_up_columns(plan: FeaturePlan, numbers: Sequence[int | None]) -> pl.DataFrame:
    """Make all columns that any feature reads, of the types that they have in the frame.

    Returns:
        Five rows.
    """
    slates = one_slate(ANONYMOUS, 0, np.full(1, UNKNOWN, dtype=np.int32))
    reader = OfflineReader(encode_log(snapshot_of([])))
    frame = Frame(slates, reader, {}, plan.profile, {})
    numeric = {*plan.aggregates, *(c for model in plan.models.values() for c in model.columns)}
    names = sorted({name for f in plan.features for name in f.expr.meta.root_names()} - {REQUEST})
    columns = [
        pl.Series(
            name, _values(pl.Float64() if name in numeric else frame.series(name).dtype, numbers)
        )
        for name in names
    ]
    requests = pl.Series(REQUEST, np.zeros(_N_ROWS, dtype=np.int64))
    return pl.DataFrame([*columns, requests])


def _values(dtype: pl.DataType, numbers: Sequence[int | None]) -> pl.Series:
    if isinstance(dtype, pl.List):
        inner: Any = dtype.inner
        return pl.Series([None, [], *([v] for v in _values(inner, numbers)[2:])], dtype=dtype)
    found = _TEXTS if dtype == pl.String else numbers
    return pl.Series(found, strict=False).cast(dtype)


def _probe(plugin: str, features: Sequence[Feature], frames: Sequence[pl.DataFrame]) -> None:
    for feature in features:
        expr = feature.expr.over(REQUEST) if feature.listwise else feature.expr
        expr = expr.alias("value")
        cause = _type_problem(expr, frames[0]) or _value_problem(expr, frames)
        if cause:
            raise PluginError(plugin, _HOOK, f"feature {feature.name} {cause}")


def _type_problem(expr: pl.Expr, columns: pl.DataFrame) -> str:
    try:
        dtype = columns.lazy().select(expr).collect_schema()["value"]
        # Without rows no value can be at fault: what fails here does not fit the types.
        columns.clear().select(expr)
    except pl.exceptions.PolarsError as error:
        return f"cannot be evaluated: {error}"
    except EXPRESSION_FAILURES:
        return ""
    is_number = dtype.is_numeric() or dtype in {pl.Boolean, pl.Null, pl.Unknown}
    return "" if is_number else f"is of type {dtype}; expected a number or boolean"


def _value_problem(expr: pl.Expr, frames: Sequence[pl.DataFrame]) -> str:
    found: list[pl.Series] = []
    for columns in frames:
        try:
            found.append(columns.select(expr)["value"])
        except pl.exceptions.ShapeError as error:
            return f"returns another number of rows than candidates: {error}"
        except EXPRESSION_FAILURES:
            return ""
    n_rows = len(found[0])
    if expr.meta.root_names() and n_rows == 1:
        return "is one value for the whole list; expected one per candidate, or listwise=True"
    if n_rows not in {1, _N_ROWS}:
        return f"returns {n_rows} rows for {_N_ROWS} candidates; expected one per candidate"
    if all(_is_never_a_number(values) for values in found):
        return "is NaN or infinite for every candidate; expected numbers, null where missing"
    return ""


def _is_never_a_number(values: pl.Series) -> bool:
    there = values.drop_nulls()
    return there.dtype.is_float() and len(there) > 0 and not there.is_finite().any()
