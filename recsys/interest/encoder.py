"""The text encoder in two halves: lower layers that stay frozen, upper ones that may be tuned.

Texts go through the lower half once; what comes out is kept (`activations`). The upper half exists
twice: as pretrained, and tuned on what people did. Only the upper halves differ, so encoding a new
text both ways costs one pass and a layer or two.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from recsys.errors import EncoderError, told
from recsys.interest.adapting import add_bottlenecks, plain_state
from recsys.interest.packed import Stack

#: Encoders of this family are a stack `encoder.layer` whose layers take (hidden, additive mask).
_STACKED: Final = frozenset({"bert", "roberta", "xlm-roberta", "camembert", "electra"})
_OFFSET: Final = frozenset({"roberta", "xlm-roberta", "camembert"})
_UNBOUNDED: Final = 1 << 20
#: What reading a model's folder can raise.
UNREADABLE: Final = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)


def choose_device(wish: str) -> torch.device:
    """Choose where to compute.

    Args:
        wish: `auto`, `cpu` or `cuda`.

    Returns:
        The device; `auto` takes CUDA where it is.

    Raises:
        EncoderError: `cuda` was asked for and is not there, or more processes than devices.
    """
    if wish == "cuda" and not torch.cuda.is_available():
        raise EncoderError(wish, "no such device", "auto or cpu")
    if wish == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    # A launcher of several processes gives each a device of its own.
    number, n_devices = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= n_devices:
        found = f"process {number} of this machine, which has {n_devices}"
        raise EncoderError(f"cuda:{number}", found, "one process per device")
    return torch.device("cuda", number)


def product_type(device: torch.device) -> torch.dtype:
    """Choose the precision of products of matrices.

    Returns:
        bf16, or float32 where bf16 would be emulated.
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.bfloat16 if fast else torch.float32


def reduced_precision(device: torch.device) -> torch.autocast:
    """Compute in bf16 where the hardware has it.

    Returns:
        A context; it does nothing where bf16 would be emulated.
    """
    fast = product_type(device) is torch.bfloat16
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast)


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """How an encoder is read and divided.

    Args:
        tuned_layers: Layers of the upper half; 0, or a model that is not a plain stack: none.
        max_tokens: Longer texts are cut.
        pooling: `mean` over a text's tokens, `cls` (its first one), `auto`: as the folder says, or
            `attention`: a learned weighing of the tokens, in the tuned half; it starts as the mean.
        part_tokens: Most tokens of each part of a text; beyond them `max_tokens` holds.
        bottleneck: Width of the adapters behind the tuned layers; 0: none.
        attention: `eager`, `sdpa` (fused), or `auto`: by the device.
    """

    tuned_layers: int
    max_tokens: int
    pooling: str = "auto"
    part_tokens: tuple[int, ...] = ()
    bottleneck: int = 0
    attention: str = "auto"


