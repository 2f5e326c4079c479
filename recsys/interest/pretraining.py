"""Continued pre-training: the tuned layers guess hidden words of the log's own past texts.

Before the towers see a list, the layers that will be tuned learn the language of the catalogue:
some tokens of each text are hidden and guessed from the rest. Only texts of items that the span
holds, shown, acted on or remembered, are read, so nothing of the future is. The lower half stays as
it is, because everything else is kept by its outputs; what guesses is a transform of its own before
the encoder's word vectors, and is thrown away afterwards.

Source: bert
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recsys.errors import EncoderError
from recsys.features.models import ScoringBatch
from recsys.interest.activations import Activations
from recsys.interest.catalogue import VersionTable
from recsys.interest.checkpoint import Tensors
from recsys.interest.encoder import TextEncoder, reduced_precision
from recsys.interest.reading import look_up
from recsys.interest.sharing import share_of, sum_losses

#: Of the tokens that are guessed, shares that are hidden and exchanged; the others stay.
_HIDDEN: Final = 0.8
_EXCHANGED: Final = 0.1
#: Seeds the tokens that are hidden in held-out texts: the same in every epoch.
_HELD_OUT_SEED: Final = 5


class Guesser(nn.Module):
    """Guesses tokens from hidden states: a transform, then the encoder's own word vectors.

    Args:
        size: Of hidden states.
        words: float32 (n_tokens, size): word vectors; they stay as they are.
    """

    def __init__(self, size: int, words: torch.Tensor) -> None:
        super().__init__()
        self.transform = nn.Linear(size, size)
        self.norm = nn.LayerNorm(size)
        self.bias = nn.Parameter(torch.zeros(len(words)))
        self._words = words
        with torch.no_grad():
            self.transform.weight.copy_(torch.eye(size))
            self.transform.bias.zero_()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Guess.

        Args:
            hidden: (n, size)

        Returns:
            (n, n_tokens): logits.
        """
        found = self.norm(nn.functional.gelu(self.transform(hidden)))
        return nn.functional.linear(found, self._words, self.bias)


@dataclass(frozen=True, slots=True)
class HiddenWords:
    """Texts with tokens to guess.

    Args:
        encoder: Whose `tuned` layers learn.
        activations: Of all distinct parts of texts; it holds their tokens.
        rows: int64 (n,): parts to learn from.
        guesser: Learns too.
        share: Of the tokens that are guessed.
    """

    encoder: TextEncoder
    activations: Activations
    rows: NDArray[np.int64]
    guesser: Guesser
    share: float

    def __len__(self) -> int:
        return len(self.rows)

    def begin(self) -> None:
        """Begin an epoch."""
        self.guesser.train()

    def end(self) -> None:
        """End an epoch; nothing was computed ahead."""

    def expect(self, rows: NDArray[np.int64]) -> None:
        """Hear which texts come next; nothing is prepared."""

    def loss(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """Hide tokens of some texts and guess them.

        Args:
            rows: Places in `rows`.

        Returns:
            Mean cross-entropy of the guesses.
        """
        total, n_guessed = self._guess(rows, None)
        return total / max(1, n_guessed)

    def held_out_loss(self, rows: NDArray[np.int64]) -> float:
        """Guess the same tokens of the same texts every time.

        Returns:
            Mean cross-entropy; 0 where there is nothing to guess.
        """
        self.guesser.eval()
        found = np.zeros(2)
        with torch.no_grad():
            for part in share_of([rows[i : i + 64] for i in range(0, len(rows), 64)]):
                generator = torch.Generator().manual_seed(_HELD_OUT_SEED + int(part[0]))
                total, n_guessed = self._guess(part, generator)
                found += float(total), n_guessed
        return sum_losses(found[0]) / max(1.0, sum_losses(found[1]))

    def state(self) -> Tensors:
        """Copy everything that a step changes.

        Returns:
            Tensors by name.
        """
        modules = {"guesser": self.guesser, "tuned": self.encoder.tuned}
        return {
            f"{owner}.{name}": value.clone()
            for owner, module in modules.items()
            for name, value in module.state_dict().items()
        }

    def restore(self, state: Tensors) -> None:
        """Go back to a state."""
        for owner, module in {"guesser": self.guesser, "tuned": self.encoder.tuned}.items():
            start = f"{owner}."
            module.load_state_dict({
                name.removeprefix(start): value
                for name, value in state.items()
                if name.startswith(start)
            })

    def _guess(
        self, rows: NDArray[np.int64], generator: torch.Generator | None
    ) -> tuple[torch.Tensor, int]:
        losses, n_guessed = [], 0
        stack = self.encoder.stack(self.encoder.tuned)
        for bucket in self.activations.buckets(self.rows[rows]):
            tokens = [self.activations.tokens(int(row)) for row in bucket]
            shown, guessed = self._hide(tokens, generator)
            hidden, mask = self.encoder.lower(shown)
            hidden = self.encoder.contextual(hidden, mask, stack)
            places = torch.zeros(mask.shape, dtype=torch.bool)
            for text, at in enumerate(guessed):
                places[text, : len(at)] = at
            wanted = torch.cat([torch.tensor(t)[at] for t, at in zip(tokens, guessed, strict=True)])
            with reduced_precision(self.encoder.device):
                logits = self.guesser(hidden[places.to(hidden.device)])
            target = wanted.to(logits.device)
            losses.append(nn.functional.cross_entropy(logits.float(), target, reduction="sum"))
            n_guessed += len(wanted)
        return torch.stack(losses).sum(), n_guessed

    def _hide(
        self, tokens: list[list[int]], generator: torch.Generator | None
    ) -> tuple[list[list[int]], list[torch.Tensor]]:
        tokenizer = self.encoder.tokenizer
        special = torch.tensor(tokenizer.all_special_ids)
        shown, guessed = [], []
        for text in tokens:
            ids = torch.tensor(text)
            at = (torch.rand(len(ids), generator=generator) < self.share) & ~torch.isin(
                ids, special
            )
            fate = torch.rand(len(ids), generator=generator)
            other = torch.randint(len(self.guesser.bias), ids.shape, generator=generator)
            seen = torch.where(at & (fate < _HIDDEN), tokenizer.mask_token_id, ids)
            exchanged = at & (fate >= _HIDDEN) & (fate < _HIDDEN + _EXCHANGED)
            shown.append(torch.where(exchanged, other, seen).tolist())
            guessed.append(at)
        return shown, guessed


def past_parts(
    batch: ScoringBatch, versions: VersionTable, part_rows: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Find the texts that a span has seen.

    Args:
        batch: Its requests: candidates, and what users did before.
        versions: Text of each version row.
        part_rows: Parts of each text.

    Returns:
        int64 (n,): rows of distinct parts, ascending.
    """
    seen = [batch.versions, *(h.versions.ravel() for h in batch.histories.values())]
    texts = np.unique(look_up(versions.texts, np.concatenate(seen)))
    parts = np.unique(part_rows[texts[texts >= 0]])
    return parts[parts >= 0].astype(np.int64)


def make_guesser(encoder: TextEncoder, seed: int) -> Guesser:
    """Start a guesser for an encoder.

    Returns:
        It starts with the encoder's hidden states as they are.

    Raises:
        EncoderError: The tokenizer has no token that stands for a hidden one.
    """
    if encoder.tokenizer.mask_token_id is None:
        found, expected = "the tokenizer has no mask token", "an encoder that can guess words"
        raise EncoderError(encoder.model.config.name_or_path, found, expected)
    words = encoder.model.get_input_embeddings().weight.detach()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Guesser(encoder.size, words).to(encoder.device)
