"""The LightGBM ranker: scores candidates, explains scores, and is saved as LightGBM's text.

Scores come from the trees compiled for this machine (`recsys.ranking.compiled`), which give what
LightGBM gives, to the last bit; where they do not, LightGBM's own predictor scores. Explanations
are LightGBM's. The library is imported when it is first needed: a server that only scores starts
without it, and without the hundred megabytes that it brings along.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from recsys.errors import BundleError, RankingError
from recsys.ranking.checking import compiled_score, load_probe, probe_of, save_probe
from recsys.ranking.forest import feature_names_of
from recsys.ranking.rows import without_infinities

if TYPE_CHECKING:
    import lightgbm as lgb

    from recsys.ranking.checking import Probe


@dataclass(frozen=True, slots=True)
class FeatureImportance:
    """What a feature did in training.

    Args:
        feature: Column name.
        gain: Sum of the loss reductions of its splits.
        splits: How many splits use it.
    """

    feature: str
    gain: float
    splits: int


def shares_of(importance: Sequence[FeatureImportance]) -> dict[str, float]:
    """Say how much of what all splits won each feature won.

    Args:
        importance: Of all features of a ranker.

    Returns:
        Shares that add up to 1, by feature in the same order; all 0 where nothing was split.
    """
    total = sum(found.gain for found in importance) or 1.0
    return {found.feature: found.gain / total for found in importance}


class Ranker:
    """Scores the rows of a feature matrix; immutable and safe to share between threads.

    Args:
        model_text: A model in LightGBM's text form, from a trusted source: parsing a damaged one
            kills the process.
        feature_names: Columns that it was trained on, in order.
        validation_ndcg: nDCG@10 on the validation slice; None when there was none, or not known.
        probe: What LightGBM gave; None: it is asked now.
    """

    def __init__(
        self,
        model_text: str,
        feature_names: tuple[str, ...],
        validation_ndcg: float | None = None,
        *,
        probe: Probe | None = None,
    ) -> None:
        self.feature_names = feature_names
        self.validation_ndcg = validation_ndcg
        self._text = model_text
        self._loading = threading.Lock()
        self._parsed: lgb.Booster | None = None
        self._score = compiled_score(model_text, self._raw_scores, probe)
        if self._score == self._raw_scores:
            self._booster()  # a text that LightGBM refuses is refused now

    @classmethod
    def load(cls, path: Path, feature_names: tuple[str, ...]) -> Ranker:
        """Read a ranker whose hash was checked before.

        Args:
            path: What `save` wrote.
            feature_names: Columns that the bundle names, in order.

        Returns:
            The ranker.

        Raises:
            BundleError: There is no such file, or it was trained on other columns.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(
                path, f"unreadable ({error})", "a ranker in LightGBM's text"
            ) from error
        try:
            ranker = cls(text, feature_names, probe=load_probe(path))
        except RankingError as error:
            raise BundleError(path, f"refused ({error})", "a ranker in LightGBM's text") from error
        found, expected = feature_names_of(text), booster_names(feature_names)
        if len(found) != len(expected):
            raise BundleError(path, f"{len(found)} features", f"{len(expected)}")
        for position, (one, other) in enumerate(zip(found, expected, strict=True)):
            if one != other:
                raise BundleError(path, f"feature {one} at position {position}", other)
        return ranker

    def save(self, path: Path) -> None:
        """Write LightGBM's text form; a loaded copy gives the same scores to the last bit.

        Beside it goes what LightGBM scored, for those who load it to compare with.
        """
        path.write_text(self._text, encoding="utf-8")
        save_probe(path, probe_of(self._text, self._raw_scores))

    @property
    def n_trees(self) -> int:
        """Count the trees."""
        return int(self._booster().num_trees())

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Score every row on its own.

        Args:
            matrix: (n_rows, n_features); NaN and infinite values are missing.

        Returns:
            Raw scores (n_rows,), the higher the better; always finite.

        Raises:
            RankingError: The matrix has other columns than the ranker, or a score is not finite.
        """
        self._check_shape(matrix)
        if len(matrix) == 0:
            return np.empty(0)
        scores = self._score(without_infinities(matrix))
        if not np.isfinite(scores).all():
            raise RankingError(
                "ranker", "a score that is not finite", "finite scores; the model is damaged"
            )
        return scores

    def explain(
        self, matrix: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Split scores into what each feature added (SHAP values); about 100 times a scoring.

        Args:
            matrix: As for `score`.

        Returns:
            Contributions (n_rows, n_features) and the expected score (n_rows,), which together add
            up to the score.

        Raises:
            RankingError: The matrix has other columns than the ranker.

        Source: shap
        """
        self._check_shape(matrix)
        if len(matrix) == 0:
            return np.empty((0, len(self.feature_names))), np.empty(0)
        found = self._booster().predict(
            without_infinities(matrix), num_threads=1, pred_contrib=True
        )
        parts = np.asarray(found, dtype=np.float64)
        return parts[:, :-1], parts[:, -1]

    def importance(self) -> list[FeatureImportance]:
        """Say what each feature did in training.

        Returns:
            One per feature, largest gain first.
        """
        gains = self._booster().feature_importance("gain")
        splits = self._booster().feature_importance("split")
        table = [
            FeatureImportance(name, float(gain), int(n_splits))
            for name, gain, n_splits in zip(self.feature_names, gains, splits, strict=True)
        ]
        return sorted(table, key=lambda row: (-row.gain, row.feature))

    def gain_shares(self) -> dict[str, float]:
        """Say how much of what all splits won each feature won.

        Returns:
            Shares that add up to 1 by feature; all 0 where nothing was split.
        """
        return shares_of(self.importance())

    def _raw_scores(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        found = self._booster().predict(matrix, num_threads=1, raw_score=True)
        return np.asarray(found, dtype=np.float64)

    def _booster(self) -> lgb.Booster:
        """Let LightGBM read the model, once.

        Returns:
            What it made of it.

        Raises:
            RankingError: It refuses.
        """
        with self._loading:
            if self._parsed is None:
                import lightgbm as lgb

                try:
                    self._parsed = lgb.Booster(model_str=self._text)
                except lgb.basic.LightGBMError as error:
                    raise RankingError("ranker", str(error), "a model of LightGBM") from error
            return self._parsed

    def _check_shape(self, matrix: NDArray[np.float32]) -> None:
        expected = len(self.feature_names)
        if matrix.ndim != 2 or matrix.shape[1] != expected:
            raise RankingError(
                "ranker", f"a matrix of shape {matrix.shape}", f"(n_rows, {expected})"
            )


def booster_names(feature_names: tuple[str, ...]) -> list[str]:
    """Write feature names so that LightGBM's text can hold them.

    Returns:
        The names in the same order; what LightGBM refuses (quotes, commas, spaces, letters outside
        ASCII) is percent-encoded.
    """
    return [quote(name, safe="*") for name in feature_names]
