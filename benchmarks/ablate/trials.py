"""Every trial: one change of the text model, and what it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ablate.scripts import cyrillic, half_strange, han, written
from ablate.world import (
    NO_CHANGE,
    Change,
    changed_histories,
    chosen,
    joined_texts,
    without_numbers,
)
from recsys.config import InterestConfig
from recsys.interest.reading import SHOWN

#: Passes of a fit.
EPOCHS: Final = 2
_FIELDS: Final = ("title", "genres", "director", "actors", "tags", "description")


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting of the text model.

    Args:
        name: What is changed.
        base: Name of the trial that it is compared with.
        interest: Keys of `[interest]`.
        tuning: Keys of `[interest.tuning]`.
        change: What the model sees otherwise than by default.
    """

    name: str
    base: str
    interest: Mapping[str, Any] = field(default_factory=dict)
    tuning: Mapping[str, Any] = field(default_factory=dict)
    change: Change = NO_CHANGE

    def config(self) -> InterestConfig:
        """Give the settings."""
        tuning = {"tracker": "none", "checkpoint_s": 1e9, **self.tuning}
        return InterestConfig(**{"epochs": EPOCHS, **self.interest, "tuning": tuning})


TUNED: Final = "one layer tuned (default)"
FROZEN: Final = "encoder frozen"
#: What the ways of tuning are compared with: they cost so much that each gets short texts and one
#: pass.
SHORT: Final = "short texts, encoder frozen"
_SHORT: Final = ("title", "genres", "tags")


def _of_the_towers() -> list[Trial]:
    frozen = {"mode": "frozen"}

    def trial(name: str, **tuning: object) -> Trial:
        return Trial(name, FROZEN, tuning=frozen | tuning)

    def sized(name: str, **interest: object) -> Trial:
        return Trial(name, FROZEN, interest=interest, tuning=frozen)

    def seen(name: str, change: Change) -> Trial:
        return Trial(name, FROZEN, tuning=frozen, change=change)

    return [
        trial("loss pairwise", loss="pairwise"),
        trial("loss pointwise", loss="pointwise"),
        seen("nothing passed over", Change(histories=changed_histories(without=SHOWN))),
        seen("no recency of the past", Change(histories=changed_histories(ages=False))),
        trial("in-batch contrastive, weight 0.1", contrastive=0.1),
        trial("in-batch contrastive, weight 0.5", contrastive=0.5),
        trial("label smoothing 0.1", label_smoothing=0.1),
        trial("dropout 0", dropout=0.0),
        trial("dropout 0.4", dropout=0.4),
        trial("history mask 0", history_mask=0.0),
        trial("history mask 0.3", history_mask=0.3),
        trial("history crop 0.5", history_crop=0.5),
        trial("part dropout 0.1", part_dropout=0.1),
        trial("part dropout 0.3", part_dropout=0.3),
        trial("FGM", adversarial="fgm"),
        trial("FGM, four times as far", adversarial="fgm", adversarial_size=0.2),
        trial("PGD, three moves", adversarial="pgd"),
        trial("SGD, rate 1e-3", optimiser="sgd"),
        Trial("SGD, rate 3e-2", FROZEN, {"learning_rate": 3e-2}, frozen | {"optimiser": "sgd"}),
        trial("weight decay 0", weight_decay=0.0),
        trial("weight decay 0.5", weight_decay=0.5),
        trial("no warm-up", warm_up=0.0),
        trial("schedule cosine", schedule="cosine"),
        trial("schedule constant", schedule="constant"),
        trial("clipping off", clip=1e9),
        trial("clipping 0.1", clip=0.1),
        trial("accumulation 4", accumulation=4),
        sized("batch of 16", batch_size=16),
        sized("batch of 256", batch_size=256),
        sized("rate 3e-4", learning_rate=3e-4),
        sized("rate 3e-3", learning_rate=3e-3),
        sized("epochs 4", epochs=4),
        sized("history 12", history=12),
        sized("history 24", history=24),
        sized("history 96", history=96),
        seen("all fields in one text", Change(attributes=joined_texts(_FIELDS))),
        seen("no numbers", Change(attributes=without_numbers)),
        seen("title alone", Change(attributes=chosen(("title",)))),
        seen("genres and tags alone", Change(attributes=chosen(("genres", "tags")))),
        seen("no description", Change(attributes=chosen(_FIELDS[:-1]))),
        sized("texts of 32 tokens", max_tokens=32),
        sized("texts of 128 tokens", max_tokens=128),
        sized("pooling: first token", pooling="cls"),
    ]


