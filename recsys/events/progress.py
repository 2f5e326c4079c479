"""Who is told how far a long work is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: Is told (what, how much is done, of how much).
Progress: TypeAlias = Callable[[str, int, int], None]


def tell_nobody(what: str, done: int, total: int) -> None:
    """Take no notice."""
