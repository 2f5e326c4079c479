"""What an item says, against what the user read, liked and passed over."""

from __future__ import annotations

from typing import Final

import polars as pl

from recsys.config import Config
from recsys.features.models import FeatureModel
from recsys.features.vocabulary import Feature
from recsys.hookspecs import hookimpl
from recsys.interest.model import TextInterestModel

# Lists have a theme: all Christmas films are near to a liked Christmas film. What tells candidates
# apart is how each differs from its list, so that is what the ranker sees (docs/experiments.md).
_DESCRIPTIONS: Final = {
    "text_interest": "how much the item is to the user's taste, beyond its click rate",
    "text_taste": "the part of it that a regression on all past reactions gives",
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
    """Offer its columns, as differences to the mean of the list."""
    return [
        Feature(
            name=name,
            expr=pl.col(name) - pl.col(name).mean(),
            listwise=True,
            description=f"{description}; against the other candidates",
        )
        for name, description in _DESCRIPTIONS.items()
    ]
