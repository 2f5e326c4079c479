"""Distillation: what a larger model says of pairs of texts, for the towers to learn as well.

A teacher is asked of each list: of these candidates, which is near to what the user liked last? A
cross-encoder (a sequence classifier with one output) reads both texts at once; any other encoder
gives each a vector, and the cosine answers. The interest space learns to give candidates the
same shares. What a teacher said is kept beside the runs by the hash of the texts, so it is asked
once per pair, or per text, whatever is fitted how often.

Source: distillation
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from recsys.errors import EncoderError, told
from recsys.interest.activations import Activations
from recsys.interest.encoder import UNREADABLE, EncoderOptions, TextEncoder, reduced_precision
from recsys.interest.examples import Examples
from recsys.interest.files import CONFIG_NAME, find_encoder
from recsys.interest.losses import SHARPNESS
from recsys.interest.sharing import put_together, rank, share_of
from recsys.interest.text import HASH_BYTES, text_hash

_MAX_TOKENS: Final = 256
_PAIRS_PER_BATCH: Final = 64

Pairs = Sequence[tuple[str, str]]

_log = structlog.get_logger("recsys.interest")


class Teacher:
    """Scores pairs of texts, and remembers what was said.

    Args:
        name: A folder, package or name on the hub, as of encoders.
        cache: Folder for what was said.
        device: Where to compute.

    Raises:
        EncoderError: There is no such model, or it does not score pairs.
    """

    def __init__(self, name: str, cache: Path, device: torch.device) -> None:
        self._folder = find_encoder(name)
        self._device = device
        facts = json.loads((self._folder / CONFIG_NAME).read_text(encoding="utf-8"))
        kinds = facts.get("architectures") or [""]
        self._reads_both = kinds[0].endswith("ForSequenceClassification")
        self._path = cache / f"{_fingerprint(self._folder)}.safetensors"
        self._known = _read(self._path)

    def scores(self, pairs: Pairs, progress: Callable[[int, int], None]) -> NDArray[np.float32]:
        """Say how near the two texts of each pair are.

        Args:
            pairs: What was liked, and a candidate.
            progress: Called with (texts or pairs done, in all).

        Returns:
            float32 (n,): log odds, up to a constant.
        """
        if self._reads_both:
            keys = [text_hash(*pair) for pair in pairs]
            self._ask(dict(zip(keys, pairs, strict=True)), self._read_pairs, progress)
            return np.array([self._known[key][0] for key in keys], dtype=np.float32)
        texts = {text_hash(text): (text, "") for pair in pairs for text in pair}
        self._ask(texts, self._read_texts, progress)
        left, right = (
            np.stack([self._known[text_hash(pair[side])] for pair in pairs]) for side in (0, 1)
        )
        cosines: NDArray[np.float32] = SHARPNESS * (left * right).sum(axis=1)
        return cosines

    def _ask(
        self,
        wanted: dict[bytes, tuple[str, str]],
        read: Callable[[Pairs, Callable[[int, int], None]], NDArray[np.float32]],
        progress: Callable[[int, int], None],
    ) -> None:
        unknown = [key for key in wanted if key not in self._known]
        if not unknown:
            return
        found = read([wanted[key] for key in unknown], progress)
        self._known.update(zip(unknown, found, strict=True))
        if rank() == 0:
            _write(self._path, self._known)

    def _read_texts(
        self, texts: Pairs, progress: Callable[[int, int], None]
    ) -> NDArray[np.float32]:
        encoder = TextEncoder(self._folder, EncoderOptions(0, _MAX_TOKENS), self._device)
        activations = Activations(encoder, [text for text, _ in texts], progress)
        return activations.encode(encoder.pretrained)

    def _read_pairs(
        self, pairs: Pairs, progress: Callable[[int, int], None]
    ) -> NDArray[np.float32]:
        tokenizer, model = _load(self._folder)
        model.to(self._device).eval()
        found = np.zeros((len(pairs), 1), dtype=np.float32)
        # Pairs of about the same length together.
        order = np.argsort([len(a) + len(b) for a, b in pairs], kind="stable")
        batches = [order[i : i + _PAIRS_PER_BATCH] for i in range(0, len(order), _PAIRS_PER_BATCH)]
        for number, rows in enumerate(share_of(batches)):
            tokens = tokenizer(
                [pairs[row] for row in rows], padding=True, truncation=True,
                max_length=_MAX_TOKENS, return_tensors="pt",
            ).to(self._device)  # fmt: skip
            with torch.no_grad(), reduced_precision(self._device):
                logits = model(**tokens).logits.float()
            # Of two outputs, how much rather the second one.
            nearness = logits[:, -1] - (logits[:, 0] if logits.shape[1] == 2 else 0.0)
            found[rows, 0] = nearness.cpu().numpy()
            progress(min(len(pairs), (number + 1) * _PAIRS_PER_BATCH), len(pairs))
        put_together(torch.from_numpy(found))
        return found


def teach(
    teacher: Teacher,
    examples: Examples,
    texts: Callable[[int], str],
    progress: Callable[[int, int], None],
) -> NDArray[np.float32]:
    """Ask of each list how near its candidates are to what the user liked last.

    Args:
        teacher: Who is asked.
        examples: The lists.
        texts: Gives the text of a version row.
        progress: Called with (texts or pairs done, in all).

    Returns:
        float32 (n, width), as `examples.candidates`; NaN where there is no text to ask about.
    """
    liked = examples.liked.rows
    newest = liked[np.arange(len(liked)), (liked >= 0).argmax(axis=1)]
    asked = (examples.candidates >= 0) & (newest >= 0)[:, None]
    found = np.full(asked.shape, np.nan, dtype=np.float32)
    lists, _ = np.nonzero(asked)
    pairs = [
        (texts(int(left)), texts(int(right)))
        for left, right in zip(newest[lists], examples.candidates[asked], strict=True)
    ]
    if pairs:
        found[asked] = teacher.scores(pairs, progress)
    return found


def _load(folder: Path) -> tuple[Any, Any]:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        )
    except UNREADABLE as error:
        expected = "a readable cross-encoder"
        raise EncoderError(str(folder), told(error), expected) from error
    if model.config.num_labels > 2:
        found, expected = f"{model.config.num_labels} outputs", "a classifier with one or two"
        raise EncoderError(str(folder), found, expected)
    return tokenizer, model


def _fingerprint(folder: Path) -> str:
    hashed = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            hashed.update(hashlib.file_digest(file, "sha256").digest())
    return hashed.hexdigest()[:32]


def _read(path: Path) -> dict[bytes, NDArray[np.float32]]:
    if not path.exists():
        return {}
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        _log.warning("what a teacher said is asked again", path=str(path), reason=told(error))
        return {}
    keys = (row.tobytes() for row in stored["hashes"])
    return dict(zip(keys, stored["values"], strict=True))


def _write(path: Path, known: dict[bytes, NDArray[np.float32]]) -> None:
    hashes = np.frombuffer(b"".join(known), dtype=np.uint8).reshape(-1, HASH_BYTES)
    beside = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"hashes": hashes.copy(), "values": np.stack([*known.values()])}, beside)
        beside.replace(path)
    except (OSError, SafetensorError) as error:
        _log.warning("what a teacher said is not kept", path=str(path), reason=told(error))
