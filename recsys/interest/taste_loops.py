"""A taste (`recsys.interest.taste`) found for one request, compiled."""

from __future__ import annotations

from typing import Final

import numpy as np

from recsys.features.compiled import compiled_loop, compiled_sums
from recsys.interest.scratch import Work
from recsys.interest.stored_vectors import Vector
from recsys.interest.vector_loops import compare, product

#: Of a number of seven digits.
_ROUNDING: Final = np.float32(1e-6)
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


@compiled_loop
def find_taste(work: Work, request: int) -> None:
    """Regress surprise on traits, one small symmetric system, and write the taste.

    Args:
        work: Pasts, model, and where to write.
        request: Which one; it has a past.
    """
    head, scratch = work.head, work.scratch
    columns, heavy, taste, system = scratch.columns, scratch.heavy, scratch.taste, scratch.system
    n = _lay_out(work, request)
    for i in range(len(taste)):
        for k in range(n):
            heavy[k] = scratch.weights[k] * columns[i, k]
        taste[i] = product(heavy[:n], scratch.surprise)
        compare(heavy[:n], columns, i + 1, system[i])
        system[i, i] += head.ridge[0]
    _decompose(system, head.ridge[0])
    _substitute(system, taste)
    for i in range(len(taste)):
        taste[i] *= head.scale[0]


@compiled_loop
def _lay_out(work: Work, request: int) -> int:
    """Write traits, weight and surprise of each item of a past.

    Returns:
        How many there are.
    """
    stored, head, scratch = work.stored, work.head, work.scratch
    n, last = 0, len(scratch.taste) - 1
    for side in range(2):
        done = _ONE if side == 0 else _ZERO
        for row in work.pasts[side].rows[request]:
            if row >= 0:
                for k in range(last):
                    scratch.columns[k, n] = stored.traits[row, k]
                scratch.columns[last, n] = head.constant[0]
                odds = head.expected[0] * stored.rates[row] + head.expected[1]
                scratch.surprise[n] = done - _ONE / (_ONE + np.exp(-odds))
                scratch.weights[n] = head.taste_weights[side]
                n += 1
    return n


@compiled_sums
def _decompose(system: Vector, ridge: np.float32) -> None:
    """Replace the lower half of a symmetric matrix, a ridge on its diagonal, by Cholesky's."""
    for i in range(len(system)):
        for j in range(i):
            inner = product(system[i, :j], system[j])
            system[i, j] = (system[i, j] - inner) / system[j, j]
        # What is left of the diagonal is never below the ridge, and below this it is rounding.
        least = max(ridge, _ROUNDING * system[i, i])
        inner = product(system[i, :i], system[i])
        system[i, i] = np.sqrt(max(system[i, i] - inner, least))


@compiled_sums
def _substitute(lower: Vector, out: Vector) -> None:
    """Solve for a right side, which the solution replaces."""
    for i in range(len(out)):
        out[i] = (out[i] - product(lower[i, :i], out)) / lower[i, i]
    for i in range(len(out) - 1, -1, -1):
        out[i] /= lower[i, i]
        for k in range(i):
            out[k] -= lower[i, k] * out[i]
