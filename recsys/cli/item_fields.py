"""What items say of themselves, as an import found it: which fields, and which are read as text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from recsys.workspace import Workspace

#: Versions of items that are looked at, drawn at random.
_SAMPLE: Final = 2_000
#: Fields that are named; a catalogue may have hundreds.
_MOST_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class ItemFields:
    """Fields of the items of a log.

    Args:
        shares: How many of the items have it, 0 to 1, by name; most frequent first.
        as_text: What the text model would read, in its order.
    """

    shares: dict[str, float]
    as_text: tuple[str, ...]


def item_fields(workspace: Workspace) -> ItemFields:
    """Look at a sample of the items of the log.

    Returns:
        The fields; the text model looks at a sample of its own when it is trained.
    """
    from recsys.events.stats import sample_of_items
    from recsys.interest.text import speaking_fields

    sample = sample_of_items(workspace.log_config, _SAMPLE)
    counts = Counter(name for attributes in sample for name in attributes)
    shares = {name: n / len(sample) for name, n in counts.most_common()}
    named = workspace.config.interest.text_fields
    return ItemFields(shares, named or speaking_fields(sample))


def lines_of(found: ItemFields) -> list[str]:
    """Say it in words.

    Returns:
        Two lines.
    """
    if not found.shares:
        return ["items have no fields", "read as text: nothing"]
    shown = [
        name if share > 0.995 else f"{name} ({max(share, 0.01):.0%})"
        for name, share in list(found.shares.items())[:_MOST_SHOWN]
    ]
    n_more = len(found.shares) - len(shown)
    more = f" and {n_more} more" if n_more else ""
    text = ", ".join(found.as_text) or "nothing; no field of the items is words"
    return [
        f"fields of items: {', '.join(shown)}{more}",
        f"read as text: {text} ([interest] text_fields chooses others)",
    ]
