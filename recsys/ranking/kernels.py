"""The inner loops of the compiled ranker, in machine code.

Rows are taken in blocks. For a block, every column that some node looks at is copied once into a
row of a small table, with missing values already where they belong, so that a node is one
comparison for all rows of the block, without a branch and eight or sixteen rows at a time:

    values[column, row] > threshold      true: the row goes right

One bit per leaf and row says what a row can still reach. A node whose comparison is true takes the
leaves to its left away from that row; the lowest bit that is left is the leaf. Every node is
visited, which costs less than a jump that the processor cannot foresee. Trees of more leaves than
a word has bits have several words, each with the nodes that concern it.

Compiled at the first call for this processor, and kept on disk beside this file, or where
`NUMBA_CACHE_DIR` says.

Source: quickscorer
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from recsys.features.compiled import compiled

#: How a column is copied: what missing values become, so that a comparison sends them right.
NAN_AS_ZERO: Final = 0
NAN_LOW: Final = 1
NAN_HIGH: Final = 2
ZERO_LOW: Final = 3
ZERO_HIGH: Final = 4
#: 1 where the node's answer is right, 0 where it is left; compared with one half.
IS_NAN: Final = 5
IS_ZERO: Final = 6
NOT_CATEGORY: Final = 7

#: LightGBM takes numbers that are no larger than this for zero.
_ZERO: Final = np.float32(1e-35)
_LOW: Final = np.float32(-np.inf)
_HIGH: Final = np.float32(np.inf)
_ONE: Final = np.float32(1)
_NONE: Final = np.float32(0)
#: Where casting to a category would leave 32 bits.
_MOST: Final = np.float32(2147483648.0)

#: Nodes that are taken together, so that the bits of a row are read and written half as often.
GROUP: Final = 2
#: Leaves of a word of a tree that has several.
WORD_BITS: Final = 64


#: Feature and kind of every column of the table; where the categories of each begin; all of them,
#: true: it goes left.
Columns: TypeAlias = tuple[
    NDArray[np.int32], NDArray[np.uint8], NDArray[np.int32], NDArray[np.bool_]
]
#: Column, threshold and mask of every node; where those of each word begin, multiples of `GROUP`.
Nodes: TypeAlias = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[Any], NDArray[np.int32]]
#: Values of the leaves, those of a tree from left to right; where each tree's leaves and where its
#: words begin.
Trees: TypeAlias = tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]]


def _generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401 - numba's own
    del signature
    return builder.cttz(arguments[0], context.get_constant(types.boolean, 0))


def _typed(typing_context: Any, value: Any) -> Any:  # noqa: ANN401 - numba's own
    del typing_context
    return value(value), _generate


#: The position of the lowest bit that is set: one instruction.
_lowest_bit: Any = intrinsic(_typed)


@compiled
def _copy_column(
    source: NDArray[np.float32],
    kind: int,
    goes_left: NDArray[np.bool_],
    target: NDArray[np.float32],
) -> None:
    """Copy one column of a block of rows, missing values where comparisons need them."""
    if kind == NOT_CATEGORY:
        for row in range(len(source)):
            value = source[row]
            # LightGBM cuts fractions off; what is no 32-bit number is in no category.
            is_number = -_ONE < value < _MOST
            category = np.int64(value) if is_number else len(goes_left)
            is_left = category < len(goes_left) and goes_left[category]
            target[row] = _NONE if is_left else _ONE
        return
    if kind in {IS_NAN, IS_ZERO}:
        for row in range(len(source)):
            value = source[row]
            hit = np.isnan(value) or (kind == IS_ZERO and abs(value) <= _ZERO)
            target[row] = _ONE if hit else _NONE
        return
    missing = _NONE
    if kind != NAN_AS_ZERO:
        missing = _LOW if kind in {NAN_LOW, ZERO_LOW} else _HIGH
    zero = missing if kind in {ZERO_LOW, ZERO_HIGH} else _NONE
    for row in range(len(source)):
        value = source[row]
        value = zero if abs(value) <= _ZERO else value
        target[row] = missing if np.isnan(value) else value


@compiled
def _copy_block(
    matrix: NDArray[np.float32],
    first: int,
    columns: Columns,
    block: NDArray[np.float32],
) -> None:
    """Copy all columns of the block of rows that begins at `first`; rows beyond the end are 0."""
    features, kinds, starts, goes_left = columns
    n_rows = min(block.shape[1], matrix.shape[0] - first)
    for column in range(len(features)):
        source = matrix[first : first + n_rows, features[column]]
        categories = goes_left[starts[column] : starts[column + 1]]
        _copy_column(source, kinds[column], categories, block[column, :n_rows])
        block[column, n_rows:] = _NONE


@compiled
def _narrow(
    block: NDArray[np.float32],
    nodes: Nodes,
    word: int,
    bits: NDArray[Any],
) -> None:
    """Take away the leaves of one word that rows cannot reach."""
    looks_at, thresholds, masks, offsets = nodes
    every = masks[0] | ~masks[0]
    bits[:] = every
    for node in range(offsets[word], offsets[word + 1], GROUP):
        one, other = block[looks_at[node]], block[looks_at[node + 1]]
        low, high = thresholds[node], thresholds[node + 1]
        keep, hold = masks[node], masks[node + 1]
        for row in range(len(bits)):
            left = keep if one[row] > low else every
            bits[row] &= left & (hold if other[row] > high else every)


@compiled
def score_rows(  # noqa: PLR0917 - numba calls by position
    matrix: NDArray[np.float32],
    columns: Columns,
    nodes: Nodes,
    trees: Trees,
    scores: NDArray[np.float64],
    n_block: int,
) -> None:
    """Score rows.

    Args:
        matrix: (n_rows, n_features), column after column in memory.
        columns: Of the table.
        nodes: Of all trees.
        trees: In the order in which they are added up.
        scores: (n_rows,), to be filled.
        n_block: Rows that are taken together.
    """
    values, leaf_offsets, word_offsets = trees
    block = np.empty((len(columns[0]), n_block), dtype=np.float32)
    bits = np.empty(n_block, dtype=nodes[2].dtype)
    sums = np.empty(n_block, dtype=np.float64)
    found = np.empty(n_block, dtype=np.int64)
    for first in range(0, matrix.shape[0], n_block):
        _copy_block(matrix, first, columns, block)
        sums[:] = 0.0
        for tree in range(len(leaf_offsets) - 1):
            word, leaf = word_offsets[tree], leaf_offsets[tree]
            _narrow(block, nodes, word, bits)
            if word + 1 == word_offsets[tree + 1]:
                for row in range(n_block):
                    sums[row] += values[leaf + _lowest_bit(bits[row])]
                continue
            _find_leaves(block, nodes, (word, word_offsets[tree + 1]), bits, found)
            for row in range(n_block):
                sums[row] += values[leaf + found[row]]
        n_rows = min(n_block, matrix.shape[0] - first)
        scores[first : first + n_rows] = sums[:n_rows]


@compiled
def _find_leaves(  # noqa: PLR0917 - numba calls by position
    block: NDArray[np.float32],
    nodes: Nodes,
    words: tuple[int, int],
    bits: NDArray[Any],
    found: NDArray[np.int64],
) -> None:
    """Find the leaves of rows in a tree of several words: the first word with a bit has it."""
    for word in range(words[1] - 1, words[0] - 1, -1):
        _narrow(block, nodes, word, bits)
        base = (word - words[0]) * WORD_BITS
        for row in range(len(bits)):
            found[row] = base + _lowest_bit(bits[row]) if bits[row] else found[row]
