"""Outputs of the frozen half of the encoder, kept so that no text passes through it twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.interest.encoder import TextEncoder
from recsys.interest.sharing import n_processes, put_together, share_of
from recsys.interest.words import WordReader

#: Beyond this, activations are computed again each time they are needed.
MEMORY_BYTES: Final = 1 << 30
#: Tokens of a batch, padding included, by kind of device. What a CPU has at work must fit into its
#: cache, and short batches waste little on padding; a GPU wants to be filled.
_TOKENS_PER_BATCH: Final = {"cpu": 512, "cuda": 16_384}


class Activations:
    """Hidden states of a list of texts; memory is bounded, what does not fit is recomputed.

    Several processes that work together have the same texts and divide the work.

    Args:
        encoder: Whose lower half is used.
        texts: Distinct texts; one row each.
        progress: Called with (texts done, texts in all).
        memory_bytes: Most memory that hidden states may take.
        limits: int64 (n_texts,): most tokens of each text.
        words: float32 (n_texts, k): what is put beside what the encoder says; None: nothing.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        texts: Sequence[str],
        progress: Callable[[int, int], None],
        *,
        memory_bytes: int = MEMORY_BYTES,
        limits: NDArray[np.int64] | None = None,
        words: NDArray[np.float32] | None = None,
    ) -> None:
        self._encoder = encoder
        self._words = np.zeros((len(texts), 0), dtype=np.float32) if words is None else words
        self._tokens = encoder.tokenize(texts, limits) if texts else []
        self.lengths = np.array([len(t) for t in self._tokens], dtype=np.int64)
        capacity = memory_bytes // (2 * encoder.size)
        self._n_kept = int(np.searchsorted(np.cumsum(self.lengths), capacity, side="right"))
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])[: self._n_kept + 1]
        self._kept = torch.zeros(
            (int(self._starts[-1]), encoder.size), dtype=torch.bfloat16, device=encoder.device
        )
        done = 0
        for rows in share_of(self.buckets(np.arange(self._n_kept))):
            hidden, mask = encoder.lower([self._tokens[row] for row in rows])
            self._kept[self._places(rows)] = hidden[mask]
            done += n_processes() * len(rows)
            progress(min(done, len(texts)), len(texts))
        put_together(self._kept)

    def __len__(self) -> int:
        return len(self._tokens)

    def tokens(self, row: int) -> list[int]:
        """Give the tokens of a text.

        Returns:
            Their ids, with the special ones.
        """
        return self._tokens[row]

    def buckets(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Cut rows into batches of texts of about the same length.

        Returns:
            Arrays of rows, shortest texts first.
        """
        most = _TOKENS_PER_BATCH[self._encoder.device.type]
        ordered = rows[np.argsort(self.lengths[rows], kind="stable")]
        batches, start = [], 0
        while start < len(ordered):
            ahead = self.lengths[ordered[start : start + most]]
            ahead = ahead * np.arange(1, len(ahead) + 1)
            size = max(1, int(np.searchsorted(ahead, most, side="right")))
            batches.append(ordered[start : start + size])
            start += size
        return batches

    def hidden(self, rows: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Read the hidden states of some texts.

        Returns:
            (n, length, size) in bf16, zero where padded, and the mask bool (n, length).
        """
        if (rows >= self._n_kept).any():
            return self._encoder.lower([self._tokens[row] for row in rows])
        lengths = torch.as_tensor(self.lengths[rows], device=self._encoder.device)
        mask = torch.arange(int(lengths.max()), device=lengths.device)[None] < lengths[:, None]
        hidden = torch.zeros(
            (*mask.shape, self._encoder.size), dtype=torch.bfloat16, device=lengths.device
        )
        hidden[mask] = self._kept[self._places(rows)]
        return hidden, mask

    def encode(self, layers: torch.nn.ModuleList) -> NDArray[np.float32]:
        """Run an upper half over all texts.

        Returns:
            (n_texts, size + k): what the encoder says, of unit length, and words beside it.
        """
        size = self._encoder.size
        vectors = np.zeros((len(self), size + self._words.shape[1]), dtype=np.float32)
        with torch.no_grad():
            stack = self._encoder.stack(layers)
            for rows in share_of(self.buckets(np.arange(len(self)))):
                vectors[rows, :size] = self._encoder.upper(*self.hidden(rows), stack).cpu().numpy()
        put_together(torch.from_numpy(vectors))
        vectors[:, size:] = self._words
        return vectors

    def beside(self, vectors: torch.Tensor, rows: NDArray[np.int64]) -> torch.Tensor:
        """Put words beside what the encoder says of some texts.

        Args:
            vectors: (n, size)
            rows: int64 (n,)

        Returns:
            (n, size + k)
        """
        words = torch.as_tensor(self._words[rows], device=vectors.device)
        return torch.cat([vectors, words], dim=1)

    def _places(self, rows: NDArray[np.int64]) -> torch.Tensor:
        lengths = self.lengths[rows]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        places = np.repeat(self._starts[rows], lengths) + within
        return torch.as_tensor(places, device=self._encoder.device)


def encode_both(
    encoder: TextEncoder, words: WordReader | None, texts: Sequence[tuple[str, ...]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Encode texts in parts with both upper halves; the lower one runs once.

    Args:
        encoder: With its tuned half.
        words: Reads them as well; None: the encoder alone.
        texts: All of as many parts.

    Returns:
        As pretrained and as tuned, each (n, n_parts, part_size); zero where a part has no words.
    """
    rows, strings = distinct_parts(texts)
    limits = part_limits(rows, encoder.part_tokens)
    activations = Activations(
        encoder,
        strings,
        lambda _done, _total: None,
        limits=limits,
        words=None if words is None else words.read(strings),
    )
    pretrained = activations.encode(encoder.pretrained)
    tuned = activations.encode(encoder.tuned)
    return with_nothing(pretrained)[rows], with_nothing(tuned)[rows]


def distinct_parts(texts: Sequence[tuple[str, ...]]) -> tuple[NDArray[np.int32], list[str]]:
    """Number the different parts of texts.

    Args:
        texts: All of as many parts.

    Returns:
        int32 (n, n_parts): row of each part, -1 where it has no words; and the parts.
    """
    known: dict[str, int] = {"": -1}
    strings: list[str] = []
    rows = []
    for text in texts:
        for part in text:
            if part not in known:
                known[part] = len(strings)
                strings.append(part)
        rows.append([known[part] for part in text])
    return np.array(rows, dtype=np.int32).reshape(len(texts), -1), strings


def part_limits(rows: NDArray[np.int32], part_tokens: tuple[int, ...]) -> NDArray[np.int64] | None:
    """Say how many tokens each distinct part may have.

    Args:
        rows: From `distinct_parts`.
        part_tokens: Most tokens of each part of a text.

    Returns:
        int64 (n_distinct_parts,): the most that any part with this text may have; None: no limits.
    """
    if not part_tokens:
        return None
    limits = np.zeros(int(rows.max(initial=-1)) + 1, dtype=np.int64)
    for part, most in enumerate(part_tokens):
        named = rows[:, part][rows[:, part] >= 0]
        np.maximum.at(limits, named, most)
    return limits


def with_nothing(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Put a zero vector at the end, for row -1.

    Returns:
        One row more.
    """
    return np.concatenate([vectors, np.zeros((1, vectors.shape[1]), dtype=np.float32)])
