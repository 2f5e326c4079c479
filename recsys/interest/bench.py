"""What fits share, kept from one to the next: the encoder, the activations and vectors of texts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch
from numpy.typing import NDArray

from recsys.config import InterestConfig
from recsys.events.progress import Progress
from recsys.features.models import ItemSource
from recsys.interest.activations import (
    Activations,
    distinct_parts,
    encode_both,
    part_limits,
    with_nothing,
)
from recsys.interest.adapting import n_tuned_layers
from recsys.interest.catalogue import Template, VersionTable, extend, no_versions
from recsys.interest.encoder import EncoderOptions, TextEncoder, choose_device
from recsys.interest.files import find_encoder
from recsys.interest.literacy import known_share
from recsys.interest.numbers import find_scale
from recsys.interest.parts import flat
from recsys.interest.sharing import rank
from recsys.interest.spectrum import main_directions
from recsys.interest.stored import save_encoder
from recsys.interest.teacher import Teacher
from recsys.interest.text import choose_fields, part_fields
from recsys.interest.towers import InterestNet
from recsys.interest.words import WordReader, learn_words

#: Main directions of the catalogue that are kept of its vectors.
KEPT_SIZE = 256
#: Directions are found in a sample of this size: more show no other ones.
_SPECTRUM_SAMPLE = 5_000
_TEXTS_PER_PASS = 4_096
#: An encoder that knows less of a catalogue's words does not read it alone. English is above, other
#: languages in the packaged encoder are below.
LEAST_KNOWN = 0.78
_LITERACY_SAMPLE = 2_000
Vectors = NDArray[np.float32]

_log = structlog.get_logger("recsys.interest")


@dataclass(slots=True)
class Bench:
    """The state that a fit takes over from the one before.

    Args:
        template: How attributes are read.
        versions: Text, item and numbers of each version row.
        hashes: Text row by hash.
        encoder: Both upper halves.
        words: Reads texts beside it; None where it knows them itself.
        activations: Of all distinct parts of texts.
        part_rows: int32 (n_texts, n_parts): row of each part of a text; -1: no words.
        pretrained: float32 (n_distinct_parts, part_size)
        tuned: The same; equal to `pretrained` until the encoder is tuned.
        centre: Mean of each part: (n_parts, part_size).
        directions: Main directions of texts, strongest first: (k, n_parts * part_size).
        net: The towers; None before the first fit.
        rates: float32 (n_items + 1,): log odds that an item is acted on when shown, from the last
            fit; the last one is that of all items.
        teacher: Whom the fits learn from as well; None before the first fit, or without one.
        too_few: Lists of each fit so far that had too few of them.
    """

    template: Template
    versions: VersionTable
    hashes: dict[bytes, int]
    encoder: TextEncoder
    words: WordReader | None
    activations: Activations
    part_rows: NDArray[np.int32]
    pretrained: Vectors
    tuned: Vectors
    centre: Vectors
    directions: Vectors
    net: InterestNet | None = None
    rates: Vectors = dataclasses.field(default_factory=lambda: np.zeros(1, dtype=np.float32))
    teacher: Teacher | None = None
    too_few: tuple[int, ...] = ()

    def encode(self, texts: Sequence[tuple[str, ...]]) -> tuple[Vectors, Vectors]:
        """Encode texts that are not on the bench.

        Returns:
            As pretrained and as tuned, each (n, n_parts, part_size).
        """
        return encode_both(self.encoder, self.words, texts)

    def passes(self) -> Iterator[tuple[Vectors, Vectors]]:
        """Give the vectors of all texts, some at a time.

        Yields:
            As pretrained and as tuned, each (n, n_parts, part_size).
        """
        pretrained, tuned = with_nothing(self.pretrained), with_nothing(self.tuned)
        for start in range(0, len(self.part_rows), _TEXTS_PER_PASS):
            rows = self.part_rows[start : start + _TEXTS_PER_PASS]
            yield pretrained[rows], tuned[rows]

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the encoder.

        Returns:
            Facts that `StoredEncoder` needs.
        """
        return save_encoder(self.encoder, self.words, folder)


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
    template = Template(part_fields(fields), find_scale(items))
    growth = extend(no_versions(template), {}, items, template)
    if not growth.new_texts:
        return None
    encoder = TextEncoder(folder, _options(config, template, folder), device)
    part_rows, strings = distinct_parts(growth.new_texts)
    words = _reader(config, encoder, strings)
    activations = Activations(
        encoder,
        strings,
        lambda done, total: progress("encode item texts", done, total),
        limits=part_limits(part_rows, encoder.part_tokens),
        words=None if words is None else words.read(strings),
    )
    pretrained = activations.encode(encoder.pretrained)
    centre, directions = _spectrum(pretrained, part_rows)
    return Bench(
        template=template,
        versions=growth.versions,
        hashes=growth.hashes,
        encoder=encoder,
        words=words,
        activations=activations,
        part_rows=part_rows,
        pretrained=pretrained,
        tuned=pretrained,
        centre=centre,
        directions=directions,
    )


def _options(config: InterestConfig, template: Template, folder: Path) -> EncoderOptions:
    n_layers = json.loads((folder / "config.json").read_text(encoding="utf-8")).get(
        "num_hidden_layers", 0
    )
    most = [config.part_tokens.get(fields[0], config.max_tokens) for fields in template.parts]
    return EncoderOptions(
        tuned_layers=n_tuned_layers(config.tuning, config.tuned_layers, n_layers),
        max_tokens=max(most, default=config.max_tokens),
        pooling=config.pooling,
        part_tokens=tuple(most) if config.part_tokens else (),
        attention=config.attention,
    )


def _reader(
    config: InterestConfig, encoder: TextEncoder, texts: Sequence[str]
) -> WordReader | None:
    """Learn the words of a catalogue, where its encoder does not know them.

    Returns:
        The reader; None where the encoder is enough.
    """
    if config.words == "never":
        return None
    if config.words == "auto":
        sample = texts[:: -(-len(texts) // _LITERACY_SAMPLE) or 1]
        known = known_share(encoder.tokenizer, sample, encoder.max_tokens)
        if known >= LEAST_KNOWN:
            return None
        tell = _log.info if rank() == 0 else _log.debug
        tell(
            "texts are read by their words as well",
            because=f"the encoder knows {known:.0%} of them",
            expected=f"{LEAST_KNOWN:.0%}; [interest] encoder names one for other languages",
        )
    return learn_words(texts)


def _spectrum(vectors: Vectors, part_rows: NDArray[np.int32]) -> tuple[Vectors, Vectors]:
    """Find the means of parts and the main directions of texts.

    Returns:
        Means (n_parts, d), directions (k, n_parts * d).
    """
    rows = part_rows[:: max(1, len(part_rows) // _SPECTRUM_SAMPLE)]
    sample = with_nothing(vectors)[rows]
    n_there = np.maximum((rows >= 0).sum(axis=0), 1)[:, None]
    centre = (sample.sum(axis=0, dtype=np.float64) / n_there).astype(np.float32)
    # A copy: torch's memory is aligned, numpy's may be or not, and products differ by that in the
    # last digit, which the directions beyond the rank of the data make large.
    data = torch.tensor(flat(sample, centre))
    return centre, main_directions(data, KEPT_SIZE)
