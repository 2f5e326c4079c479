"""Which items go together: counted pairs, as a sparse table of neighbours.

A pair (i, j) is counted when somebody who had acted on i acted on j later, or on both at once.
Steps:

1. `count_pairs` lists the pairs of a stretch of requests as 64-bit keys and counts them; counts of
   two stretches are added by `add_pairs`, so that going on costs no more than what is new.
2. `neighbours` turns counts into similarities and keeps the strongest of each item:

       similarity(i, j) = n(i, j) / sqrt((n(i) + s) * (n(j) + s))

   with n(i) pairs that i is in; s, a few pairs, keeps one coincidence from looking like a law.
3. `score` adds, for every request, the rows of the user's last items into one dense row and reads
   the candidates there: the cost is that of the neighbours of some thirty items, whatever the
   number of candidates, and no search. Numba compiles the loop: its rows are too short for numpy.

Factorising the same counts would say something of pairs that never occurred too; the text model
does that already, and pairs stay explainable and additive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: An item code in a pair's key.
_BITS: Final = 32
#: Pairs that are listed at a time; 32 MB.
_CHUNK: Final = 4_000_000
#: Pairs that every item is believed to have had with all others together.
_PRIOR: Final = 10.0


@dataclass(frozen=True, slots=True)
class Pairs:
    """Counted pairs of item codes.

    Args:
        keys: int64 (n,): earlier item << 32 | later item, ascending, each once.
        counts: float32 (n,).
    """

    keys: NDArray[np.int64]
    counts: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Similar items of each item, in compressed rows.

    Args:
        starts: int64 (n_items + 1,): neighbours of item i are `starts[i]:starts[i + 1]`.
        items: int32 (n,): their codes.
        similarities: float32 (n,): above 0.
    """

    starts: NDArray[np.int64]
    items: NDArray[np.int32]
    similarities: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.starts) - 1


def no_pairs() -> Pairs:
    """Begin counting.

    Returns:
        Nothing counted.
    """
    return Pairs(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))


def add_pairs(first: Pairs, second: Pairs) -> Pairs:
    """Add two counts.

    Returns:
        The sum.
    """
    keys = np.concatenate([first.keys, second.keys])
    distinct, places = np.unique(keys, return_inverse=True)
    weights = np.concatenate([first.counts, second.counts])
    return Pairs(distinct, np.bincount(places, weights, len(distinct)).astype(np.float32))


def count_pairs(
    chosen: NDArray[np.int32], offsets: NDArray[np.int64], histories: NDArray[np.int32]
) -> Pairs:
    """Count the pairs of some requests.

    Args:
        chosen: int32 (n_chosen,): codes of what was acted on, request after request; -1: unknown.
        offsets: int64 (n_requests + 1,): of request i `offsets[i]:offsets[i + 1]`.
        histories: int32 (n_requests, n): codes of what the user had acted on before; -1: padding.

    Returns:
        The counts; an item that a user acted on before more than once counts once.
    """
    found = no_pairs()
    sizes = np.diff(offsets)
    most = sizes * (sizes + histories.shape[1])
    ends = np.searchsorted(np.cumsum(most), np.arange(_CHUNK, most.sum() + _CHUNK, _CHUNK))
    start = 0
    for stop in np.unique(np.minimum(ends + 1, len(sizes))).tolist():
        keys = _keys_of(chosen, offsets[start : stop + 1], histories[start:stop])
        distinct, counts = np.unique(keys, return_counts=True)
        found = add_pairs(found, Pairs(distinct, counts.astype(np.float32)))
        start = stop
    return found


def _keys_of(
    chosen: NDArray[np.int32], offsets: NDArray[np.int64], histories: NDArray[np.int32]
) -> NDArray[np.int64]:
    from recsys.retrieval.cooccurrence_kernels import list_pairs

    sizes = np.diff(offsets)
    keys = np.empty(int((sizes * (sizes + histories.shape[1])).sum()), dtype=np.int64)
    n_keys = list_pairs(chosen, offsets, np.ascontiguousarray(histories), keys)
    return keys[:n_keys]


def neighbours(pairs: Pairs, n_items: int, most: int) -> Neighbours:
    """Find the most similar items of each item.

    Args:
        pairs: The counts.
        n_items: Codes are below.
        most: How many neighbours to keep of each item.

    Returns:
        The table.
    """
    before = (pairs.keys >> _BITS).astype(np.int64)
    after = (pairs.keys & ((1 << _BITS) - 1)).astype(np.int64)
    # Both directions: who bought the frame later may as well buy the picture now.
    rows, columns = np.concatenate([before, after]), np.concatenate([after, before])
    both = Pairs(rows << _BITS | columns, np.tile(pairs.counts, 2))
    summed = add_pairs(both, no_pairs())
    rows, columns = summed.keys >> _BITS, summed.keys & ((1 << _BITS) - 1)
    totals = np.bincount(rows, summed.counts, n_items) + _PRIOR
    similarities = summed.counts / np.sqrt(totals[rows] * totals[columns])
    order = np.lexsort((columns, -similarities, rows))
    rows, columns, similarities = rows[order], columns[order], similarities[order]
    firsts = np.searchsorted(rows, np.arange(n_items))
    kept = np.arange(len(rows)) - firsts[rows] < most
    return Neighbours(
        starts=np.searchsorted(rows[kept], np.arange(n_items + 1)).astype(np.int64),
        items=columns[kept].astype(np.int32),
        similarities=similarities[kept].astype(np.float32),
    )


def near_to(table: Neighbours, history: NDArray[np.int32]) -> NDArray[np.int32]:
    """List the neighbours of items.

    Args:
        table: Neighbours.
        history: int32: codes; -1: unknown or padding.

    Returns:
        int32 (n,): codes, ascending, each once.
    """
    known = history[history >= 0].tolist()
    found = [table.items[table.starts[code] : table.starts[code + 1]] for code in known]
    nothing = np.zeros(0, dtype=np.int32)
    return np.unique(np.concatenate([nothing, *found]))


def score(
    table: Neighbours,
    candidates: NDArray[np.int32],
    offsets: NDArray[np.int64],
    histories: NDArray[np.int32],
) -> NDArray[np.float32]:
    """Say how well candidates go with what a user acted on last.

    Args:
        table: Neighbours.
        candidates: int32 (n_candidates,): codes; -1: unknown.
        offsets: int64 (n_requests + 1,).
        histories: int32 (n_requests, n): codes, newest first; -1: unknown or padding.

    Returns:
        float32 (n_candidates, 3): mean similarity to all last items, the best one, and the one to
        the newest item; NaN where the candidate or all last items are unknown.
    """
    from recsys.retrieval.cooccurrence_kernels import score_requests

    scores = np.full((len(candidates), 3), np.nan, dtype=np.float32)
    rows = (table.starts, table.items, table.similarities)
    score_requests(rows, candidates, (offsets, np.ascontiguousarray(histories)), scores)
    return scores
