"""What an item says, against what the user read, liked and passed over."""

from __future__ import annotations

from typing import Final

import polars as pl

from recsys.config import Config
from recsys.features.models import FeatureModel
from recsys.features.vocabulary import Feature
from recsys.hookspecs import hookimpl
from recsys.interest.model import TextInterestModel

# What was passed over is weighed within `text_interest`; its plain similarities are computed for
# other plugins, but a ranker that saw them too did slightly worse (docs/experiments.md).
_DESCRIPTIONS: Final = {
    "text_interest": "how much the item's text is to the user's taste, beyond its click rate",
    "text_appeal": "how much an item with such a text appeals to everybody",
    "text_liked_mean": "how near the item's text is to all that the user liked",
    "text_liked_best": "how near it is to the nearest item that the user liked",
}


@hookimpl
def recsys_feature_models(config: Config) -> list[FeatureModel]:
    """Offer the text-interest model."""
    return [TextInterestModel(config.interest)]


@hookimpl
def recsys_features() -> list[Feature]:
    """Offer its columns."""
    return [
        Feature(name=name, expr=pl.col(name), description=description)
        for name, description in _DESCRIPTIONS.items()
    ]