def _of_the_encoder() -> list[Trial]:
    def trial(name: str, rate: float = 1e-4, *, layers: int = 1, **tuning: object) -> Trial:
        interest = {"encoder_learning_rate": rate, "tuned_layers": layers}
        return Trial(name, TUNED, interest=interest, tuning=tuning)

    return [
        trial("one layer, rate 2e-5", 2e-5),
        trial("one layer, rate 3e-4", 3e-4),
        trial("one layer, token dropout 0.1", token_dropout=0.1),
        trial("one layer, part dropout 0.1", part_dropout=0.1),
        trial("one layer, FGM", adversarial="fgm"),
        trial("one layer, contrastive 0.1", contrastive=0.1),
        trial("two layers", layers=2),
        trial("two layers, layer decay 0.5", layers=2, layer_decay=0.5),
        Trial("pooling: attention, encoder frozen", FROZEN, *_attended(mode="frozen")),
        Trial("pooling: attention, one layer tuned", TUNED, *_attended()),
    ]


def _attended(**tuning: object) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    return {"pooling": "attention"}, tuning


def _of_the_modes() -> list[Trial]:
    def trial(name: str, rate: float, *, layers: int = 1, **tuning: object) -> Trial:
        interest = {"epochs": 1, "encoder_learning_rate": rate, "tuned_layers": layers}
        change = Change(attributes=chosen(_SHORT))
        return Trial(f"short texts, {name}", SHORT, interest, tuning, change)

    return [
        trial("one layer, rate 1e-4", 1e-4),
        trial("LoRA, rank 8, rate 1e-3", 1e-3, mode="lora"),
        trial("all layers, rate 2e-5", 2e-5, mode="full"),
        trial("adapters, width 8, rate 1e-3", 1e-3, mode="adapters"),
        trial("AdaLoRA, rank 8, rate 1e-3", 1e-3, mode="adalora"),
        trial("two layers, rate 1e-4", 1e-4, layers=2),
        trial("three layers, rate 5e-5", 5e-5, layers=3),
        trial("all layers, rate 5e-5, layer decay 0.7", 5e-5, mode="full", layer_decay=0.7),
    ]


def _of_the_words() -> list[Trial]:
    frozen = {"mode": "frozen"}
    found = [Trial("words read as well", FROZEN, {"words": "always"}, frozen)]
    for name, write in (("Han", han), ("Cyrillic", cyrillic), ("half strange", half_strange)):
        change, alone = Change(attributes=written(write)), f"{name}, encoder alone"
        found.append(Trial(alone, FROZEN, {"words": "never"}, frozen, change))
        found.append(Trial(f"{name}, words read as well", alone, {"words": "auto"}, frozen, change))
    return found


def all_trials() -> dict[str, Trial]:
    """List the trials, the cheap ones first.

    Returns:
        By name; a base comes before what is compared with it.
    """
    bases = [
        Trial(FROZEN, TUNED, tuning={"mode": "frozen"}),
        Trial(TUNED, FROZEN),
        Trial(SHORT, FROZEN, {"epochs": 1}, {"mode": "frozen"}, Change(attributes=chosen(_SHORT))),
    ]
    found = [*bases, *_of_the_towers(), *_of_the_words(), *_of_the_encoder(), *_of_the_modes()]
    return {trial.name: trial for trial in found}
