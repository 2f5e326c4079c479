"""Texts read by their words, for what the encoder does not know.

To an encoder every text in a script that it was not made from is the same row of unknown pieces,
and every text in a strange language a row of letters. Words need no knowledge: texts are near that
share rare ones (TF-IDF), and words that keep the same company become one direction, so that texts
are near that share none (latent semantic analysis, Deerwester et al. 1990). What is a word is said
by `recsys.terms`: of scripts without spaces, pairs of characters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from recsys.interest.mapped import map_file
from recsys.interest.spectrum import main_directions
from recsys.terms import cut_terms

#: Directions of words; other numbers were not compared.
WORD_DIRECTIONS: Final = 128
_MOST_WORDS: Final = 1 << 15
#: Of more texts a sample is learned from.
_SAMPLE: Final = 20_000
_TEXTS_PER_PASS: Final = 4_096

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class WordReader:
    """Turns texts into vectors by the words of a catalogue.

    Args:
        places: Row of each word.
        rarity: float32 (n_words,): log of how few texts have it (inverse document frequency).
        directions: float32 (n_words, size).
    """

    places: dict[str, int]
    rarity: Vectors
    directions: Vectors

    def read(self, texts: Sequence[str]) -> Vectors:
        """Read texts.

        Returns:
            float32 (n, size): at most of unit length; zero where no word is known.
        """
        found = np.zeros((len(texts), self.directions.shape[1]), dtype=np.float32)
        directions = torch.as_tensor(self.directions)
        for start in range(0, len(texts) if self.places else 0, _TEXTS_PER_PASS):
            cut = [cut_terms(text) for text in texts[start : start + _TEXTS_PER_PASS]]
            rows = _weighed(cut, self.places, self.rarity)
            found[start : start + len(rows)] = (rows @ directions).numpy()
        return found

    def save(self, path: Path) -> None:
        """Write it into one file."""
        # No word has a space in it.
        joined = np.frombuffer("\n".join(self.places).encode(), dtype=np.uint8)
        arrays: dict[str, NDArray[Any]] = {"words": joined, "rarity": self.rarity}
        save_file(arrays | {"directions": self.directions}, path)


def load_words(path: Path) -> WordReader:
    """Read what `WordReader.save` wrote.

    Returns:
        The reader; its arrays stay on disk until they are used.
    """
    arrays = map_file(path)
    words = bytes(arrays["words"]).decode().splitlines()
    places = {word: place for place, word in enumerate(words)}
    return WordReader(places, arrays["rarity"], arrays["directions"])


def learn_words(texts: Sequence[str]) -> WordReader:
    """Learn the words of a catalogue.

    Args:
        texts: Distinct ones; of very many a sample is read.

    Returns:
        A reader of the words that stand in more than one of them.
    """
    cut = [cut_terms(text) for text in texts[:: -(-len(texts) // _SAMPLE) or 1]]
    counts = Counter(word for words in cut for word in set(words))
    common = [(-n, word) for word, n in counts.items() if n > 1]
    places = {word: place for place, (_, word) in enumerate(sorted(common)[:_MOST_WORDS])}
    n_texts = np.array([counts[word] for word in places], dtype=np.float32)
    rarity = (1.0 + np.log((1.0 + len(cut)) / (1.0 + n_texts))).astype(np.float32)
    if not places:
        return WordReader(places, rarity, np.zeros((0, 0), dtype=np.float32))
    directions = main_directions(_weighed(cut, places, rarity), WORD_DIRECTIONS)
    return WordReader(places, rarity, np.ascontiguousarray(directions.T))


def _weighed(texts: Sequence[list[str]], known: dict[str, int], rarity: Vectors) -> torch.Tensor:
    """Weigh the words of texts that were cut into them.

    Returns:
        Sparse float32 (n_texts, n_words): of unit length, or zero.
    """
    sizes = []
    places, weights = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.float32)]
    for text in texts:
        counts = Counter(known[word] for word in text if word in known)
        found = np.array(sorted(counts), dtype=np.int64)
        weight = (1.0 + np.log([counts[place] for place in found.tolist()])) * rarity[found]
        places.append(found)
        weights.append((weight / max(float(np.linalg.norm(weight)), 1e-9)).astype(np.float32))
        sizes.append(len(found))
    where = np.stack([np.repeat(np.arange(len(texts)), sizes), np.concatenate(places)])
    return torch.sparse_coo_tensor(
        torch.as_tensor(where),
        torch.as_tensor(np.concatenate(weights)),
        (len(texts), len(rarity)),
        is_coalesced=True,
        check_invariants=False,
    )
