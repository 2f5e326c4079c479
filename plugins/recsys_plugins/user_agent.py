"""What a request is made with: device, operating system and browser, by its user agent."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import polars as pl

from recsys.config import Section, parse_settings
from recsys.features.profile import LogProfile
from recsys.features.vocabulary import Feature
from recsys.hookspecs import hookimpl

_NAMES = ("user_agent", "useragent", "user-agent", "ua")
#: The order is part of every bundle: append only.
SYSTEMS = ("Windows", "Mac OS X", "Linux", "Android", "iOS", "Chrome OS", "Ubuntu", "HarmonyOS")
BROWSERS = ("Chrome", "Safari", "Firefox", "Edge", "Samsung Internet", "Opera", "IE", "UC Browser")
_DESKTOPS = frozenset({"Windows", "Mac OS X", "Linux", "Chrome OS", "Ubuntu", "Fedora", "FreeBSD"})


class Settings(Section):
    """The table `[settings.user_agent]`.

    `attribute` names the text, such as `context.user_agent`; empty: one of a usual name, if any.
    """

    attribute: str = ""


class Agent(NamedTuple):
    """What a user agent says.

    Args:
        bot: A crawler, by its own word.
        mobile: A phone.
        tablet: A tablet.
        desktop: A computer.
        system: Place in `SYSTEMS`; behind the last one: another.
        browser: Place in `BROWSERS`; behind the last one: another.
    """

    bot: bool
    mobile: bool
    tablet: bool
    desktop: bool
    system: int
    browser: int


@hookimpl
def recsys_features(profile: LogProfile, settings: dict[str, Any]) -> list[Feature]:
    """Offer kinds of device as booleans, system and browser as places in fixed lists."""
    attribute = parse_settings(Settings, settings).attribute or profile.request_text(_NAMES)
    if not attribute:
        return []
    return [
        Feature(
            name=f"agent_{name}",
            expr=pl.col(attribute).map_batches(_reader(place), return_dtype=pl.Float32),
            per_request=True,
            description=f"{name} by the user agent",
        )
        for place, name in enumerate(Agent._fields)
    ]


def _reader(place: int) -> Callable[[pl.Series], pl.Series]:
    def read(texts: pl.Series) -> pl.Series:
        values = [None if text is None else float(parse_agent(text)[place]) for text in texts]
        return pl.Series(texts.name, values, dtype=pl.Float32)

    return read


@lru_cache(maxsize=100_000)
def parse_agent(text: str) -> Agent:
    """Read a user agent; each distinct text is parsed once."""
    from ua_parser import parse

    found = parse(text)
    system = found.os.family if found.os else ""
    browser = found.user_agent.family.removesuffix(" iOS") if found.user_agent else ""
    browser = browser.removesuffix(" Mobile").removeprefix("Mobile ")
    model = (found.device.model or "") if found.device else ""
    bot = bool(found.device and found.device.family == "Spider")
    # Androids say Mobile on phones and leave it out on tablets.
    tablet = "iPad" in model or "Tablet" in text or (system == "Android" and "Mobile" not in text)
    mobile = not tablet and (system in {"Android", "iOS"} or "Mobile" in text)
    return Agent(
        bot=bot,
        mobile=mobile and not bot,
        tablet=tablet and not bot,
        desktop=system in _DESKTOPS and not (bot or mobile or tablet),
        system=_place(SYSTEMS, system),
        browser=_place(BROWSERS, browser),
    )


def _place(names: tuple[str, ...], name: str) -> int:
    return names.index(name) if name in names else len(names)
