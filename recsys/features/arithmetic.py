"""Expressions that are plain arithmetic, evaluated together by one compiled loop.

Features are polars expressions. Most of them only add, divide and subtract a list's mean, and for a
request of a hundred rows polars spends several microseconds on every operator, much more than on
the rows. Such expressions are read once, parts that stand in several of them are kept once, and all
run in one loop over the rows, in blocks that stay in the cache. Everything else is left to polars.

Both executions use this, so they agree to the bit; with polars it agrees to the last rounding of a
float64 (tests/features/test_arithmetic.py). NaN stands for null. That is exact as long as null is
only asked for where it can be told from NaN, in the columns themselves: `fill_null` and the means
of lists are taken over for columns only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.features.operations import (
    ABSOLUTE,
    ADD,
    DIVIDE,
    FILL,
    FLOOR_DIVIDE,
    MAX,
    MEAN,
    MIN,
    MODULO,
    MULTIPLY,
    NEGATE,
    SUBTRACT,
    SUM,
)
from recsys.features.slates import Slates

_BINARY: Final = {
    "Plus": ADD,
    "Minus": SUBTRACT,
    "Multiply": MULTIPLY,
    "TrueDivide": DIVIDE,
    "FloorDivide": FLOOR_DIVIDE,
    "Modulus": MODULO,
}
_DIVISIONS: Final = {DIVIDE, FLOOR_DIVIDE, MODULO}
#: What makes integers of integers.
_WHOLE: Final = {"Plus", "Minus", "FloorDivide", "Modulus"}
_UNARY: Final = {"Negate": NEGATE, "Abs": ABSOLUTE}
_STATISTICS: Final = {"Mean": MEAN, "Min": MIN, "Max": MAX, "Sum": SUM}

#: Rows whose columns are laid side by side at a time.
_CHUNK_ROWS: Final = 65_536

_Node = tuple[Any, ...]


class _OtherError(Exception):
    """An expression is more than arithmetic."""


class Arithmetic:
    """A program that computes several expressions.

    Args:
        is_float: Says whether a column is a float64 in which NaN stands for null.
        exact: Columns of integers that a float64 holds exactly, where they are divided.
    """

    def __init__(self, is_float: Callable[[str], bool], exact: frozenset[str]) -> None:
        self._is_float = is_float
        self._exact = exact
        self._numbers: dict[_Node, int] = {}
        self._outputs: list[_Node] = []

    def take(self, expr: pl.Expr, *, listwise: bool) -> bool:
        """Take an expression over, if it is arithmetic.

        Args:
            expr: Of one value per candidate.
            listwise: It may look at all candidates of its request.

        Returns:
            Whether it was taken; its value is the next column of what `run` gives.
        """
        try:
            # Another way to write an expression down means another version of polars, not an error
            # of the plugin; such expressions are evaluated by polars.
            node = self._read(json.loads(expr.meta.serialize(format="json")), listwise)
        except (_OtherError, pl.exceptions.PolarsError, ValueError, KeyError, TypeError):
            return False
        self._outputs.append(node)
        return True

    def program(self) -> Program:
        """Lay what was taken out for the loop.

        Returns:
            The program.
        """
        return _laid_out(self._outputs)

    def _read(self, tree: Any, listwise: bool) -> _Node:  # noqa: ANN401 - JSON of any shape
        kind, value = next(iter(tree.items()))
        if kind == "Alias":
            return self._read(value[0], listwise)
        if kind == "Column":
            return self._column(value)
        if kind == "BinaryExpr":
            return self._binary(value, listwise)
        if kind == "Agg" and listwise:
            name, over = next(iter(value.items()))
            over = over.get("input", over)
            return ("list", _STATISTICS[name], self._column(over["Column"]))
        if kind == "Function":
            return self._function(value, listwise)
        raise _OtherError

    def _column(self, name: str) -> _Node:
        if not self._is_float(name):
            raise _OtherError
        return ("column", name)

    def _binary(self, value: Mapping[str, Any], listwise: bool) -> _Node:
        step = _BINARY[value["op"]]
        sides: list[_Node] = []
        for side in ("left", "right"):
            tree = value[side]
            if "Literal" in tree:
                sides.append(("constant", _constant(tree["Literal"])))
            elif step in _DIVISIONS and side == "left" and tree.get("Column") in self._exact:
                sides.append(("column", tree["Column"]))
            else:
                sides.append(self._read(tree, listwise))
        if sides[0][0] == sides[1][0] == "constant":
            raise _OtherError
        if step in {FLOOR_DIVIDE, MODULO} and not self._divides_whole(value):
            raise _OtherError
        return ("step", step, *sides)

    def _divides_whole(self, value: Mapping[str, Any]) -> bool:
        """Say whether integers are divided by a positive one.

        Of other numbers polars takes the inverse of the divisor, so that 49.0 // 49 is 0 there.

        Returns:
            Whether both sides are integers that a float64 holds exactly.
        """
        right = value["right"]
        return (
            self._is_whole(value["left"])
            and "Literal" in right
            and self._is_whole(right)
            and _constant(right["Literal"]) > 0
        )

    def _is_whole(self, tree: Mapping[str, Any]) -> bool:
        kind, value = next(iter(tree.items()))
        if kind == "BinaryExpr":
            sides = (value["left"], value["right"])
            return value["op"] in _WHOLE and all(map(self._is_whole, sides))
        if kind == "Literal":
            return "Int" in value.get("Dyn", ())
        return kind == "Column" and value in self._exact

    def _function(self, value: Mapping[str, Any], listwise: bool) -> _Node:
        name, inputs = value["function"], value["input"]
        if name == "FillNull":
            column = self._column(inputs[0]["Column"])
            return ("step", FILL, column, ("constant", _constant(inputs[1]["Literal"])))
        only = self._read(inputs[0], listwise)
        return ("step", _UNARY[name], only, only)


@dataclass(frozen=True, slots=True)
class Program:
    """Arithmetic over columns.

    Args:
        columns: What it reads, in this order.
        statistics: (statistic, position among the columns): what it reads of whole lists.
        constants: float64 (n_constants,).
        steps: int32 (n_steps, 3): operation, and the places of both operands. Places are columns,
            then statistics, then constants, then the results of the steps before.
        outputs: int32 (n_expressions,): places of the results.
    """

    columns: tuple[str, ...]
    statistics: Sequence[tuple[int, int]]
    constants: NDArray[np.float64]
    steps: NDArray[np.int32]
    outputs: NDArray[np.int32]

    def run(
        self,
        columns: Sequence[NDArray[np.floating]],
        slates: Slates,
        out: NDArray[np.float32],
        positions: NDArray[np.int64],
    ) -> None:
        """Compute all expressions.

        Args:
            columns: float (n_candidates,) for each of `self.columns`.
            slates: The requests.
            out: float32 (n_candidates, n): written.
            positions: int64 (n_expressions,): columns of `out`.
        """
        # Plans are made by commands that compute nothing; those do without the compiler.
        from recsys.features.arithmetic_loops import over_lists, run_steps

        n_columns, n_chunks = len(columns), -(-len(out) // _CHUNK_ROWS)
        lists = np.empty((len(self.statistics), len(slates)))
        for row, (statistic, place) in zip(lists, self.statistics, strict=True):
            values = columns[place].astype(np.float64, copy=False)
            over_lists(values, slates.offsets, statistic, row)
        for low in range(0, len(out), _CHUNK_ROWS):
            high = min(low + _CHUNK_ROWS, len(out))
            inputs = np.empty((n_columns + len(lists), high - low))
            if columns:
                # One call: row by row costs a request as much as all of the arithmetic.
                parts = columns if n_chunks == 1 else [column[low:high] for column in columns]
                np.concatenate(parts, out=inputs[:n_columns].reshape(-1))
            for row, per_list in zip(inputs[n_columns:], lists, strict=True):
                row[:] = slates.spread(per_list)[low:high]
            run_steps(inputs, self.constants, self.steps, self.outputs, positions, out[low:high])


def _laid_out(outputs: Sequence[_Node]) -> Program:
    """Give every distinct part of expressions a place.

    Returns:
        The program.
    """
    parts: dict[_Node, None] = {}

    def visit(node: _Node) -> None:
        for part in node[1:]:
            if isinstance(part, tuple):
                visit(part)
        parts.setdefault(node)

    for node in outputs:
        visit(node)
    kinds = {k: [n for n in parts if n[0] == k] for k in ("column", "list", "constant", "step")}
    places = {node: i for i, node in enumerate(n for nodes in kinds.values() for n in nodes)}
    steps = [(operation, places[a], places[b]) for _, operation, a, b in kinds["step"]]
    return Program(
        columns=tuple(name for _, name in kinds["column"]),
        statistics=[(statistic, places[column]) for _, statistic, column in kinds["list"]],
        constants=np.array([value for _, value in kinds["constant"]], dtype=np.float64),
        steps=np.array(steps, dtype=np.int32).reshape(-1, 3),
        outputs=np.array([places[node] for node in outputs], dtype=np.int32),
    )


def _constant(literal: Mapping[str, Any]) -> float:
    kinds = literal.get("Dyn") or literal["Scalar"]
    kind, value = next(iter(kinds.items()))
    if kind not in {"Float", "Int", "Float64"}:
        raise _OtherError
    return float(value)
