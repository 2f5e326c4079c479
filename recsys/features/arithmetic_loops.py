"""The compiled loops of `recsys.features.arithmetic`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.features.compiled import compiled, compiled_loop
from recsys.features.operations import (
    ADD,
    DIVIDE,
    FILL,
    FLOOR_DIVIDE,
    MEAN,
    MIN,
    MODULO,
    MULTIPLY,
    NEGATE,
    SUBTRACT,
    SUM,
)

#: Rows that pass through all steps before the next ones are taken.
_BLOCK_ROWS: Final = 128
_LARGEST: Final = np.finfo(np.float32).max
_MISSING: Final = np.float32(np.nan)


@compiled
def over_lists(
    values: NDArray[np.float64],
    offsets: NDArray[np.int64],
    statistic: int,
    out: NDArray[np.float64],
) -> None:
    """Take a statistic of each list; what is missing does not count.

    Args:
        values: float64 (n_candidates,): NaN: missing.
        offsets: int64 (n_requests + 1,): candidates of each request.
        statistic: Which.
        out: float64 (n_requests,): written; NaN without a value.
    """
    for request in range(len(out)):
        total, least, most, n = 0.0, np.inf, -np.inf, 0
        for c in range(offsets[request], offsets[request + 1]):
            if not np.isnan(values[c]):
                total += values[c]
                least = min(least, values[c])
                most = max(most, values[c])
                n += 1
        if statistic == SUM:
            out[request] = total
        elif n == 0:
            out[request] = np.nan
        elif statistic == MEAN:
            out[request] = total / n
        else:
            out[request] = least if statistic == MIN else most


@compiled
def run_steps(
    inputs: NDArray[np.float64],
    constants: NDArray[np.float64],
    steps: NDArray[np.int32],
    outputs: NDArray[np.int32],
    positions: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None:
    """Run the steps of a program over rows.

    Args:
        inputs: float64 (n_inputs, n_rows): columns, then statistics.
        constants: As in `Program`.
        steps: The same.
        outputs: The same.
        positions: int64 (n_expressions,): columns of `out`.
        out: float32 (n_rows, n): written.
    """
    n_inputs, n_constants = len(inputs), len(constants)
    cells = np.empty((n_inputs + n_constants + len(steps), _BLOCK_ROWS))
    for i in range(n_constants):
        cells[n_inputs + i, :] = constants[i]
    for low in range(0, inputs.shape[1], _BLOCK_ROWS):
        n = min(_BLOCK_ROWS, inputs.shape[1] - low)
        for i in range(n_inputs):
            for r in range(n):
                cells[i, r] = inputs[i, low + r]
        for s in range(len(steps)):
            target = cells[n_inputs + n_constants + s]
            _step(steps[s, 0], cells[steps[s, 1]], cells[steps[s, 2]], target, n)
        for e in range(len(outputs)):
            found = cells[outputs[e]]
            for r in range(n):
                out[low + r, positions[e]] = found[r]


@compiled
def _step(
    operation: int,
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    out: NDArray[np.float64],
    n: int,
) -> None:
    if operation == ADD:
        for r in range(n):
            out[r] = left[r] + right[r]
    elif operation == SUBTRACT:
        for r in range(n):
            out[r] = left[r] - right[r]
    elif operation == MULTIPLY:
        for r in range(n):
            out[r] = left[r] * right[r]
    elif operation == DIVIDE:
        # Not by `/`, which raises where polars gives infinity.
        np.divide(left[:n], right[:n], out[:n])
    elif operation == FILL:
        for r in range(n):
            out[r] = right[r] if np.isnan(left[r]) else left[r]
    elif operation == NEGATE:
        for r in range(n):
            out[r] = -left[r]
    elif operation == FLOOR_DIVIDE:
        for r in range(n):
            out[r] = np.floor(left[r] / right[r])
    elif operation == MODULO:
        for r in range(n):
            out[r] = left[r] - np.floor(left[r] / right[r]) * right[r]
    else:
        for r in range(n):
            out[r] = abs(left[r])


@compiled_loop
def miss_what_is_infinite(values: NDArray[np.float32]) -> None:
    """Make infinite numbers missing, in place.

    Args:
        values: float32 (n,).
    """
    for i in range(len(values)):
        # Not a number is never below anything, and stays what it is.
        values[i] = values[i] if abs(values[i]) <= _LARGEST else _MISSING
