"""Where a visitor came from: search, social network, mail, advertisement, the own site, nowhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

import polars as pl

from recsys.config import Section, parse_settings
from recsys.features.profile import LogProfile
from recsys.features.vocabulary import Feature
from recsys.hookspecs import hookimpl

_NAMES = ("referrer", "referer")
MEDIUMS = ("direct", "internal", "search", "social", "email", "paid", "other")
#: Sources by one label of their host (google.com, google.co.uk) or by the whole host (t.co). The
#: order is part of every bundle: append only.
_BY_MEDIUM = {
    "search": "google bing yahoo duckduckgo baidu yandex ecosia naver sogou qwant startpage seznam"
    " so.com search.brave.com perplexity",
    "social": "facebook instagram twitter x.com t.co linkedin lnkd.in pinterest reddit tiktok"
    " youtube weibo vk.com zhihu xiaohongshu quora tumblr whatsapp telegram t.me threads bsky"
    " mastodon news.ycombinator.com",
    "email": "mail outlook.live.com outlook.office.com webmail protonmail",
}
_MEDIUM_OF = {name: medium for medium, text in _BY_MEDIUM.items() for name in text.split()}
SOURCES = tuple(_MEDIUM_OF)
_PAID = frozenset({"cpc", "ppc", "paid", "paidsearch", "paid_social", "display", "cpm", "banner"})


class Settings(Section):
    """The table `[settings.referrer]`.

    `attribute` names the address, such as `context.referrer`; empty: one of a usual name, if any.
    `own_hosts` are the site's own; what is below them is the own site too.
    """

    attribute: str = ""
    own_hosts: tuple[str, ...] = ()


@hookimpl
def recsys_features(profile: LogProfile, settings: dict[str, Any]) -> list[Feature]:
    """Offer one boolean per medium, and the source as a place in a fixed list."""
    chosen = parse_settings(Settings, settings)
    attribute = chosen.attribute or profile.request_text(_NAMES)
    if not attribute:
        return []
    own = tuple(host.lower() for host in chosen.own_hosts)
    column = pl.col(attribute)
    features = [
        Feature(
            name=f"referrer_{medium}",
            expr=column.map_batches(_reader(own, 0), return_dtype=pl.Float32) == place,
            per_request=True,
            description=f"the visitor came from: {medium}",
        )
        for place, medium in enumerate(MEDIUMS)
    ]
    source = column.map_batches(_reader(own, 1), return_dtype=pl.Float32)
    return [*features, Feature(name="referrer_source", expr=source, per_request=True)]


def _reader(own: tuple[str, ...], part: int) -> Callable[[pl.Series], pl.Series]:
    def read(texts: pl.Series) -> pl.Series:
        values = [
            None if text is None else float(parse_referrer(text, own)[part]) for text in texts
        ]
        return pl.Series(texts.name, values, dtype=pl.Float32)

    return read


@lru_cache(maxsize=100_000)
def parse_referrer(address: str, own_hosts: tuple[str, ...] = ()) -> tuple[int, int]:
    """Read an address; each distinct one is parsed once.

    An empty address is a direct visit; a missing one says nothing and never comes here.

    Returns:
        Places in `MEDIUMS` and in `SOURCES`; behind the last source: another, or none.
    """
    if not address.strip():
        return MEDIUMS.index("direct"), len(SOURCES)
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        host, query = (parts.hostname or "").lower(), parse_qs(parts.query)
    except ValueError:
        return MEDIUMS.index("other"), len(SOURCES)
    source = _source(host)
    medium = _MEDIUM_OF.get(source, "other")
    paid_mark = query.get("utm_medium", [""])[0].lower() in _PAID
    if paid_mark or "gclid" in query or "msclkid" in query:
        medium = "paid"
    elif any(host == own or host.endswith(f".{own}") for own in own_hosts):
        medium = "internal"
    return MEDIUMS.index(medium), SOURCES.index(source) if source else len(SOURCES)


def _source(host: str) -> str:
    labels = host.split(".")
    whole = [".".join(labels[i:]) for i in range(len(labels))]
    # mail.google.com is mail before it is Google; the top-level domain names nobody.
    return next((name for name in [*whole, *labels[:-1]] if name in _MEDIUM_OF), "")
