"""Fitting: the encoder's last layers once, on the oldest span; the towers again on every span.

Steps of a fit
0. Where it is asked for, the encoder's last layers go on with what encoders are pretrained by, on
   the texts that the first span has seen.
1. On the first span the towers warm up on the pretrained vectors, then the encoder's last layers
   are tuned together with them. Every distinct item of a batch is encoded once, and at most
   some of them with gradients: the others are read from a table that is renewed after each
   epoch. So a step costs the same however long histories are.
2. On later spans only the towers go on, from where they were, over the whole span so far. Columns
   keep their meaning from span to span, and all spans together cost little more than one.

The newest part of a span is held out; the weights that did best on it are kept, those before the
fit included. Each fit leaves checkpoints; one that was killed goes on from the last of them. The
alternative of tuning the encoder on every span cost ten times as much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.config import InterestConfig
from recsys.features.models import ScoringBatch
from recsys.interest.activations import Activations
from recsys.interest.adapting import finish, prepare
from recsys.interest.batches import Batches
from recsys.interest.catalogue import VersionTable
from recsys.interest.checkpoint import Checkpoints
from recsys.interest.descent import Descent, Plan
from recsys.interest.encoder import TextEncoder
from recsys.interest.examples import Examples
from recsys.interest.journal import Journal
from recsys.interest.laying import Layout
from recsys.interest.optimising import encoder_groups, tower_groups
from recsys.interest.pretraining import HiddenWords, make_guesser, past_parts
from recsys.interest.towers import InterestNet
from recsys.interest.vectors import Catalogue, Fresh, Table

MIN_EXAMPLES: Final = 50
#: While the encoder is tuned the towers, which have had their turn, move this much slower.
_TOWERS_SLOWED: Final = 0.1
#: Texts of a step of continued pre-training.
_TEXTS_PER_STEP: Final = 64


@dataclass(frozen=True, slots=True)
class Fit:
    """What one fit works with.

    Args:
        net: The towers; changed in place.
        examples: Oldest first.
        versions: The catalogue.
        config: Epochs, batch size, learning rates, tuning.
        seed: Of every random choice.
        journal: Told of steps and epochs; its folder holds checkpoints.
        taught: float32 (n, width): what a teacher says of candidates; None: there is none.
    """

    net: InterestNet
    examples: Examples
    versions: VersionTable
    config: InterestConfig
    seed: int
    journal: Journal
    taught: NDArray[np.float32] | None = None

    def checkpoints(self, label: str, **more: object) -> Checkpoints:
        """Name the checkpoint of a part of this fit.

        Returns:
            The checkpoint; another configuration, seed or span has another.
        """
        of = {
            "part": label,
            "config": self.config.model_dump(mode="json"),
            "seed": self.seed,
            "n_examples": len(self.examples),
            "actions": float(self.examples.click_rates.sum()),
            **more,
        }
        return Checkpoints(self.journal.folder / f"{label}.safetensors", of)


def pretrain(
    fit: Fit, batch: ScoringBatch, part_rows: NDArray[np.int32], of: tuple[TextEncoder, Activations]
) -> None:
    """Let the layers that will be tuned guess hidden words of the texts that the span has seen.

    Args:
        fit: Epochs, rates and the seed.
        batch: The span's requests.
        part_rows: Parts of each text.
        of: The encoder, whose `tuned` layers change, and what is kept of all texts.

    Raises:
        EncoderError: The tokenizer has no token that stands for a hidden one.
    """
    encoder, activations = of
    tuning = fit.config.tuning
    rows = past_parts(batch, fit.versions, part_rows)
    guesser = make_guesser(encoder, fit.seed)
    words = HiddenWords(encoder, activations, rows, guesser, tuning.pretraining_share)
    rate = tuning.pretraining_learning_rate
    encoder.tuned.requires_grad_(requires_grad=True)
    groups = encoder_groups([*encoder.tuned, guesser], rate, tuning)
    config = fit.config.model_copy(
        update={"epochs": tuning.pretraining_epochs, "batch_size": _TEXTS_PER_STEP}
    )
    plan = Plan("pretraining", groups, config, fit.seed)
    Descent(plan, words, fit.checkpoints("pretraining"), fit.journal).run()
    encoder.tuned.requires_grad_(requires_grad=False)


def fit_towers(fit: Fit, catalogue: Catalogue, device: torch.device) -> None:
    """Fit the towers on fixed vectors.

    Args:
        fit: What to fit; its net keeps the best weights.
        catalogue: The items.
        device: Where to compute.
    """
    tuning = fit.config.tuning
    table = Table(catalogue, device, part_dropout=tuning.part_dropout)
    groups = tower_groups(fit.net, fit.config.learning_rate, tuning)
    plan = Plan("towers", groups, fit.config, fit.seed)
    layout = Layout(fit.examples, fit.taught, table.device)
    batches = Batches(fit.net, fit.examples, table, tuning, layout)
    Descent(plan, batches, fit.checkpoints("towers"), fit.journal).run()


def tune_encoder(
    fit: Fit, catalogue: Catalogue, encoder: TextEncoder, activations: Activations
) -> NDArray[np.float32]:
    """Tune the encoder's upper half together with the towers.

    Args:
        fit: What to fit; its net keeps the best weights.
        catalogue: The items, as the encoder sees them now.
        encoder: Its `tuned` layers change, and keep the best weights too.
        activations: Of all distinct parts of texts.

    Returns:
        Vectors of all distinct parts from the tuned encoder: (n, part_size).
    """
    tuning = fit.config.tuning
    fresh = Fresh(encoder, activations, tuning.token_dropout)
    table = Table(catalogue, encoder.device, fresh, tuning.part_dropout)
    groups = tower_groups(fit.net, _TOWERS_SLOWED * fit.config.learning_rate, tuning)
    plan = Plan("encoder", groups, fit.config, fit.seed)
    plan.after_step = prepare(encoder.tuned, tuning, plan.n_steps(len(fit.examples)))
    groups += encoder_groups(list(encoder.tuned), fit.config.encoder_learning_rate, tuning)
    if encoder.attention is not None:
        # A single vector, from nothing: it moves as fast as the towers do.
        groups += encoder_groups([encoder.attention], fit.config.learning_rate, tuning)
    layout = Layout(fit.examples, fit.taught, table.device)
    batches = Batches(fit.net, fit.examples, table, tuning, layout)
    Descent(plan, batches, fit.checkpoints("encoder"), fit.journal).run()
    finish(encoder.tuned)
    tuned: NDArray[np.float32] = table.parts[:-1].cpu().numpy()
    return tuned
