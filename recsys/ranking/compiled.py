"""A forest laid out for the machine: LightGBM's scores to the last bit, many times as fast.

A node compares a float32 value with a threshold that is a double. The largest float32 that is not
above the threshold gives the same answer for every float32, so the comparison needs no double.
Missing values are replaced once per column by something that every comparison sends to the side
where LightGBM sends it; a feature whose nodes disagree on that side becomes several columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.errors import RankingError
from recsys.ranking import kernels
from recsys.ranking.forest import MISSING_NAN, MISSING_ZERO, Forest

#: Rows that are taken together at most, and what a block is a multiple of: found by measuring.
_BLOCK_ROWS: Final = 512
_STEP_ROWS: Final = 32
#: What the table of a block may take: half of a small second-level cache.
_BLOCK_BYTES: Final = 256 * 1024
_WORDS: Final = (np.uint16, np.uint32, np.uint64)
_HALF: Final = np.float32(0.5)
#: A larger category is refused; its table would be.
_MOST_CATEGORIES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of the kernels' table."""

    features: NDArray[np.int32]
    kinds: NDArray[np.uint8]
    starts: NDArray[np.int32]
    goes_left: NDArray[np.bool_]

    def arrays(self) -> kernels.Columns:
        return self.features, self.kinds, self.starts, self.goes_left


