"""An encoder that lies on disk and is loaded when a new text needs it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from recsys.interest.encoder import TextEncoder
    from recsys.interest.words import WordReader

ENCODER: Final = "encoder"
PRETRAINED: Final = "pretrained_layers.safetensors"
ADAPTERS: Final = "adapters.safetensors"
POOLING: Final = "pooling.safetensors"
WORDS: Final = "words.safetensors"


def save_encoder(encoder: TextEncoder, words: WordReader | None, folder: Path) -> dict[str, Any]:
    """Write the tuned encoder in the layout of sentence-transformers, and what is beside it.

    Returns:
        Facts that `StoredEncoder` needs.
    """
    from safetensors.torch import save_file

    from recsys.interest.adapting import bottleneck_state

    home = folder / ENCODER
    encoder.save(home)
    _write_layout(home, encoder)
    state = {name: value.contiguous() for name, value in encoder.pretrained.state_dict().items()}
    save_file(state, folder / PRETRAINED)
    adapters = bottleneck_state(encoder.tuned)
    if adapters:
        save_file({k: v.contiguous() for k, v in adapters.items()}, folder / ADAPTERS)
    if encoder.attention is not None:
        save_file(encoder.attention.state_dict(), folder / POOLING)
    if words is not None:
        words.save(folder / WORDS)
    return {
        "tuned_layers": len(encoder.tuned),
        "max_tokens": encoder.max_tokens,
        "pooling": encoder.pooling,
        "part_tokens": list(encoder.part_tokens),
        "bottleneck": len(adapters["0.down.bias"]) if adapters else 0,
    }


_FACTS: Final = ("tuned_layers", "max_tokens", "pooling", "part_tokens", "bottleneck")


class StoredEncoder:
    """Encodes texts with an encoder that `save_encoder` wrote; loads it at the first text.

    Args:
        folder: What was written.
        facts: What `save_encoder` returned.
        device: `auto`, `cpu` or `cuda`; an explicit `cuda` is checked at once.

    Raises:
        EncoderError: `cuda` was asked for and is not there.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], device: str) -> None:
        self._folder = folder
        self._facts = facts
        self._device = device
        self._readers: tuple[TextEncoder, WordReader | None] | None = None
        self._loading = threading.Lock()
        if device == "cuda":
            from recsys.interest.encoder import choose_device

            choose_device(device)

    @property
    def loaded(self) -> bool:
        """Whether a text needed the encoder so far."""
        return self._readers is not None

    def encode(
        self, texts: Sequence[tuple[str, ...]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Encode texts, each in its parts.

        Returns:
            As pretrained and as tuned, each (n, n_parts, part_size).
        """
        from recsys.interest.activations import encode_both

        return encode_both(*self._load(), texts)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the same files into another folder.

        Returns:
            Facts that `StoredEncoder` needs.
        """
        shutil.copytree(self._folder / ENCODER, folder / ENCODER)
        for name in (PRETRAINED, ADAPTERS, POOLING, WORDS):
            if (self._folder / name).is_file():
                shutil.copyfile(self._folder / name, folder / name)
        return {name: self._facts[name] for name in _FACTS}

    def _load(self) -> tuple[TextEncoder, WordReader | None]:
        from safetensors.torch import load_file

        from recsys.interest.encoder import EncoderOptions, TextEncoder, choose_device
        from recsys.interest.words import load_words

        with self._loading:
            if self._readers is None:
                options = {name: self._facts[name] for name in _FACTS}
                options["part_tokens"] = tuple(options["part_tokens"])
                encoder = TextEncoder(
                    self._folder / ENCODER, EncoderOptions(**options), choose_device(self._device)
                )
                encoder.pretrained.load_state_dict(load_file(self._folder / PRETRAINED))
                if self._facts["bottleneck"]:
                    adapters = load_file(self._folder / ADAPTERS)
                    encoder.tuned.load_state_dict(adapters, strict=False)
                if encoder.attention is not None:
                    encoder.attention.load_state_dict(load_file(self._folder / POOLING))
                words = self._folder / WORDS
                self._readers = encoder, load_words(words) if words.is_file() else None
            return self._readers


def _write_layout(home: Path, encoder: TextEncoder) -> None:
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
        {
            "idx": 2,
            "name": "2",
            "path": "2_Normalize",
            "type": "sentence_transformers.models.Normalize",
        },
    ]
    pooling = {
        "word_embedding_dimension": encoder.size,
        # Learned weights of tokens are not known there; the mean is what they started from.
        "pooling_mode_mean_tokens": encoder.pooling != "cls",
        "pooling_mode_cls_token": encoder.pooling == "cls",
    }
    (home / "1_Pooling").mkdir()
    _write_json(home / "modules.json", modules)
    _write_json(home / "1_Pooling" / "config.json", pooling)
    _write_json(home / "sentence_bert_config.json", {"max_seq_length": encoder.max_tokens})


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
