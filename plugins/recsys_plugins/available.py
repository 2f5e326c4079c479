"""Filter: what cannot be had is not recommended, from the event on that says so.

An item event with `available = false` takes an item out of recommendations, one with `true` brings
it back. Another attribute does the same, such as a number of pieces in stock.
"""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from recsys.config import Section, parse_settings
from recsys.features.profile import Kind, LogProfile
from recsys.hookspecs import Filter, hookimpl

_USUAL: Final = "available"


class Settings(Section):
    """The table `[settings.available]`.

    `attribute`: of items; a boolean, or a number that must be above 0. An item that does not carry
    it can be had. Empty: everything can be had.
    """

    attribute: str = _USUAL


@hookimpl
def recsys_filters(profile: LogProfile, settings: dict[str, Any]) -> list[Filter]:
    """Offer the filter.

    Raises:
        ValueError: The attribute that was chosen is neither a boolean nor a number.
    """
    name = parse_settings(Settings, settings).attribute
    if not name:
        return []
    # No item need carry it when a bundle is trained: the first that does must be taken out at once.
    found = profile.items.get(name)
    kind: Kind = found.kind if found else "boolean"
    if kind not in {"boolean", "number"}:
        if "attribute" not in settings:
            return []  # the log means something else by this name
        problem = f"attribute {name!r} is {kind}; expected a boolean, or a number in stock"
        raise ValueError(problem)
    # Booleans are 0 and 1 here; what is missing compares as neither and stays.
    keep = pl.col(f"item.{name}") > 0
    return [Filter(name="available", keep=keep, items={name: kind})]
