"""Arithmetic that is compiled gives what polars gives."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.features.arithmetic import Arithmetic
from recsys.features.slates import Slates

COLUMNS = ("a", "b", "c")
NUMBERS = st.one_of(
    st.none(), st.sampled_from([0.0, -0.0, 1.0, -3.5, 1e300, 1e-300, 7.0]), st.floats(-1e6, 1e6)
)
OPERATORS = ("__add__", "__sub__", "__mul__", "__truediv__")


@st.composite
def expressions(draw: st.DrawFn, depth: int = 3) -> pl.Expr:
    column = pl.col(draw(st.sampled_from(COLUMNS)))
    if depth == 0:
        return column
    kind = draw(st.sampled_from(["column", "fill", "negate", "abs", "constant", "both"]))
    if kind == "column":
        return column
    if kind == "fill":
        return column.fill_null(draw(st.sampled_from([0.0, 2, -1.5])))
    part = draw(expressions(depth=depth - 1))
    if kind == "negate":
        return -part
    if kind == "abs":
        return part.abs()
    operator = draw(st.sampled_from(OPERATORS))
    constant = draw(st.sampled_from([1.0, 2, 0.25, -3, 0]))
    other = constant if kind == "constant" else draw(expressions(depth=depth - 1))
    return getattr(part, operator)(other)


def slates_of(sizes: list[int]) -> Slates:
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    n = len(sizes)
    users, instants = np.zeros(n, dtype=np.int32), np.zeros(n, dtype=np.int64)
    return Slates(users, instants, np.zeros(offsets[-1], dtype=np.int32), offsets)


def run(exprs: list[pl.Expr], data: pl.DataFrame, sizes: list[int]) -> np.ndarray:
    arithmetic = Arithmetic(lambda name: name in COLUMNS, exact=frozenset({"as_of"}))
    assert all(arithmetic.take(expr, listwise=True) for expr in exprs)
    program = arithmetic.program()
    columns = [data[name].to_numpy() for name in program.columns]
    out = np.full((data.height, len(exprs) + 1), -7, dtype=np.float32, order="F")
    with np.errstate(over="ignore"):
        program.run(columns, slates_of(sizes), out, np.arange(1, len(exprs) + 1))
    assert (out[:, 0] == -7).all()
    return out[:, 1:]


def expected(exprs: list[pl.Expr], data: pl.DataFrame) -> np.ndarray:
    selected = data.select(e.cast(pl.Float32).alias(str(i)) for i, e in enumerate(exprs))
    return np.stack([column.to_numpy() for column in selected.iter_columns()], axis=1)


@settings(deadline=None, max_examples=150)
@given(st.lists(expressions(), min_size=1, max_size=4), st.data())
def test_compiled_arithmetic_is_that_of_polars(exprs: list[pl.Expr], draw: st.DataObject) -> None:
    rows = draw.draw(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=2, max_size=6))
    data = pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.Float64), orient="row")
    found, wanted = run(exprs, data, [len(rows)]), expected(exprs, data)
    np.testing.assert_allclose(
        np.where(np.isfinite(found), found, np.nan),
        np.where(np.isfinite(wanted), wanted, np.nan),
        rtol=1e-6,
        atol=1e-30,
    )


def test_statistics_are_those_of_each_list() -> None:
    data = pl.DataFrame({"a": [1.0, 2.0, None, 4.0, 9.0, None], "request": [0, 0, 0, 1, 1, 2]})
    column = pl.col("a")
    exprs = [column - column.mean(), column / column.max(), column.min() + 0, column.sum() * 1]
    found = run(exprs, data, [3, 2, 1])
    wanted = expected([expr.over("request") for expr in exprs], data)
    np.testing.assert_array_equal(found, wanted)


def test_many_rows_pass_in_pieces() -> None:
    n = 70_001
    data = pl.DataFrame({"a": np.arange(n) / 7, "b": np.arange(n) % 11})
    data = data.with_columns(pl.col("b").cast(pl.Float64))
    exprs = [pl.col("a") / (pl.col("b") + 1), pl.col("a") - pl.col("a").mean()]
    found, wanted = run(exprs, data, [n]), expected(exprs, data)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


def test_a_part_that_stands_in_several_expressions_is_computed_once() -> None:
    arithmetic = Arithmetic(lambda name: name in COLUMNS, exact=frozenset())
    rate = (pl.col("a") + 1) / (pl.col("b") + 10)
    for expr in (rate, (pl.col("c") + 5 * rate) / rate):
        assert arithmetic.take(expr, listwise=False)
    # a + 1, b + 10, their quotient; 5 * rate, c + that, by the rate
    assert len(arithmetic.program().steps) == 6


@pytest.mark.parametrize(
    "expr",
    [
        pl.col("text") + 1,
        pl.col("a").log1p(),
        pl.col("a").mean(),
        pl.col("a").rank(),
        (pl.col("a") + pl.col("b")).fill_null(0.0),
        pl.col("a").fill_null(pl.col("b")),
        pl.when(pl.col("a") > 1).then(1.0).otherwise(2.0),
        pl.col("as_of") * 3,
        pl.lit(1.0) + pl.lit(2.0),
        pl.lit(5.0),
        pl.col("a") + pl.lit("x"),
        pl.col("a") // 2,
        pl.col("a") % 49,
        pl.col("as_of") // -2,
        pl.col("as_of") % 0,
        pl.col("as_of") % 2.0,
        pl.col("a") // pl.col("b"),
        pl.col("a").map_elements(lambda value: value, return_dtype=pl.Float64),
        pl.col("a").mean().over("b"),
    ],
)
def test_what_is_more_than_arithmetic_is_left_to_polars(expr: pl.Expr) -> None:
    arithmetic = Arithmetic(lambda name: name in COLUMNS, exact=frozenset({"as_of"}))
    assert not arithmetic.take(expr, listwise=False)
    assert arithmetic.take(pl.col("as_of") / 1_000_000 - pl.col("a"), listwise=False)


def test_hours_and_days_of_instants_are_exact() -> None:
    day_us = 86_400_000_000
    days = np.arange(0, 60_000, 997) * day_us
    instants = np.concatenate([days, days + 1, days[1:] - 1, days + day_us // 2 + 1])
    data = pl.DataFrame({"as_of": instants})
    as_of = pl.col("as_of")
    exprs = [(as_of % day_us) / 3.6e9, (as_of // day_us + 3) % 7, (as_of // 49 - 3) // 7]
    np.testing.assert_array_equal(run(exprs, data, [len(instants)]), expected(exprs, data))
