"""How often people come back to an item: groceries and music are repeated, films and news hardly.

Source: repeat-consumption
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from recsys.schema import MICROSECONDS

if TYPE_CHECKING:
    from recsys.features.actions import Actions

#: A log with this share or more is one of things that people come back to.
MANY_REPEATS: Final = 0.05
#: Interactions that are looked at, about; of more, those of every n-th user.
_MOST: Final = 2_000_000
#: Within a day the same item is viewed, carted and bought, which is one wish and no repeat.
_LEAST_US: Final = 86_400 * MICROSECONDS


def repeat_share(actions: Actions, *, most: int = _MOST) -> float:
    """Measure how many interactions are with an item that their user had acted on before.

    Args:
        actions: Of a log; impressions and people without an id are passed over.
        most: Interactions that are looked at, about.

    Returns:
        The share, 0 to 1, that comes a day or more after the user's first action on the item.
    """
    n_named = sum(int(np.count_nonzero(_named(part))) for part in actions.pieces())
    if not n_named:
        return 0.0
    stride = max(1, -(-n_named // most))
    found = []
    for part in actions.pieces():
        chosen = _named(part) & (part.users % stride == 0)
        found.append((part.users[chosen], part.items[chosen], part.occurred[chosen]))
    users, items, occurred = (np.concatenate(column) for column in zip(*found, strict=True))
    if not len(users):  # not one of the chosen users did anything
        return 0.0
    order = np.lexsort((occurred, items, users))
    users, items, occurred = users[order], items[order], occurred[order]
    is_first = np.r_[True, (users[1:] != users[:-1]) | (items[1:] != items[:-1])]
    first = occurred[is_first][np.cumsum(is_first) - 1]
    return float(np.mean(occurred - first >= _LEAST_US))


def _named(actions: Actions) -> NDArray[np.bool_]:
    # Type 0 are impressions.
    named: NDArray[np.bool_] = (actions.users >= 0) & (actions.types > 0)
    return named
