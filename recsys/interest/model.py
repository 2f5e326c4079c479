"""The text-interest model as the engine sees it: a recipe that imports torch only when it works."""

from __future__ import annotations

from pathlib import Path

from recsys.config import InterestConfig
from recsys.features.models import FittedFeatureModel, FitView, ItemSource
from recsys.features.vocabulary import ANY_INTERACTION, Aggregate, last_items
from recsys.interest.fitted import FittedInterest
from recsys.interest.reading import LIKED, SHOWN
from recsys.interest.scoring import COLUMNS
from recsys.schema import IMPRESSION


class TextInterestModel:
    """What people were reading, learned from what they did next.

    Args:
        config: Encoder, size and speed.
    """

    name = "text_interest"
    of_text = True
    columns: tuple[str, ...] = COLUMNS

    def __init__(self, config: InterestConfig) -> None:
        self.config = config

    def aggregates(self) -> tuple[Aggregate, ...]:
        """Ask for a user's last items, acted on and shown.

        Returns:
            Two `last_items`; more are shown than acted on, so twice as many are kept.
        """
        return (
            last_items(LIKED, ANY_INTERACTION, n=self.config.history),
            last_items(SHOWN, IMPRESSION, n=2 * self.config.history),
        )

    def unfitted(self, items: ItemSource) -> FittedFeatureModel:
        """Offer similarities in the pretrained encoder's eyes.

        Args:
            items: The catalogue.

        Returns:
            A model whose fitted columns are missing; the first `fit` may go on from it, so that
            no text is encoded twice.
        """
        from recsys.interest.span import start

        return start(self.config, items)

    def fit(self, view: FitView, previous: FittedFeatureModel | None = None) -> FittedFeatureModel:
        """Fit on a span of time.

        Args:
            view: The span.
            previous: A model of an earlier span or from `unfitted`; its encoder is taken over.

        Returns:
            The fitted model.
        """
        from recsys.interest.span import fit_span

        known = previous if isinstance(previous, FittedInterest) else None
        return fit_span(self.config, view, known)

    def load(self, folder: Path, items: ItemSource) -> FittedFeatureModel:
        """Read what `save` wrote.

        Args:
            folder: The model's folder in a bundle; it must stay where it is.
            items: The catalogue to score.

        Returns:
            The model.
        """
        from recsys.interest.artefacts import load

        fitted = FittedInterest(items, *load(self.config, folder))
        fitted.refresh()
        return fitted
