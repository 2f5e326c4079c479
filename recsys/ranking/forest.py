"""LightGBM's text form as flat arrays: what a tree ensemble is, without a word on how to walk it.

A tree of n leaves has n - 1 nodes. A row goes left at a numerical node when its value is at most
the threshold, compared as doubles; a missing value goes where the node says; at a categorical node
a row goes left when its value is one of the node's categories.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.errors import RankingError

#: What a node takes for missing: nothing (NaN reads as 0), zeros and NaN, or NaN.
MISSING_NONE: Final = 0
MISSING_ZERO: Final = 1
MISSING_NAN: Final = 2

_CATEGORICAL_BIT: Final = 1
_LEFT_BIT: Final = 2
_MISSING_SHIFT: Final = 2
_WORD_BITS: Final = 32
_EXPECTED: Final = "one score per row, of plain trees, in LightGBM's text"


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees one after another; their sum, in that order, is the score.

    Args:
        n_features: Columns of a row.
        node_offsets: int32 (n_trees + 1,): nodes of a tree among all nodes.
        leaf_offsets: int32 (n_trees + 1,): leaves of a tree among all leaves.
        features: int32 (n_nodes,): column that a node looks at.
        thresholds: float64 (n_nodes,); of a categorical node the index of its `categories`.
        is_categorical: bool (n_nodes,).
        is_default_left: bool (n_nodes,): where missing values go; categorical nodes: right.
        missing: uint8 (n_nodes,): one of `MISSING_NONE`, `MISSING_ZERO`, `MISSING_NAN`.
        left: int32 (n_nodes,): child node within the tree; negative: ~leaf within the tree.
        right: As `left`.
        leaf_values: float64 (n_leaves,).
        categories: For each categorical node the categories that go left, ascending.
    """

    n_features: int
    node_offsets: NDArray[np.int32]
    leaf_offsets: NDArray[np.int32]
    features: NDArray[np.int32]
    thresholds: NDArray[np.float64]
    is_categorical: NDArray[np.bool_]
    is_default_left: NDArray[np.bool_]
    missing: NDArray[np.uint8]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    leaf_values: NDArray[np.float64]
    categories: tuple[tuple[int, ...], ...]

    @property
    def n_trees(self) -> int:
        """Count the trees."""
        return len(self.node_offsets) - 1

    @property
    def most_leaves(self) -> int:
        """Count the leaves of the largest tree."""
        return int(np.diff(self.leaf_offsets).max(initial=1))


