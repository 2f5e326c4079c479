"""What the caller says the user is looking at, as far as an event has named it."""

from __future__ import annotations

from collections.abc import Sequence

from recsys.features.entities import Entities
from recsys.features.seeds import Seeds


def seeds_of(
    seed_item_ids: Sequence[str], items: Entities, event_type: str
) -> tuple[Seeds | None, list[str]]:
    """Find the seeds of one request.

    Args:
        seed_item_ids: As asked, the most important first; twice is once.
        items: All items.
        event_type: What seeds count as.

    Returns:
        Those that an event has named, None: there are none; and a warning about the others.
    """
    if not seed_item_ids:
        return None, []
    rows = items.rows(list(dict.fromkeys(seed_item_ids)))
    known = rows[rows >= 0]
    n_unknown = len(rows) - len(known)
    warnings = [f"{n_unknown} unknown seed items were passed over"] if n_unknown else []
    return (Seeds([known], event_type) if len(known) else None), warnings
