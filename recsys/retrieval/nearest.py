"""The rows of a matrix that are nearest to some of its kind.

Of fewer than 50,000 rows with a vector all are looked at: one matrix product, exact, a few
milliseconds. Of more, an inverted index of faiss names rows that may be near, and those are
compared exactly: rows lie in lists by the nearest of some hundred centres, in 8 bits a number, and
the 32 nearest lists are gone through. Without faiss (`pip install 'recsys[ann]'`) all rows are
looked at, however many.

Source: ivf in docs/references.md.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from recsys.features.best import best_rows
from recsys.features.growable import Growable

#: Rows with a vector from which on an index is worth its second.
_MANY_ROWS: Final = 50_000
#: Lists for each root of the number of rows, and how many of them are gone through.
_LISTS_PER_ROOT: Final = 2
_LISTS_READ: Final = 32
#: Rows that a centre is drawn from, and rounds of moving the centres.
_ROWS_PER_CENTRE: Final = 40
_ROUNDS: Final = 6
#: Rows that are asked for each query at least.
_LEAST_ASKED: Final = 100
#: An index is made anew for a matrix that is so many times as long.
_OUTGROWN: Final = 4
_SEED: Final = 17

_log = structlog.get_logger("recsys.retrieval")


class NearestRows:
    """Finds the nearest rows of a matrix that grows at the end; not thread-safe."""

    def __init__(self) -> None:
        self._there = Growable(np.bool_, False)
        self._n_there = 0
        self._index: _Index | None = None

    def find(
        self, queries: NDArray[np.float32], vectors: NDArray[np.float32], n: int
    ) -> NDArray[np.int64]:
        """Find the rows that are most similar to any of the queries.

        The first call with many rows takes a second and more, for the index, unless `prepare` was
        called.

        Args:
            queries: float32 (n_queries, embedding_size): at least one, unit length.
            vectors: float32 (n_rows, embedding_size): unit length; rows of zeros are never found.
                Those of a later call begin with those of an earlier one.
            n: How many rows at most.

        Returns:
            int64 (<= n,): rows, most similar first, ties in order of rows.
        """
        there, index = self._prepared(vectors)
        if index is not None and n * _OUTGROWN <= len(vectors):
            rows = index.near(queries, n)
            if len(rows) >= n:
                best = (queries @ vectors[rows].T).max(axis=0)
                return rows[best_rows(best, n)]
        best = (queries @ vectors.T).max(axis=0)
        best[~there] = np.nan
        return best_rows(best, n)

    def prepare(self, vectors: NDArray[np.float32]) -> None:
        """Do what the first question would have to wait for.

        Args:
            vectors: As `find` will get them.
        """
        self._prepared(vectors)

    def _prepared(self, vectors: NDArray[np.float32]) -> tuple[NDArray[np.bool_], _Index | None]:
        new = np.asarray(vectors[len(self._there) :].any(axis=1))
        self._there.extend(new)
        self._n_there += int(np.count_nonzero(new))
        there: NDArray[np.bool_] = self._there.rows[: len(vectors)]
        return there, self._index_of(vectors, there)

    def _index_of(self, vectors: NDArray[np.float32], there: NDArray[np.bool_]) -> _Index | None:
        if self._n_there < _MANY_ROWS or _faiss() is None:
            return None
        if self._index is None or self._n_there > _OUTGROWN * self._index.n_trained:
            self._index = _Index(vectors[there])
        self._index.add(vectors, there)
        return self._index


class _Index:
    """An inverted index of the rows of a matrix.

    Args:
        vectors: float32 (n, embedding_size): to find centres by.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        faiss = _in_one_thread()
        n_rows, size = vectors.shape
        self.n_trained = n_rows
        n_lists = max(1, int(_LISTS_PER_ROOT * math.sqrt(n_rows)))
        self._centres = faiss.IndexFlatIP(size)
        self._index = faiss.IndexIVFScalarQuantizer(
            self._centres,
            size,
            n_lists,
            faiss.ScalarQuantizer.QT_8bit,
            faiss.METRIC_INNER_PRODUCT,
            False,  # vectors themselves, not what lies between them and their centre
        )
        self._index.nprobe = _LISTS_READ
        clustering = self._index.cp
        clustering.niter, clustering.spherical, clustering.seed = _ROUNDS, True, _SEED
        clustering.max_points_per_centroid = _ROWS_PER_CENTRE
        clustering.min_points_per_centroid = 1  # else it writes to standard output
        self._index.train(vectors)
        self._n_seen = 0

    def add(self, vectors: NDArray[np.float32], there: NDArray[np.bool_]) -> None:
        """Take in the rows that the matrix has gained."""
        new = self._n_seen + np.flatnonzero(there[self._n_seen :])
        if len(new):
            self._index.add_with_ids(vectors[new], new)
        self._n_seen = len(vectors)

    def near(self, queries: NDArray[np.float32], n: int) -> NDArray[np.int64]:
        """List rows that may be among the n nearest.

        Returns:
            int64: ascending, each once; fewer than n where the lists hold no more.
        """
        rows = self._asked(queries, max(_LEAST_ASKED, -(-2 * n // len(queries))))
        return rows if len(rows) >= n else self._asked(queries, n)

    def _asked(self, queries: NDArray[np.float32], n_each: int) -> NDArray[np.int64]:
        _in_one_thread()
        _, found = self._index.search(queries, n_each)
        rows: NDArray[np.int64] = np.unique(found)
        return rows[rows >= 0]


@cache
def _faiss() -> Any:  # noqa: ANN401 - a module without types, or None
    try:
        import faiss
    except ImportError:
        _log.warning("exact_search", found="no faiss", expected="pip install 'recsys[ann]'")
        return None
    return faiss


def _in_one_thread() -> Any:  # noqa: ANN401 - a module without types
    """Give faiss to this thread alone: requests are spread over processes already.

    Returns:
        The module.
    """
    faiss = _faiss()
    faiss.omp_set_num_threads(1)  # holds for the thread that says so
    return faiss
