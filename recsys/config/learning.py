"""Tables `[labels]`, `[split]`, `[ranker]`, `[evaluation]`: what is learned from and measured."""

from __future__ import annotations

from typing import Annotated, Self, TypeAlias

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from recsys.config.section import Section

#: Candidates to learn from, from which on three boosters at twice the rate rank as well as five.
_LARGE_LOG = 500_000

#: The features of Metarank's configuration for RankLens, as far as plugins offer them;
#: docs/evaluation.md has the settings that make the list complete.
_METARANK = (
    *("item_popularity", "item_vote_avg", "item_vote_cnt", "item_budget", "item_release_date"),
    *("item_runtime", "item_title_words", "item.genres=*", "item_action_rate*", "rate_ctr_*"),
    *("user_genres_actions", "user_actors_actions", "user_tags_actions", "user_director_actions"),
    "liked_*",
)


class LabelsConfig(Section):
    """Graded relevance of a candidate by what was done with it; the largest grade wins."""

    grades: dict[str, float] = Field(
        default={"view": 1.0, "click": 2.0, "comment": 3.0, "share": 4.0, "purchase": 5.0}
    )
    other: float = Field(default=1.0, ge=0, description="grade of a type that is not listed")
    least_value: dict[str, float] = Field(
        default={},
        description="by type: with a smaller value, say two stars, nothing good was done: grade 0",
    )
    wait_s: float = Field(
        default=0.0,
        ge=0,
        description="lists shown less than this before the log ends are left out: too young",
    )


class SplitConfig(Section):
    """Time-ordered shares of the impressions: oldest train, next validate, newest test."""

    train: float = Field(default=0.7, gt=0, lt=1)
    validation: float = Field(default=0.1, gt=0, lt=1)
    negatives: int = Field(
        default=20, ge=1, description="negatives drawn per positive where a log has no impressions"
    )
    max_negatives: int = Field(
        default=100,
        ge=1,
        description="negatives drawn for one list at most, or two per positive where that is more",
    )
    popular_negatives: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of the negatives that is drawn by popularity, the others evenly",
    )
    max_slates: int = Field(
        default=50_000, ge=100, description="lists made at most where a log has no impressions"
    )

    @model_validator(mode="after")
    def _check_something_to_test(self) -> Self:
        if self.train + self.validation >= 1:
            raise PydanticCustomError(
                "shares",
                "train and validation add up to {total}, which leaves nothing to test on",
                {"total": round(self.train + self.validation, 6)},
            )
        return self


class RankerConfig(Section):
    """The LightGBM ranker: the mean of boosters that differ in their seed."""

    bags: int = Field(default=0, ge=0, description="boosters; 0: five, for a large log three")
    trees: int = Field(
        default=400,
        ge=1,
        description="of each booster, at most; beyond 200 as many as the validation slice asks for",
    )
    leaves: int = Field(default=15, ge=2)
    learning_rate: float = Field(
        default=0.0, ge=0, le=1, description="of the boosters; 0: 0.05, for a large log 0.1"
    )
    min_rows_per_leaf: int = Field(
        default=200, ge=1, description="of a small log at most a five-hundredth of its rows"
    )
    feature_share: float = Field(default=0.3, gt=0, le=1)
    row_share: float = Field(default=0.5, gt=0, le=1)
    rows_per_tree: int = Field(
        default=200_000, ge=1, description="rows that are drawn for a tree at most"
    )
    as_if_new: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="share of the rows to learn from whose item nobody met before; what the log"
        " lacks is made by hiding the past of items",
    )
    threads: int = Field(
        default=0, ge=0, description="while training; 0: those of the machine, as far as they pay"
    )

    def for_rows(self, n_rows: int) -> RankerConfig:
        """Choose what is left open.

        Args:
            n_rows: Candidates that are learned from; half a million are a large log.

        Returns:
            Settings without zeros for `bags` and `learning_rate`.
        """
        bags, rate = (5, 0.05) if n_rows < _LARGE_LOG else (3, 0.1)
        chosen = {"bags": self.bags or bags, "learning_rate": self.learning_rate or rate}
        return self.model_copy(update=chosen)


_RequestAttribute: TypeAlias = Annotated[str, StringConstraints(pattern=r"^(user|context)\..+$")]


class EvaluationConfig(Section):
    """How bundles are measured."""

    requests: int = Field(
        default=300,
        ge=1,
        description="ranked against the whole catalogue at most, where a log has no impressions",
    )
    segments: tuple[_RequestAttribute, ...] = Field(
        default=(), description="user.NAME or context.NAME: a table for each frequent value"
    )
    baselines: dict[str, tuple[str, ...]] = Field(
        default={"popularity": ("popularity/*",), "metarank": _METARANK, "plain": ("*",)},
        description="features (or plugin/feature, with * and ?) of rankers to compare with",
    )
