"""What a ranker learns from: one row per candidate, grouped by impression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.errors import TrainingError

#: LightGBM refuses longer groups; the log allows no longer impressions either.
MAX_GROUP_SIZE: Final = 10_000


@dataclass(frozen=True, slots=True)
class RankingRows:
    """Candidates of many impressions, impression after impression.

    Args:
        matrix: float32 (n_rows, n_features); NaN: missing.
        grades: float32 (n_rows,): graded relevance, 0: shown and nothing done.
        group_sizes: int64 (n_groups,): candidates of each impression, oldest impression first.
        feature_names: Columns of the matrix, in order.
        log_q: float32 (n_rows,): logarithm of the chance with which a candidate would have been
            drawn as a negative; None: candidates were not drawn.
    """

    matrix: NDArray[np.float32]
    grades: NDArray[np.float32]
    group_sizes: NDArray[np.int64]
    feature_names: tuple[str, ...]
    log_q: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Count the rows.

        Returns:
            How many candidates there are, over all impressions.
        """
        return len(self.grades)

    def corrected(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Make scores comparable within these lists, which hold more popular items than there are.

        Args:
            scores: (n_rows,): how probable each candidate is among all items, on a log scale.

        Returns:
            (n_rows,): the same, less log q; the scores themselves where candidates were not drawn.

        Source: logq
        """
        return scores if self.log_q is None else scores - self.log_q

    def split(self, group: int) -> tuple[RankingRows, RankingRows]:
        """Cut between impressions.

        Args:
            group: First impression of the second part.

        Returns:
            The impressions before it, and the others.
        """
        row = int(self.group_sizes[:group].sum())
        older = self._part(slice(row), slice(group))
        return older, self._part(slice(row, None), slice(group, None))

    def _part(self, rows: slice, groups: slice) -> RankingRows:
        log_q = None if self.log_q is None else self.log_q[rows]
        sizes = self.group_sizes[groups]
        return RankingRows(self.matrix[rows], self.grades[rows], sizes, self.feature_names, log_q)

    def only(self, names: tuple[str, ...]) -> RankingRows:
        """Keep some of the columns.

        Args:
            names: Which, in their new order.

        Returns:
            The same rows.
        """
        places = [self.feature_names.index(name) for name in names]
        matrix = self.matrix[:, places]
        return RankingRows(matrix, self.grades, self.group_sizes, names, self.log_q)


def check_rows(name: str, rows: RankingRows) -> None:
    """Check that shapes agree and that grades and group sizes can be learnt from.

    Args:
        name: What the rows are, for the message.
        rows: The rows.

    Raises:
        TrainingError: Shapes disagree, a grade is negative or not finite, or a group is too long.
    """
    shape = (len(rows.grades), len(rows.feature_names))
    if rows.matrix.shape != shape:
        found = f"a matrix of shape {rows.matrix.shape}"
        raise TrainingError(name, found, f"{shape}, by the grades and the feature names")
    if int(rows.group_sizes.sum()) != len(rows):
        found = f"groups of {int(rows.group_sizes.sum()):,} rows together"
        raise TrainingError(name, found, f"{len(rows):,}, as many as there are grades")
    if len(rows.group_sizes) and rows.group_sizes.min() < 0:
        raise TrainingError(name, f"a group of {rows.group_sizes.min()} rows", "0 or more")
    if len(rows.group_sizes) and rows.group_sizes.max() > MAX_GROUP_SIZE:
        found = f"an impression of {rows.group_sizes.max():,} candidates"
        raise TrainingError(name, found, f"at most {MAX_GROUP_SIZE:,}, LightGBM's limit")
    if not (np.isfinite(rows.grades) & (rows.grades >= 0)).all():
        raise TrainingError(name, "a grade below 0 or not finite", "grades of 0 or more")


def informative_rows(rows: RankingRows, rng: np.random.Generator) -> RankingRows:
    """Keep the impressions that can teach an order, with the candidates of each in random order.

    An impression whose candidates have all the same grade says nothing of their order. The order of
    rows decides ties in LightGBM: without the shuffle, the order that users were shown would help.

    Args:
        rows: Checked rows.
        rng: Decides the order.

    Returns:
        A copy in which infinite values are missing ones.
    """
    offsets = np.concatenate([[0], np.cumsum(rows.group_sizes)])
    filled = np.flatnonzero(rows.group_sizes > 0)
    if len(filled) == 0:
        return rows
    lowest = np.minimum.reduceat(rows.grades, offsets[filled])
    highest = np.maximum.reduceat(rows.grades, offsets[filled])
    keep = np.zeros(len(rows.group_sizes), dtype=np.bool_)
    keep[filled] = lowest < highest
    group_of_row = np.repeat(np.arange(len(rows.group_sizes)), rows.group_sizes)
    order = np.lexsort((rng.random(len(rows)), group_of_row))
    order = order[keep[group_of_row[order]]]
    return RankingRows(
        matrix=without_infinities(rows.matrix[order]),
        grades=rows.grades[order],
        group_sizes=rows.group_sizes[keep],
        feature_names=rows.feature_names,
        log_q=None if rows.log_q is None else rows.log_q[order],
    )


def without_infinities(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Make infinite values missing.

    Returns:
        The matrix itself where it has none, else a copy.
    """
    infinite = np.isinf(matrix)
    return np.where(infinite, np.float32(np.nan), matrix) if infinite.any() else matrix