class _Columns:
    """The lines of all trees, collected by name before numbers are read: few, large conversions."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.categories: list[tuple[int, ...]] = []
        self.first_category: list[int] = []

    def take(self, tree: dict[str, str]) -> None:
        for name in ("split_feature", "threshold", "decision_type", "left_child", "right_child"):
            self.texts.setdefault(name, []).extend(tree.get(name, "").split())
        self.texts.setdefault("leaf_value", []).extend(tree["leaf_value"].split())
        self.first_category.append(len(self.categories))
        if int(tree["num_cat"]):
            bounds = [int(text) for text in tree["cat_boundaries"].split()]
            words = [int(text) for text in tree["cat_threshold"].split()]
            for start, end in pairwise(bounds):
                self.categories.append(_bits_of(words[start:end]))

    def integers(self, name: str) -> NDArray[np.int32]:
        return np.array(self.texts.get(name, []), dtype=np.int64).astype(np.int32)

    def numbers(self, name: str) -> NDArray[np.float64]:
        return np.array(self.texts.get(name, []), dtype=np.float64)


def parse_forest(text: str) -> Forest:
    """Read LightGBM's text form.

    Args:
        text: Of a model that LightGBM itself has read.

    Returns:
        The trees.

    Raises:
        RankingError: The model has several scores per row, averages its trees, has linear leaves,
            or is no such text.
    """
    head, *blocks = text.partition("end of trees")[0].split("\nTree=")
    header = _fields(head)
    _check_header(head, header)
    trees = [_fields(block) for block in blocks]
    try:
        n_leaves = np.array([int(tree["num_leaves"]) for tree in trees], dtype=np.int64)
        columns = _Columns()
        for tree in trees:
            columns.take(tree)
        forest = _assemble(columns, n_leaves, int(header["max_feature_idx"]) + 1)
    except (KeyError, ValueError, IndexError) as error:
        raise RankingError("ranker", f"a tree that cannot be read ({error})", _EXPECTED) from error
    if any(tree.get("is_linear", "0") != "0" for tree in trees):
        raise RankingError("ranker", "linear leaves", "constant ones")
    _check_links(forest)
    return forest


def feature_names_of(text: str) -> list[str]:
    """Read the columns that a model in LightGBM's text was trained on.

    Returns:
        Their names as LightGBM holds them, in order.
    """
    head = text.partition("\nTree=")[0]
    return _fields(head).get("feature_names", "").split(" ")


def _fields(block: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in block.split("\n"))
    return {name: value for name, equals, value in pairs if equals}


def _check_header(head: str, header: dict[str, str]) -> None:
    for name in ("num_class", "num_tree_per_iteration"):
        if header.get(name) != "1":
            raise RankingError("ranker", f"{name} = {header.get(name)}", _EXPECTED)
    if "average_output" in head.split("\n"):
        raise RankingError("ranker", "trees that are averaged", "trees that are added up")


def _assemble(columns: _Columns, n_leaves: NDArray[np.int64], n_features: int) -> Forest:
    n_nodes = n_leaves - 1
    decisions = columns.integers("decision_type")
    thresholds = columns.numbers("threshold")
    is_categorical = (decisions & _CATEGORICAL_BIT) != 0
    shifts = np.repeat(np.array(columns.first_category, dtype=np.float64), n_nodes)
    thresholds[is_categorical] += shifts[is_categorical]
    return Forest(
        n_features=n_features,
        node_offsets=_offsets(n_nodes),
        leaf_offsets=_offsets(n_leaves),
        features=columns.integers("split_feature"),
        thresholds=thresholds,
        is_categorical=is_categorical,
        is_default_left=((decisions & _LEFT_BIT) != 0) & ~is_categorical,
        missing=((decisions >> _MISSING_SHIFT) & 3).astype(np.uint8),
        left=columns.integers("left_child"),
        right=columns.integers("right_child"),
        leaf_values=columns.numbers("leaf_value"),
        categories=tuple(columns.categories),
    )


def _offsets(counts: NDArray[np.int64]) -> NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def _bits_of(words: list[int]) -> tuple[int, ...]:
    return tuple(
        position * _WORD_BITS + bit
        for position, word in enumerate(words)
        for bit in range(_WORD_BITS)
        if word >> bit & 1
    )


def _check_links(forest: Forest) -> None:
    """Check that every array is as long as the trees say, and that every tree is one.

    Raises:
        RankingError: It is not.
    """
    n_nodes, n_leaves = int(forest.node_offsets[-1]), int(forest.leaf_offsets[-1])
    per_node = (forest.features, forest.thresholds, forest.missing, forest.left, forest.right)
    lengths = {len(values) for values in per_node}
    if lengths != {n_nodes} or len(forest.leaf_values) != n_leaves:
        raise RankingError("ranker", "trees of other sizes than they say", _EXPECTED)
    if np.isnan(forest.thresholds).any():
        raise RankingError("ranker", "a threshold that is no number", _EXPECTED)
    if n_nodes and not 0 <= forest.features.min() <= forest.features.max() < forest.n_features:
        raise RankingError("ranker", "a split on a column that is not there", _EXPECTED)
    chosen = forest.thresholds[forest.is_categorical]
    if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(forest.categories):
        raise RankingError("ranker", "a split on categories that are not there", _EXPECTED)
    trees = np.repeat(np.arange(forest.n_trees), np.diff(forest.node_offsets))
    own = np.arange(n_nodes) - forest.node_offsets[trees]
    children = np.concatenate([forest.left, forest.right])
    trees, own = np.concatenate([trees, trees]), np.concatenate([own, own])
    is_leaf = children < 0
    # LightGBM numbers nodes as it makes them, so a child comes after its parent: no cycles.
    below = np.where(is_leaf, True, children > own)
    nodes = forest.node_offsets[trees] + children
    leaves = forest.leaf_offsets[trees] + ~children
    inside = np.where(
        is_leaf, leaves < forest.leaf_offsets[trees + 1], nodes < forest.node_offsets[trees + 1]
    )
    is_whole = below.all() and inside.all()
    roots = forest.node_offsets[:-1][np.diff(forest.node_offsets) > 0]
    is_whole &= len(np.unique(np.concatenate([nodes[~is_leaf], roots]))) == n_nodes
    n_alone = int((np.diff(forest.leaf_offsets) == 1).sum())
    is_whole &= len(np.unique(leaves[is_leaf])) == n_leaves - n_alone
    if not is_whole:
        raise RankingError("ranker", "nodes that do not make a tree", _EXPECTED)
