"""What was done lately: counts over sliding windows of items and users, and what is on the rise.

The last day is with `popularity`; here are the windows that suit how long the log is.
"""

from __future__ import annotations

from typing import Any

import polars as pl
from pydantic import Field

from recsys.config import Section, parse_settings
from recsys.features.profile import LogProfile
from recsys.features.vocabulary import Aggregate, Feature, count
from recsys.hookspecs import hookimpl

_HOUR_S, _DAY_S = 3_600, 86_400
_DEFAULTS_S = (7 * _DAY_S, 30 * _DAY_S)
#: A window says something where the log is this many times longer.
_TIMES = 3


class Settings(Section):
    """The table `[settings.windows]`.

    `windows_s` in seconds; left out: 7 and 30 days, where the log is three times longer. `types`
    are counted apart as well; left out: none.
    """

    windows_s: tuple[int, ...] | None = Field(default=None)
    types: tuple[str, ...] = ()


@hookimpl
def recsys_aggregates(profile: LogProfile, settings: dict[str, Any]) -> list[Aggregate]:
    """Count actions, of any type and of those asked for."""
    chosen, windows_s = _read(profile, settings)
    aggregates: list[Aggregate] = []
    for window_s in windows_s:
        for key in ("item", "user"):
            for label, of in (("actions", "*"), *((name, name) for name in chosen.types)):
                name = f"{key}_{label}_{window_label(window_s)}"
                aggregates.append(count(name, of, by=key, window_s=window_s))
    return aggregates


@hookimpl
def recsys_features(profile: LogProfile, settings: dict[str, Any]) -> list[Feature]:
    """Offer the counts, and how an item's shortest window compares with its longest."""
    aggregates = recsys_aggregates(profile, settings)
    features = [Feature(name=a.name, expr=pl.col(a.name)) for a in aggregates]
    windows_s = sorted(_read(profile, settings)[1])
    if len(windows_s) > 1:
        short, long = windows_s[0], windows_s[-1]
        lately = pl.col(f"item_actions_{window_label(short)}") + 1.0
        usually = pl.col(f"item_actions_{window_label(long)}") * (short / long) + 1.0
        text = f"actions of {window_label(short)} to what {window_label(long)} let expect"
        features.append(Feature(name="item_trend", expr=lately / usually, description=text))
    return features


def _read(profile: LogProfile, settings: dict[str, Any]) -> tuple[Settings, tuple[int, ...]]:
    chosen = parse_settings(Settings, settings)
    windows_s = chosen.windows_s
    if windows_s is None:
        windows_s = tuple(w for w in _DEFAULTS_S if profile.span_s >= _TIMES * w)
    if min(windows_s, default=1) <= 0:
        text = f"windows_s: found {windows_s}; expected seconds above 0"
        raise ValueError(text)
    return chosen, windows_s


def window_label(window_s: int) -> str:
    """Say a window as people do: `7d`, `1h`, `90s`."""
    for unit_s, letter in ((_DAY_S, "d"), (_HOUR_S, "h"), (60, "m")):
        if window_s % unit_s == 0:
            return f"{window_s // unit_s}{letter}"
    return f"{window_s}s"
