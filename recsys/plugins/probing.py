"""Finds at load time what can be known of expressions without data: type, rows, never a number.

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
from recsys.features.entities import ANONYMOUS, UNKNOWN
from recsys.features.frame import AS_OF, ITEM_ID, REQUEST, USER_ID, Frame
from recsys.features.matrix import EXPRESSION_FAILURES
from recsys.features.plan import FeaturePlan
from recsys.features.slates import one_slate
from recsys.features.vocabulary import Feature
from recsys.hookspecs import Filter
from recsys.plugins.watchdog import run_within

#: Different, equal and missing values, so that an expression that drops or merges rows shows.
_NUMBERS: Final = ([None, 0, 1, 1, 2], [-1_000_000, -3, 5, 40, 1_000_000])
_TEXTS: Final = [None, "", "a", "a", "b c"]
_N_ROWS: Final = 5
_SCOPES: Final = ("item.", "user.", "context.", "candidate.")
_FEATURES: Final = "recsys_features"
_FILTERS: Final = "recsys_filters"


def probe_features(plan: FeaturePlan, budget_s: float) -> None:
    """Check every feature of a plan.

    Args:
        plan: Of all plugins.
        budget_s: Seconds that the features of one plugin may take.

    Raises:
        PluginError: A feature is not a number for each candidate.
    """
    frames = _made_up_columns(plan, [feature.expr for feature in plan.features])
    by_plugin: dict[str, list[Feature]] = {}
    for feature in plan.features:
        by_plugin.setdefault(plan.owners[feature.name], []).append(feature)
    for plugin, features in by_plugin.items():
        call = partial(_probe, plugin, features, frames, _attributes(plan))
        run_within(budget_s, plugin, _FEATURES, call)


def probe_filters(
    plan: FeaturePlan, filters: Sequence[tuple[str, Filter]], budget_s: float
) -> None:
    """Check every filter.

    Args:
        plan: Of all plugins.
        filters: (plugin, filter) pairs.
        budget_s: Seconds that one filter may take.

    Raises:
        PluginError: A filter is not a yes or no for each candidate.
    """
    frames = _made_up_columns(plan, [rule.keep for _, rule in filters])
    for plugin, rule in filters:
        call = partial(_probe_filter, plugin, rule, frames, _attributes(plan))
        run_within(budget_s, plugin, _FILTERS, call)


def _made_up_columns(plan: FeaturePlan, exprs: Sequence[pl.Expr]) -> list[pl.DataFrame]:
    """Make all columns that any expression reads, of the types that they have in the frame.

    Returns:
        Five rows of ordinary numbers, and five of others.
    """
    # The executions bring a compiler; commands that only load plugins do without.
    from recsys.features.actions import encode_log
    from recsys.features.offline import OfflineReader

    slates = one_slate(ANONYMOUS, 0, np.full(1, UNKNOWN, dtype=np.int32))
    reader = OfflineReader(encode_log(snapshot_of([])))
    frame = Frame(slates, reader, {}, plan.profile, {})
    numeric = {*plan.aggregates, *(c for model in plan.models.values() for c in model.columns)}
    names = sorted({name for expr in exprs for name in expr.meta.root_names()} - {REQUEST})
    # What nobody offers is left out: the expression that reads it says so itself.
    own = {*numeric, AS_OF, ITEM_ID, USER_ID}
    known = [name for name in names if name in own or name.startswith(_SCOPES)]
    types = {n: pl.Float64() if n in numeric else frame.data([n]).dtypes[0] for n in known}
    requests = pl.Series(REQUEST, np.zeros(_N_ROWS, dtype=np.int64))
    return [
        pl.DataFrame([*(pl.Series(n, _values(t, numbers)) for n, t in types.items()), requests])
        for numbers in _NUMBERS
    ]


def _values(dtype: pl.DataType, numbers: Sequence[int | None]) -> pl.Series:
    if isinstance(dtype, pl.List):
        inner: Any = dtype.inner
        return pl.Series([None, [], *([v] for v in _values(inner, numbers)[2:])], dtype=dtype)
    found = _TEXTS if dtype == pl.String else numbers
    return pl.Series(found, strict=False).cast(dtype)


def _attributes(plan: FeaturePlan) -> set[str]:
    return {f"{scope}.{name}" for scope, found in plan.profile.scopes.items() for name in found}


def _probe(
    plugin: str,
    features: Sequence[Feature],
    frames: Sequence[pl.DataFrame],
    attributes: set[str],
) -> None:
    for feature in features:
        expr = feature.expr.over(REQUEST) if feature.listwise else feature.expr
        expr = expr.alias("value")
        cause = _type_problem(expr, frames[0]) or _value_problem(expr, frames)
        if not (cause or feature.listwise):
            cause = _list_problem(expr, frames[-1])
        if cause:
            read = {n for n in feature.expr.meta.root_names() if n.startswith(_SCOPES)}
            absent = ", ".join(sorted(read - attributes))
            hint = (
                f" (no event of the log carries {absent}; ask the profile first)" if absent else ""
            )
            raise PluginError(plugin, _FEATURES, f"feature {feature.name} {cause}{hint}")


def _probe_filter(
    plugin: str, rule: Filter, frames: Sequence[pl.DataFrame], attributes: set[str]
) -> None:
    expr = rule.keep.alias("value")
    cause = _type_problem(expr, frames[0], expected="boolean") or _value_problem(expr, frames)
    if cause:
        absent = {n for n in rule.keep.meta.root_names() if n.startswith(_SCOPES)} - attributes
        hint = f" (no event of the log carries {', '.join(sorted(absent))})" if absent else ""
        asked = [name.removeprefix("context.") for name in absent if name.startswith("context.")]
        if asked:
            hint = f'{hint}; expected Filter(..., context={{"{min(asked)}": KIND}})'
        raise PluginError(plugin, _FILTERS, f"filter {rule.name} {cause}{hint}")


def _type_problem(expr: pl.Expr, columns: pl.DataFrame, expected: str = "number or boolean") -> str:
    try:
        dtype = columns.lazy().select(expr).collect_schema()["value"]
        # Without rows no value can be at fault: what fails here does not fit the types.
        columns.clear().select(expr)
    except pl.exceptions.PolarsError as error:
        return f"cannot be evaluated: {str(error).splitlines()[0]}"
    except EXPRESSION_FAILURES:
        return ""
    fits = dtype in {pl.Boolean, pl.Null, pl.Unknown}
    fits |= expected != "boolean" and dtype.is_numeric()
    return "" if fits else f"is of type {dtype}; expected a {expected}"


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


def _list_problem(expr: pl.Expr, columns: pl.DataFrame) -> str:
    """Find an expression that looks at other candidates without saying so, such as a rank.

    Whatever batch a candidate stands in would change its value, in training another one than while
    serving; the parts of the contract would find that as well, under names that mislead.

    Returns:
        What is wrong, and the remedy; empty: nothing is known to be.
    """
    rows = range(1, _N_ROWS - 1)
    try:
        together = [columns.select(expr)["value"] for _ in range(2)]
        alone = [columns.slice(row, 1).select(expr)["value"] for row in rows]
    except EXPRESSION_FAILURES:
        return ""
    is_single = len(together[0]) == 1  # the expression reads no column
    if not is_single and not _same(*together):
        return ""  # differs every time: that is another fault, which the contract names
    wanted = [together[0] if is_single else together[0].slice(row, 1) for row in rows]
    if all(_same(one, other) for one, other in zip(alone, wanted, strict=True)):
        return ""
    return (
        "depends on the other candidates (alone, a candidate has another value);"
        " expected listwise=True, or an expression of the candidate only"
    )


def _same(one: pl.Series, other: pl.Series) -> bool:
    missing = one.is_null().equals(other.is_null())
    mine, theirs = (values.cast(pl.Float64).fill_null(0.0).to_numpy() for values in (one, other))
    return missing and np.allclose(mine, theirs, rtol=1e-9, atol=0.0, equal_nan=True)


def _is_never_a_number(values: pl.Series) -> bool:
    there = values.drop_nulls()
    return there.dtype.is_float() and len(there) > 0 and not there.is_finite().any()