class TextEncoder:
    """A pretrained encoder, split.

    Args:
        folder: In Hugging Face layout.
        options: How it is divided.
        device: Where to compute.
    """

    def __init__(self, folder: Path, options: EncoderOptions, device: torch.device) -> None:
        self.device = device
        self.tokenizer, self.model = _load(folder, _attention(options.attention, device))
        self.model.to(device).eval().requires_grad_(requires_grad=False)
        self.max_tokens = min(options.max_tokens, _positions(self.model.config))
        self.pooling = _pooling(folder) if options.pooling == "auto" else options.pooling
        self.part_tokens = options.part_tokens
        self.size = int(self.model.config.hidden_size)
        self.attention = _token_weights(self.size, device) if self.pooling == "attention" else None
        layers = self.model.encoder.layer if self._stacked else nn.ModuleList()
        n_tuned = min(options.tuned_layers, len(layers))
        self._n_lower = len(layers) - n_tuned
        # Frozen, so what is made of it stays right.
        self._lower = self.stack(layers[: self._n_lower])
        self.pretrained = layers[self._n_lower :]
        self.tuned = copy.deepcopy(self.pretrained)
        if options.bottleneck:
            add_bottlenecks(self.tuned, options.bottleneck)

    @property
    def _stacked(self) -> bool:
        return self.model.config.model_type in _STACKED

    def untuned(self) -> TextEncoder:
        """Start over: share everything but the layers that are tuned.

        Returns:
            An encoder whose `tuned` layers equal the pretrained ones and are its own.
        """
        other = copy.copy(self)
        other.tuned = copy.deepcopy(self.pretrained)
        other.attention = copy.deepcopy(self.attention)
        return other

    @property
    def can_learn(self) -> bool:
        """Whether anything of it is tuned: layers, or how tokens are pooled."""
        return len(self.tuned) > 0 or self.attention is not None

    def learning(self) -> list[nn.Module]:
        """Name what is tuned.

        Returns:
            The upper layers, and the pooling where it is learned.
        """
        return [self.tuned, *([] if self.attention is None else [self.attention])]

    def stack(self, layers: nn.ModuleList) -> Stack:
        """Make layers ready to run, for as long as their weights stay the same.

        Args:
            layers: `tuned` or `pretrained`.

        Returns:
            To be given to `upper` or `contextual`; gradients go through it to the layers.
        """
        return Stack(layers, product_type(self.device), packed=self.device.type == "cpu")

    def save(self, folder: Path) -> None:
        """Write the tuned model and the tokenizer in Hugging Face layout."""
        weights = self.model.state_dict()
        for name, value in plain_state(self.tuned).items():
            number, rest = name.split(".", 1)
            weights[f"encoder.layer.{self._n_lower + int(number)}.{rest}"] = value
        self.model.save_pretrained(folder, state_dict=weights)
        self.tokenizer.save_pretrained(folder)

    def tokenize(
        self, texts: Sequence[str], limits: NDArray[np.int64] | None = None
    ) -> list[list[int]]:
        """Cut texts into tokens.

        Args:
            texts: The texts.
            limits: int64 (n,): most tokens of each; None: `max_tokens`.

        Returns:
            Token ids of each text, with the special ones.
        """
        found = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens)
        tokens = [list(ids) for ids in found["input_ids"]]
        if limits is None:
            return tokens
        # The last token ends the text; it stays the last when others are cut.
        return [
            ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]]
            for ids, limit in zip(tokens, limits.tolist(), strict=True)
        ]

    def lower(self, tokens: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the frozen half.

        Args:
            tokens: Of texts of about the same length.

        Returns:
            Hidden states (n, length, size) in bf16, and their mask bool (n, length).
        """
        padded = self.tokenizer.pad({"input_ids": list(tokens)}, return_tensors="pt")
        ids, mask = padded["input_ids"].to(self.device), padded["attention_mask"].to(self.device)
        with torch.no_grad(), reduced_precision(self.device):
            if self._stacked:
                hidden = self.model.embeddings(input_ids=ids)
                hidden = self._lower(hidden, mask.bool())
            else:
                hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return hidden.to(torch.bfloat16), mask.bool()

    def contextual(self, hidden: torch.Tensor, mask: torch.Tensor, layers: Stack) -> torch.Tensor:
        """Run an upper half.

        Args:
            hidden: From `lower`.
            mask: From `lower`.
            layers: `tuned` or `pretrained`, from `stack`.

        Returns:
            float32 (n, length, size): one vector per token.
        """
        with reduced_precision(self.device):
            return layers(hidden, mask)

    def upper(self, hidden: torch.Tensor, mask: torch.Tensor, layers: Stack) -> torch.Tensor:
        """Run an upper half and pool a text's tokens into one vector.

        Args:
            hidden: From `lower`.
            mask: From `lower`.
            layers: `tuned` or `pretrained`, from `stack`.

        Returns:
            float32 (n, size), unit length.
        """
        hidden = self.contextual(hidden, mask, layers)
        if self.pooling == "cls":
            return nn.functional.normalize(hidden[:, 0], dim=-1)
        if self.attention is not None and layers.layers is self.tuned:
            logits = self.attention(hidden).masked_fill(~mask[..., None], float("-inf"))
            return nn.functional.normalize((hidden * logits.softmax(dim=1)).sum(1), dim=-1)
        weights = mask[..., None].float()
        pooled = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1.0)
        return nn.functional.normalize(pooled, dim=-1)


def _positions(config: Any) -> int:  # noqa: ANN401 - every model has a class of its own
    """Count the tokens that an encoder's table of positions has room for.

    Returns:
        The count; RoBERTa and its kin start counting behind the padding token.
    """
    positions = int(getattr(config, "max_position_embeddings", 0) or _UNBOUNDED)
    return positions - config.pad_token_id - 1 if config.model_type in _OFFSET else positions


def _token_weights(size: int, device: torch.device) -> nn.Linear:
    weights = nn.Linear(size, 1, bias=False, device=device)
    nn.init.zeros_(weights.weight)
    return weights


def _pooling(folder: Path) -> str:
    """Ask a folder in the layout of sentence-transformers how it pools.

    Returns:
        `cls` or `mean`; `mean` where nothing is said.
    """
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    facts = json.loads(path.read_text(encoding="utf-8"))
    return "cls" if facts.get("pooling_mode_cls_token") else "mean"


def _attention(wish: str, device: torch.device) -> str:
    """Choose how attention is computed.

    On a CPU the fused kernel is no faster forward, and slower backward; on CUDA it is both faster
    and smaller.

    Returns:
        `eager` or `sdpa`.
    """
    if wish != "auto":
        return wish
    return "sdpa" if device.type == "cuda" else "eager"


def _load(folder: Path, attention: str) -> tuple[Any, Any]:
    # A progress bar per model load says nothing to a user of this project.
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, attn_implementation=attention
        )
    except UNREADABLE as error:
        expected = "a readable encoder"
        raise EncoderError(str(folder), told(error), expected) from error
    _check_tokenizer(folder, tokenizer, model.config.vocab_size)
    return tokenizer, model


def _check_tokenizer(folder: Path, tokenizer: Any, n_known: int) -> None:  # noqa: ANN401 - a class per model
    """Refuse a tokenizer that is not the encoder's: a folder without one gives one without words.

    Raises:
        EncoderError: It has no words, no padding, or words that the encoder has no vectors of.
    """
    vocabulary = tokenizer.get_vocab()
    if not set(vocabulary) - set(tokenizer.all_special_tokens):
        found, expected = "no tokenizer in it, or one without words", "a folder with a tokenizer"
        raise EncoderError(str(folder), found, expected)
    if tokenizer.pad_token is None:
        raise EncoderError(str(folder), "the tokenizer has no padding token", "an encoder")
    if max(vocabulary.values()) >= n_known:
        found = f"a tokenizer with {max(vocabulary.values()) + 1} pieces"
        raise EncoderError(str(folder), found, f"at most {n_known}, as the encoder has vectors")
