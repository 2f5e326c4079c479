"""Events and the cells that they fall into, as the compiled folds take them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.features.actions import Actions
from recsys.features.cells import KeyedRows, bucket_us
from recsys.features.folds import Events, Keyed
from recsys.features.interning import PairTable
from recsys.features.vocabulary import Aggregate

_NOTHING = np.zeros(0, dtype=np.int64)


def keyed_events(
    aggregate: Aggregate,
    keyed: KeyedRows,
    actions: Actions,
    wanted: NDArray[np.bool_],
    *,
    pairs: PairTable | None,
    keys: NDArray[np.int64] | None,
) -> tuple[Keyed, Events]:
    """Lay events out for the folds; of `distinct` ones, say when each pair was seen before.

    Args:
        aggregate: What they are folded into.
        keyed: Cells of events.
        actions: The events.
        wanted: bool (n_types,): event types that count.
        pairs: Of a `distinct` aggregate: what was seen before; goes on.
        keys: int64 (n_keys,) of a `distinct` aggregate: what stands for the cell in the pairs.

    Returns:
        Cells and events.
    """
    events = Events(actions.types, wanted, actions.visible, actions.occurred, actions.values)
    if pairs is None or keys is None:
        return Keyed(keyed.rows, keyed.slots, _NOTHING), events
    counts = wanted[actions.types[keyed.rows]]
    rows, slots = keyed.rows[counts], keyed.slots[counts]
    others = actions.items if aggregate.what == "item" else actions.users
    buckets = actions.visible[rows] // bucket_us(aggregate)
    return Keyed(rows, slots, pairs.visit(keys[counts], others[rows], buckets)), events
