"""When a request is made, by the clock on the wall: hour and weekday, where people live."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from recsys.config import Section, parse_settings
from recsys.features.profile import LogProfile
from recsys.features.vocabulary import Feature
from recsys.hookspecs import hookimpl

_DAY_S = 86_400.0
_DAY_US = 86_400_000_000
_QUARTER_US = 900_000_000
_NAMES = ("time_zone", "timezone", "tz")
_WITHOUT_SHIFT = ("UTC", "Etc/UTC")


class Settings(Section):
    """The table `[settings.local_time]`.

    `attribute` names what holds a request's or a user's own zone, such as `user.time_zone`; where
    it is missing or no zone, `time_zone` counts. Empty: an attribute of a usual name, if any.
    """

    time_zone: str = "UTC"
    attribute: str = ""
    cyclic: bool = False


@hookimpl
def recsys_features(profile: LogProfile, settings: dict[str, Any]) -> list[Feature]:
    """Offer the hour where the log spans days, and the weekday where it spans weeks."""
    chosen = parse_settings(Settings, settings)
    _check_zone(chosen.time_zone)
    local = _local_us(chosen.attribute or profile.request_text(_NAMES), chosen.time_zone)
    hour = (local % _DAY_US) / (_DAY_US / 24)
    # 1970-01-01 was a Thursday; 0 is Monday.
    weekday = (local // _DAY_US + 3) % 7
    features: list[Feature] = []
    if profile.span_s >= 2 * _DAY_S:
        features.append(_of_request("local_hour", hour, "hour of the day, 0 to 24"))
    if profile.span_s >= 14 * _DAY_S:
        features.append(_of_request("local_weekday", weekday, "0: Monday to 6: Sunday"))
    if chosen.cyclic and profile.span_s >= 2 * _DAY_S:
        features += _cyclic("local_hour", hour, 24) + _cyclic("local_weekday", weekday, 7)
    return features


def _of_request(name: str, expr: pl.Expr, description: str) -> Feature:
    return Feature(name=name, expr=expr, per_request=True, description=description)


def _cyclic(name: str, expr: pl.Expr, period: int) -> list[Feature]:
    angle = expr * (6.283185307179586 / period)
    text = f"{name} on a circle of {period}"
    return [
        _of_request(f"{name}_sin", angle.sin(), text),
        _of_request(f"{name}_cos", angle.cos(), text),
    ]


def _local_us(attribute: str, default: str) -> pl.Expr:
    """Give the request's instant as its own clock on the wall shows it, in microseconds."""
    as_of = pl.col("as_of")
    if not attribute and default in _WITHOUT_SHIFT:
        # Mere arithmetic is compiled; a call of Python costs a request 0.3 ms and more.
        return as_of
    if not attribute:
        return as_of + as_of.map_batches(
            lambda instants: _shifts(instants, [default] * len(instants), default),
            return_dtype=pl.Int64,
        )
    return as_of + pl.map_batches(
        [as_of, pl.col(attribute)],
        lambda columns: _shifts(columns[0], columns[1].to_list(), default),
        return_dtype=pl.Int64,
    )


def _shifts(instants: pl.Series, zones: list[str | None], default: str) -> pl.Series:
    # A zone changes its clock on a quarter of an hour, so one look-up serves a whole quarter.
    quarters = (instants // _QUARTER_US).to_list()
    found = [
        _shift_us(zone or default, quarter, default)
        for zone, quarter in zip(zones, quarters, strict=True)
    ]
    return pl.Series(instants.name, found, dtype=pl.Int64)


@lru_cache(maxsize=100_000)
def _shift_us(zone: str, quarter: int, default: str) -> int:
    instant = datetime.fromtimestamp(quarter * (_QUARTER_US // 1_000_000), UTC)
    try:
        shift = instant.astimezone(ZoneInfo(zone)).utcoffset()
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # Callers send all kinds of text; what is no zone is as good as missing.
        return _shift_us(default, quarter, default)
    return int(shift.total_seconds()) * 1_000_000 if shift else 0


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        text = f"time_zone: found {name!r}; expected a name such as Europe/Amsterdam"
        raise ValueError(text) from error
