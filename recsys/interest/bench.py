"""What fits share, kept from one to the next: the encoder, the activations and vectors of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.config import InterestConfig
from recsys.features.models import ItemSource
from recsys.interest.activations import Activations, encode_both
from recsys.interest.catalogue import VersionTable, extend, no_versions
from recsys.interest.encoder import TextEncoder, choose_device
from recsys.interest.files import find_encoder
from recsys.interest.stored import save_encoder
from recsys.interest.text import choose_fields
from recsys.interest.towers import InterestNet

#: Main directions of the catalogue in which plain similarities are taken.
PLAIN_SIZE = 128
_SPECTRUM_SAMPLE = 20_000

Progress = Callable[[str, int, int], None]


@dataclass(slots=True)
class Bench:
    """The state that a fit takes over from the one before.

    Args:
        fields: Attributes that become text.
        versions: Text and item of each version row.
        hashes: Text row by hash.
        encoder: Both upper halves.
        activations: Of all texts.
        pretrained: float32 (n_texts, encoder_size)
        tuned: float32 (n_texts, encoder_size); equal to `pretrained` until the encoder is tuned.
        centre: Mean of `pretrained`.
        directions: Main directions of `pretrained`, strongest first: (k, encoder_size).
        net: The towers; None before the first fit.
    """

    fields: tuple[str, ...]
    versions: VersionTable
    hashes: dict[bytes, int]
    encoder: TextEncoder
    activations: Activations
    pretrained: NDArray[np.float32]
    tuned: NDArray[np.float32]
    centre: NDArray[np.float32]
    directions: NDArray[np.float32]
    net: InterestNet | None = None

    def encode(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Encode texts that are not on the bench.

        Returns:
            As pretrained and as tuned, each (n, encoder_size).
        """
        return encode_both(self.encoder, texts)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the encoder.

        Returns:
            Facts that `StoredEncoder` needs.
        """
        return save_encoder(self.encoder, folder)


def set_up(config: InterestConfig, items: ItemSource, progress: Progress) -> Bench | None:
    """Read the catalogue and encode its texts as pretrained.

    Args:
        config: Encoder, fields, device.
        items: The catalogue.
        progress: Told of texts encoded.

    Returns:
        A bench; None where no item has text.
    """
    device = choose_device(config.device)
    folder = find_encoder(config.encoder)
    fields = choose_fields(items, config.text_fields)
    growth = extend(no_versions(), {}, items, fields)
    if not growth.new_texts:
        return None
    encoder = TextEncoder(folder, config.tuned_layers, config.max_tokens, device)
    activations = Activations(
        encoder, growth.new_texts, lambda done, total: progress("encode item texts", done, total)
    )
    pretrained = activations.encode(encoder.pretrained)
    centre, directions = _spectrum(pretrained)
    return Bench(
        fields=fields,
        versions=growth.versions,
        hashes=growth.hashes,
        encoder=encoder,
        activations=activations,
        pretrained=pretrained,
        tuned=pretrained,
        centre=centre,
        directions=directions,
    )


def _spectrum(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Find the mean and the main directions of vectors.

    Returns:
        Mean (d,), directions (min(PLAIN_SIZE, d), d), each with its largest part positive.
    """
    sample = vectors[:: max(1, len(vectors) // _SPECTRUM_SAMPLE)].astype(np.float64)
    centre = sample.mean(axis=0)
    _, found = np.linalg.eigh((sample - centre).T @ (sample - centre))
    directions = found.T[::-1][:PLAIN_SIZE]
    largest = np.abs(directions).argmax(axis=1)
    directions = directions * np.sign(directions[np.arange(len(directions)), largest])[:, None]
    return centre.astype(np.float32), directions.astype(np.float32)