class CompiledForest:
    """Scores rows as the forest does; immutable and safe to share between threads.

    Args:
        forest: The trees.

    Raises:
        RankingError: A category is too large.
    """

    def __init__(self, forest: Forest) -> None:
        self.n_features = forest.n_features
        looks_at, thresholds, columns = _columns_of(forest)
        self._columns = columns.arrays()
        firsts, counts, values = _leaves_from_left(forest)
        n_leaves = np.diff(forest.leaf_offsets)
        word = next((w for w in _WORDS if forest.most_leaves <= np.iinfo(w).bits), np.uint64)
        n_words = -(-n_leaves // np.iinfo(word).bits)
        word_offsets = np.concatenate([[0], np.cumsum(n_words)]).astype(np.int32)
        node, at, masks = _masks_of(firsts, counts, word)
        trees = np.repeat(np.arange(forest.n_trees), n_leaves - 1)
        places = word_offsets[trees[node]] + at
        order = np.argsort(places, kind="stable")
        sizes = np.bincount(places, minlength=int(word_offsets[-1]))
        self._nodes = _grouped(sizes, looks_at[node[order]], thresholds[node[order]], masks[order])
        self._trees = (values, forest.leaf_offsets, word_offsets)

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Add up the trees for every row.

        Args:
            matrix: (n_rows, n_features); NaN: missing.

        Returns:
            Scores (n_rows,).

        Raises:
            RankingError: The matrix has other columns than the forest.
        """
        if matrix.ndim != 2 or matrix.shape[1] != self.n_features:
            expected = f"(n_rows, {self.n_features})"
            raise RankingError("ranker", f"a matrix of shape {matrix.shape}", expected)
        scores = np.empty(len(matrix))
        if not len(matrix):
            return scores
        ordered = np.asfortranarray(matrix, dtype=np.float32)
        n_block = _block_rows(len(matrix), len(self._columns[0]))
        kernels.score_rows(ordered, self._columns, self._nodes, self._trees, scores, n_block)
        return scores


def _block_rows(n_rows: int, n_columns: int) -> int:
    """Cut rows into blocks of about one size.

    Returns:
        Rows of a block; the last one may have fewer.
    """
    fitting = _BLOCK_BYTES // (4 * n_columns) // _STEP_ROWS * _STEP_ROWS
    n_blocks = -(-n_rows // min(max(fitting, 4 * _STEP_ROWS), _BLOCK_ROWS))
    return -(-n_rows // (n_blocks * _STEP_ROWS)) * _STEP_ROWS


def _columns_of(forest: Forest) -> tuple[NDArray[np.int32], NDArray[np.float32], _Columns]:
    """Say for every node which column of the table it compares with which float32.

    Returns:
        Column and threshold of every node, and the columns.
    """
    thresholds = _not_above(forest.thresholds)
    is_left, is_categorical = forest.is_default_left, forest.is_categorical
    kinds = np.full(len(thresholds), kernels.NAN_AS_ZERO, dtype=np.int64)
    for missing, low, high, flag in (
        (MISSING_NAN, kernels.NAN_LOW, kernels.NAN_HIGH, kernels.IS_NAN),
        (MISSING_ZERO, kernels.ZERO_LOW, kernels.ZERO_HIGH, kernels.IS_ZERO),
    ):
        mine = forest.missing == missing
        kinds[mine] = np.where(is_left[mine], low, high)
        # No number is above an infinite threshold, so no number can stand for what goes right.
        kinds[mine & ~is_left & (thresholds == np.inf)] = flag
    kinds[is_categorical] = kernels.NOT_CATEGORY
    category = np.where(is_categorical, forest.thresholds, -1).astype(np.int64)
    flags = (kernels.IS_NAN, kernels.IS_ZERO, kernels.NOT_CATEGORY)
    thresholds[np.isin(kinds, flags)] = _HALF
    keys = np.stack([forest.features.astype(np.int64), kinds, category], axis=1)
    distinct, looks_at = np.unique(keys, axis=0, return_inverse=True)
    if not len(distinct):
        distinct = np.zeros((1, 3), dtype=np.int64)
    starts, goes_left = _category_tables(forest, distinct)
    columns = _Columns(
        distinct[:, 0].astype(np.int32), distinct[:, 1].astype(np.uint8), starts, goes_left
    )
    return looks_at.ravel().astype(np.int32), thresholds, columns


def _category_tables(
    forest: Forest, columns: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    starts, tables = [0], [np.zeros(1, dtype=np.bool_)]
    for _, kind, category in columns.tolist():
        size = 0
        if kind == kernels.NOT_CATEGORY and forest.categories[category]:
            left = np.array(forest.categories[category])
            size = int(left.max()) + 1
            if size > _MOST_CATEGORIES:
                expected = f"categories below {_MOST_CATEGORIES:,}"
                raise RankingError("ranker", f"category {size - 1:,}", expected)
            table = np.zeros(size, dtype=np.bool_)
            table[left] = True
            tables.append(table)
        starts.append(starts[-1] + size)
    return np.array(starts, dtype=np.int32), np.concatenate([*tables[1:], tables[0]])


def _not_above(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        near = thresholds.astype(np.float32)
    below = np.nextafter(near, np.float32(-np.inf))
    return np.where(near.astype(np.float64) > thresholds, below, near)


def _leaves_from_left(
    forest: Forest,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Number the leaves of every tree from left to right.

    A child comes after its parent, so one pass from the last node up counts the leaves below every
    node, and one from the root down tells at which leaf a node begins; all trees at once.

    Returns:
        For each node the first leaf below it and how many are below its left child; and the values
        of all leaves in the new order.
    """
    sides = (forest.left, forest.right)
    sizes = np.diff(forest.node_offsets)
    counts = np.ones((len(forest.left), 2), dtype=np.int64)
    firsts = np.zeros(len(forest.left), dtype=np.int64)
    ranks = np.zeros(len(forest.leaf_values), dtype=np.int64)
    for position in reversed(range(int(sizes.max(initial=0)))):
        offsets = forest.node_offsets[:-1][sizes > position]
        nodes = offsets + position
        for side, children in enumerate(sides):
            below = children[nodes] >= 0
            child = offsets[below] + children[nodes][below]
            counts[nodes[below], side] = counts[child].sum(axis=1)
    for position in range(int(sizes.max(initial=0))):
        trees = np.flatnonzero(sizes > position)
        nodes = forest.node_offsets[trees] + position
        begins = (firsts[nodes], firsts[nodes] + counts[nodes, 0])
        for first, children in zip(begins, sides, strict=True):
            child, below = children[nodes], children[nodes] >= 0
            firsts[forest.node_offsets[trees[below]] + child[below]] = first[below]
            ranks[forest.leaf_offsets[trees[~below]] + ~child[~below]] = first[~below]
    values = np.empty_like(forest.leaf_values)
    starts = np.repeat(forest.leaf_offsets[:-1], np.diff(forest.leaf_offsets))
    values[starts + ranks] = forest.leaf_values
    return firsts, counts[:, 0], values


def _masks_of(
    firsts: NDArray[np.int64], counts: NDArray[np.int64], word: type[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """Say which bits remain when a node sends a row right: all but those of its left leaves.

    Returns:
        Node, word within the tree, and mask, for every word that a node concerns.
    """
    n_bits = np.iinfo(word).bits
    first_word, last_word = firsts // n_bits, (firsts + counts - 1) // n_bits
    n_words = last_word - first_word + 1
    node = np.repeat(np.arange(len(firsts)), n_words)
    at = np.arange(len(node)) - np.repeat(np.cumsum(n_words) - n_words, n_words) + first_word[node]
    begin = np.maximum(firsts[node] - at * n_bits, 0)
    end = np.minimum(firsts[node] + counts[node] - at * n_bits, n_bits)
    every = np.iinfo(np.uint64).max
    gone = (every >> (64 - (end - begin)).astype(np.uint64)) << begin.astype(np.uint64)
    return node, at, (~gone).astype(word)


def _grouped(
    sizes: NDArray[np.int64],
    looks_at: NDArray[np.int32],
    thresholds: NDArray[np.float32],
    masks: NDArray[Any],
) -> kernels.Nodes:
    """Fill up every word to whole groups by nodes that send nothing right.

    Returns:
        Columns, thresholds and masks of all nodes, and where each word's begin.
    """
    padded = -(-sizes // kernels.GROUP) * kernels.GROUP
    starts = np.concatenate([[0], np.cumsum(padded)]).astype(np.int32)
    # One group more, so that the kernel finds a mask even when no tree has a node.
    n_nodes = int(starts[-1]) + kernels.GROUP
    shifts = starts[:-1] - (np.cumsum(sizes) - sizes)
    target = np.repeat(shifts, sizes) + np.arange(len(looks_at))
    new_columns = np.zeros(n_nodes, dtype=np.int32)
    new_thresholds = np.full(n_nodes, np.inf, dtype=np.float32)
    new_masks = np.full(n_nodes, np.iinfo(masks.dtype).max, dtype=masks.dtype)
    new_columns[target], new_thresholds[target], new_masks[target] = looks_at, thresholds, masks
    return new_columns, new_thresholds, new_masks, starts
