"""How good rankings are: AUC, MRR and nDCG of each impression, vectorised over ragged groups.

An impression counts when it has both labels: a candidate of grade above 0, and one of grade 0.
Tied scores never profit from the order of the rows, which is often the order that users were shown:
every metric is its expected value over all orders of the tied candidates. nDCG's gain is the grade
itself, so with one kind of interaction it is the binary nDCG; the ranker learns by the same gain.

One sort of all rows serves all metrics, instead of a loop over impressions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.errors import RankingError

N_RESAMPLES: Final = 2_000
INTERVAL: Final = (2.5, 97.5)
#: How many draws are held at a time.
_RESAMPLE_CELLS: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class RankedImpressions:
    """Impressions with both labels, their candidates best first.

    Rows with equal scores in one impression form a block.

    Args:
        impressions: int64 (n_kept,): which groups of the input have both labels.
        grades: float64 (n_rows,): grades of the kept rows, impression after impression, best first.
        sizes: int64 (n_kept,): candidates of each impression.
        block_of_row: int64 (n_rows,): block of each row.
        block_starts: int64 (n_blocks,): first row of each block.
    """

    impressions: NDArray[np.int64]
    grades: NDArray[np.float64]
    sizes: NDArray[np.int64]
    block_of_row: NDArray[np.int64]
    block_starts: NDArray[np.int64]

    @property
    def starts(self) -> NDArray[np.int64]:
        """First row of each impression."""
        return np.cumsum(self.sizes) - self.sizes

    @property
    def positions(self) -> NDArray[np.int64]:
        """Position of each row in its impression, from 0."""
        return np.arange(len(self.grades)) - np.repeat(self.starts, self.sizes)

    @property
    def block_sizes(self) -> NDArray[np.int64]:
        """Rows of each block."""
        return np.diff(np.append(self.block_starts, len(self.grades)))

    def per_impression(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum a value of each row over each impression.

        Returns:
            float64 (n_kept,).
        """
        return np.add.reduceat(values, self.starts) if len(self.sizes) else np.empty(0)

    def block_means(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give each row the mean of its block: the value expected there when ties fall at random.

        Returns:
            float64 (n_rows,).
        """
        if len(values) == 0:
            return values
        means = np.add.reduceat(values, self.block_starts) / self.block_sizes
        return means[self.block_of_row]


@dataclass(frozen=True, slots=True)
class RankingMetrics:
    """Metrics of each impression that has both labels.

    Args:
        impressions: int64 (n_kept,): which groups of the input the values belong to.
        auc: float64 (n_kept,).
        mrr: float64 (n_kept,): reciprocal rank of the first candidate of grade above 0.
        ndcg_5: float64 (n_kept,).
        ndcg_10: float64 (n_kept,).
        recall_10: float64 (n_kept,): share of the candidates of grade above 0 in the first ten.
        hit_10: float64 (n_kept,): whether any is there.
    """

    impressions: NDArray[np.int64]
    auc: NDArray[np.float64]
    mrr: NDArray[np.float64]
    ndcg_5: NDArray[np.float64]
    ndcg_10: NDArray[np.float64]
    recall_10: NDArray[np.float64]
    hit_10: NDArray[np.float64]

    def by_name(self) -> dict[str, NDArray[np.float64]]:
        """Name the metrics as they are reported.

        Returns:
            Values by name.
        """
        return {
            "auc": self.auc,
            "mrr": self.mrr,
            "ndcg@5": self.ndcg_5,
            "ndcg@10": self.ndcg_10,
            "recall@10": self.recall_10,
            "hit@10": self.hit_10,
        }

    def means(self) -> dict[str, float]:
        """Average over impressions.

        Returns:
            By name; NaN when no impression has both labels.
        """
        return {
            name: float(values.mean()) if len(values) else float("nan")
            for name, values in self.by_name().items()
        }


class Interval(NamedTuple):
    """A mean difference with its 95 % interval."""

    mean: float
    low: float
    high: float


def measure(
    scores: NDArray[np.floating], grades: NDArray[np.floating], group_sizes: NDArray[np.integer]
) -> RankingMetrics:
    """Compute all metrics of a ranking.

    Args:
        scores: (n_rows,): the higher the better; finite.
        grades: (n_rows,): graded relevance, 0: not relevant.
        group_sizes: (n_groups,): candidates of each impression.

    Returns:
        One value per impression with both labels, in the order of the groups.
    """
    ranked = rank_impressions(scores, grades, group_sizes)
    return RankingMetrics(
        impressions=ranked.impressions,
        auc=auc(ranked),
        mrr=mrr(ranked),
        ndcg_5=ndcg_at_k(ranked, 5),
        ndcg_10=ndcg_at_k(ranked, 10),
        recall_10=recall_at_k(ranked, 10),
        hit_10=hit_at_k(ranked, 10),
    )


def rank_impressions(
    scores: NDArray[np.floating], grades: NDArray[np.floating], group_sizes: NDArray[np.integer]
) -> RankedImpressions:
    """Sort every impression that has both labels by score.

    Args:
        scores: (n_rows,): the higher the better; finite.
        grades: (n_rows,): graded relevance, 0: not relevant.
        group_sizes: (n_groups,): candidates of each impression.

    Returns:
        The rows best first, with ties marked.

    Raises:
        RankingError: Lengths disagree, or a score is not finite.
    """
    n_rows = int(np.sum(group_sizes))
    if not len(scores) == len(grades) == n_rows:
        found = f"{len(scores)} scores and {len(grades)} grades"
        raise RankingError("metrics", found, f"{n_rows} of each, the sum of the group sizes")
    if not np.isfinite(scores).all():
        raise RankingError("metrics", "a score that is not finite", "finite scores")
    group_of_row = np.repeat(np.arange(len(group_sizes)), group_sizes)
    relevant = np.bincount(group_of_row, weights=np.asarray(grades) > 0, minlength=len(group_sizes))
    both = (relevant > 0) & (relevant < group_sizes)
    rows = np.flatnonzero(both[group_of_row])
    rows = rows[np.lexsort((-np.asarray(scores)[rows], group_of_row[rows]))]
    fresh = np.ones(len(rows), dtype=np.bool_)
    fresh[1:] = np.diff(group_of_row[rows]).astype(np.bool_)
    fresh[1:] |= np.diff(np.asarray(scores)[rows]) != 0
    return RankedImpressions(
        impressions=np.flatnonzero(both),
        grades=np.asarray(grades, dtype=np.float64)[rows],
        sizes=np.asarray(group_sizes, dtype=np.int64)[both],
        block_of_row=np.cumsum(fresh) - 1,
        block_starts=np.flatnonzero(fresh),
    )


def auc(ranked: RankedImpressions) -> NDArray[np.float64]:
    """Share of (relevant, not relevant) pairs in the right order; a tied pair counts half.

    Returns:
        float64 (n_kept,), 0.5 when all scores are equal.
    """
    relevant = (ranked.grades > 0).astype(np.float64)
    behind = ranked.block_means(_rows_behind(ranked))
    n_relevant = ranked.per_impression(relevant)
    pairs_won = ranked.per_impression(relevant * behind) - n_relevant * (n_relevant - 1) / 2
    return pairs_won / (n_relevant * (ranked.sizes - n_relevant))


def _rows_behind(ranked: RankedImpressions) -> NDArray[np.float64]:
    behind = np.repeat(ranked.sizes, ranked.sizes) - 1 - ranked.positions
    return behind.astype(np.float64)


def ndcg_at_k(ranked: RankedImpressions, k: int) -> NDArray[np.float64]:
    """Discounted gain of the first k places over the best that the impression allows.

    Args:
        ranked: The impressions.
        k: Places that count.

    Returns:
        float64 (n_kept,).

    Source: ndcg, ndcg-ties
    """
    positions = ranked.positions
    weights = np.where(positions < k, 1 / np.log2(positions + 2.0), 0.0)
    impression_of_row = np.repeat(np.arange(len(ranked.sizes)), ranked.sizes)
    ideal = ranked.grades[np.lexsort((-ranked.grades, impression_of_row))]
    reached = ranked.per_impression(weights * ranked.block_means(ranked.grades))
    return reached / ranked.per_impression(weights * ideal)


def mrr(ranked: RankedImpressions) -> NDArray[np.float64]:
    """Reciprocal rank of the first relevant candidate.

    With r relevant among the m candidates of the first block that has any, the first of them is the
    j-th of the block with probability C(m - j, r - 1) / C(m, r).

    Returns:
        float64 (n_kept,).
    """
    if len(ranked.sizes) == 0:
        return np.empty(0)
    relevant = np.add.reduceat((ranked.grades > 0).astype(np.float64), ranked.block_starts)
    impression_of_row = np.repeat(np.arange(len(ranked.sizes)), ranked.sizes)
    blocks = np.flatnonzero(relevant > 0)
    _, first = np.unique(impression_of_row[ranked.block_starts[blocks]], return_index=True)
    blocks = blocks[first]
    before = ranked.positions[ranked.block_starts[blocks]]
    return _expected_reciprocal(before, ranked.block_sizes[blocks], relevant[blocks])


def _expected_reciprocal(
    before: NDArray[np.int64], size: NDArray[np.int64], relevant: NDArray[np.float64]
) -> NDArray[np.float64]:
    total = np.zeros(len(before))
    chance = relevant / size
    for j in range(1, int((size - relevant).max()) + 2):
        total += chance / (before + j)
        # P(j + 1) from P(j); a block that is used up has no chance left.
        chance = chance * np.maximum(size - j - relevant + 1, 0) / np.maximum(size - j, 1)
    return total


def recall_at_k(ranked: RankedImpressions, k: int) -> NDArray[np.float64]:
    """Share of the relevant candidates that the first k places hold.

    Args:
        ranked: The impressions.
        k: Places that count.

    Returns:
        float64 (n_kept,).
    """
    relevant = (ranked.grades > 0).astype(np.float64)
    found = ranked.per_impression((ranked.positions < k) * ranked.block_means(relevant))
    return found / ranked.per_impression(relevant)


def hit_at_k(ranked: RankedImpressions, k: int) -> NDArray[np.float64]:
    """Say whether the first k places hold a relevant candidate.

    Of a block of m tied candidates with r relevant ones, s places hold none with probability
    C(m - r, s) / C(m, s); at most one block reaches over the k-th place.

    Args:
        ranked: The impressions.
        k: Places that count.

    Returns:
        float64 (n_kept,): a probability where ties decide.
    """
    if len(ranked.sizes) == 0:
        return np.empty(0)
    relevant = np.add.reduceat((ranked.grades > 0).astype(np.float64), ranked.block_starts)
    size = ranked.block_sizes
    places = np.clip(k - ranked.positions[ranked.block_starts], 0, size)
    none = np.ones(len(size))
    for j in range(min(k, int(size.max()))):
        chance = np.maximum(size - relevant - j, 0) / np.maximum(size - j, 1)
        none *= np.where(j < places, chance, 1.0)
    impression_of_row = np.repeat(np.arange(len(ranked.sizes)), ranked.sizes)
    of_impression = impression_of_row[ranked.block_starts]
    first_blocks = np.flatnonzero(np.diff(of_impression, prepend=-1))
    missed: NDArray[np.float64] = np.multiply.reduceat(none, first_blocks)
    return 1.0 - missed


def bootstrap_difference(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    clusters: NDArray[np.generic] | None = None,
    n: int = N_RESAMPLES,
) -> Interval:
    """Estimate how much better a ranking is than another on the same impressions.

    Args:
        a: Values of one metric, by impression.
        b: Values of the other ranking, for the same impressions.
        rng: Draws the resamples.
        clusters: User of each impression: users are drawn, not impressions, because impressions of
            one user are alike and would make the interval too narrow. None: impressions are drawn.
        n: Resamples.

    Returns:
        Mean of a - b with its 95 % percentile interval.

    Raises:
        RankingError: There is no impression, or the lengths disagree.

    Source: bootstrap
    """
    if len(a) != len(b):
        found = f"{len(a)} and {len(b)} values"
        raise RankingError("bootstrap", found, "as many of each")
    return bootstrap_means((a - b)[:, None], rng, clusters=clusters, n=n)[0]


def bootstrap_means(
    values: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    clusters: NDArray[np.generic] | None = None,
    n: int = N_RESAMPLES,
) -> list[Interval]:
    """Estimate the means of several columns from the same resamples.

    A resample is how often each cluster was drawn; all means of many resamples are then one product
    of matrices.

    Args:
        values: (n_impressions, n_columns).
        rng: Draws the resamples.
        clusters: As of `bootstrap_difference`.
        n: Resamples.

    Returns:
        Mean with its 95 % percentile interval of each column.

    Raises:
        RankingError: There is no impression, or the lengths disagree.
    """
    return bootstrap_trainings(values[:, None, :], rng, clusters=clusters, n=n)


def bootstrap_trainings(
    values: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    clusters: NDArray[np.generic] | None = None,
    n: int = N_RESAMPLES,
) -> list[Interval]:
    """Estimate the means of several columns that several trainings gave on the same impressions.

    Impressions and trainings are resampled: what another training would give is as uncertain as
    what other users would do. The impressions of a resample are the same for all trainings.

    Args:
        values: (n_impressions, n_trainings, n_columns).
        rng: Draws the resamples.
        clusters: As of `bootstrap_difference`.
        n: Resamples.

    Returns:
        Mean with its 95 % percentile interval of each column.

    Raises:
        RankingError: There is no impression, or the lengths disagree.
    """
    if len(values) == 0 or (clusters is not None and len(clusters) != len(values)):
        found = f"{len(values)} values"
        raise RankingError("bootstrap", found, "as many as there are clusters, and at least 1")
    _, n_trainings, n_columns = values.shape
    means = _resampled_means(values.reshape(len(values), -1), rng, clusters, n)
    means = means.reshape(n, n_trainings, n_columns)
    if n_trainings > 1:
        drawn = rng.integers(n_trainings, size=(n, n_trainings))
        means = np.take_along_axis(means, drawn[:, :, None], axis=1)
    low, high = np.percentile(means.mean(axis=1), INTERVAL, axis=0)
    found = values.mean(axis=(0, 1))
    pairs = zip(found.tolist(), low.tolist(), high.tolist(), strict=True)
    return [Interval(*one) for one in pairs]


def _resampled_means(
    values: NDArray[np.float64],
    rng: np.random.Generator,
    clusters: NDArray[np.generic] | None,
    n: int,
) -> NDArray[np.float64]:
    n_values = len(values)
    ids = np.arange(n_values) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    sums = np.stack([np.bincount(ids, weights=column) for column in values.T], axis=1)
    counts = np.bincount(ids).astype(np.float64)
    n_clusters = len(counts)
    means = np.empty((n, values.shape[1]))
    step = max(1, _RESAMPLE_CELLS // n_clusters)
    for start in range(0, n, step):
        drawn = np.stack([
            np.bincount(rng.integers(n_clusters, size=n_clusters), minlength=n_clusters)
            for _ in range(start, min(start + step, n))
        ]).astype(np.float64)
        means[start : start + step] = (drawn @ sums) / (drawn @ counts)[:, None]
    return means
