"""Arithmetic over vectors, compiled: the parts that scoring is made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.features.compiled import compiled_loop, compiled_sums
from recsys.interest.scratch import AT_ONCE
from recsys.interest.stored_vectors import Vector

_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)

# exp(x) = 2^n exp(r), |r| <= log(2) / 2: n by rounding, exp(r) by a polynomial. Source: cephes
_LEAST, _MOST = np.float32(-87.0), np.float32(88.0)
_LOG2_E = np.float32(1.44269504)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_P0, _P1 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3)
_P2, _P3 = np.float32(8.3334519073e-3), np.float32(4.1665795894e-2)
_P4, _P5 = np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
_EXPONENT_BIAS, _MANTISSA_BITS = np.int32(127), np.int32(23)


@compiled_sums
def compare(vector: Vector, rows: Vector, n: int, out: Vector) -> None:
    """Multiply a vector with rows of a matrix, some of them side by side.

    Args:
        vector: float32 (k,)
        rows: float32 (m, k): as many as `AT_ONCE` fills.
        n: How many of them.
        out: float32 (m,): written, as far as `AT_ONCE` fills.
    """
    for i in range(0, n, AT_ONCE):
        one, two, three, four = _ZERO, _ZERO, _ZERO, _ZERO
        for k in range(len(vector)):
            one += vector[k] * rows[i, k]
            two += vector[k] * rows[i + 1, k]
            three += vector[k] * rows[i + 2, k]
            four += vector[k] * rows[i + 3, k]
        out[i], out[i + 1], out[i + 2], out[i + 3] = one, two, three, four


@compiled_sums
def compare_four(vectors: Vector, rows: Vector, n: int, out: Vector) -> None:
    """Multiply four vectors with rows of a matrix: what is read of the rows serves all of them.

    Args:
        vectors: float32 (4, k)
        rows: float32 (m, k): as many as `AT_ONCE` fills.
        n: How many of them.
        out: float32 (4, m): written, as far as `AT_ONCE` fills.
    """
    for i in range(0, n, AT_ONCE):
        a1, a2, a3, a4 = _ZERO, _ZERO, _ZERO, _ZERO
        b1, b2, b3, b4 = _ZERO, _ZERO, _ZERO, _ZERO
        c1, c2, c3, c4 = _ZERO, _ZERO, _ZERO, _ZERO
        d1, d2, d3, d4 = _ZERO, _ZERO, _ZERO, _ZERO
        for k in range(vectors.shape[1]):
            a, b, c, d = vectors[0, k], vectors[1, k], vectors[2, k], vectors[3, k]
            one, two, three, four = rows[i, k], rows[i + 1, k], rows[i + 2, k], rows[i + 3, k]
            a1, a2, a3, a4 = a1 + a * one, a2 + a * two, a3 + a * three, a4 + a * four
            b1, b2, b3, b4 = b1 + b * one, b2 + b * two, b3 + b * three, b4 + b * four
            c1, c2, c3, c4 = c1 + c * one, c2 + c * two, c3 + c * three, c4 + c * four
            d1, d2, d3, d4 = d1 + d * one, d2 + d * two, d3 + d * three, d4 + d * four
        out[0, i], out[0, i + 1], out[0, i + 2], out[0, i + 3] = a1, a2, a3, a4
        out[1, i], out[1, i + 1], out[1, i + 2], out[1, i + 3] = b1, b2, b3, b4
        out[2, i], out[2, i + 1], out[2, i + 2], out[2, i + 3] = c1, c2, c3, c4
        out[3, i], out[3, i + 1], out[3, i + 2], out[3, i + 3] = d1, d2, d3, d4


@compiled_sums
def product(left: Vector, right: Vector) -> np.float32:
    """Multiply two vectors.

    Returns:
        Their product, over as many numbers as the first one has.
    """
    total = _ZERO
    for k in range(len(left)):
        total += left[k] * right[k]
    return total


@compiled_loop
def exponentials(values: Vector, bits: NDArray[np.int32], powers: Vector) -> None:
    """Put the exponentials of values in their place, to one part in ten millions.

    Args:
        values: float32 (n,): below e^-87 and above e^88 they stay there.
        bits: int32 (n,) or longer: for powers of two.
        powers: The same memory as float32.

    Source: cephes
    """
    for i in range(len(values)):
        x = min(max(values[i], _LEAST), _MOST)
        whole = np.floor(x * _LOG2_E + _HALF)
        r = (x - whole * _LN2_HIGH) - whole * _LN2_LOW
        p = ((((_P0 * r + _P1) * r + _P2) * r + _P3) * r + _P4) * r + _P5
        values[i] = (p * r * r + r) + _ONE
        bits[i] = (np.int32(whole) + _EXPONENT_BIAS) << _MANTISSA_BITS
    for i in range(len(values)):
        values[i] *= powers[i]
