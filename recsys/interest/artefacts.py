"""The interest model on disk: an encoder folder, one safetensors file, one JSON file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from recsys.config import InterestConfig
from recsys.errors import BundleError
from recsys.features.models import ItemSource
from recsys.interest.catalogue import no_versions
from recsys.interest.fitted import FittedInterest, Known, Projection
from recsys.interest.scoring import Head, TextTable
from recsys.interest.stored import StoredEncoder

FORMAT: Final = 1
ARRAYS: Final = "interest.safetensors"
FACTS: Final = "interest.json"

_PARTS: Final[dict[str, type]] = {
    "head": Head, "projection": Projection, "texts": TextTable,
}  # fmt: skip


def save(model: FittedInterest, folder: Path) -> None:
    """Write a model into an empty folder."""
    facts = {
        "format": FORMAT,
        "fields": list(model.fields),
        "columns": list(model.columns),
        "encoder": model.encoder is not None,
    }
    arrays = _collect({"projection": model.projection, "texts": model.known.texts})
    if model.head is not None:
        arrays |= _collect({"head": model.head})
    keys = sorted(model.known.hashes, key=model.known.hashes.__getitem__)
    arrays["hashes"] = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, 16)
    if model.encoder is not None:
        facts |= model.encoder.save(folder)
    save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, folder / ARRAYS)
    text = json.dumps(facts, indent=2, ensure_ascii=False, sort_keys=True)
    (folder / FACTS).write_text(text + "\n", encoding="utf-8")


def load(config: InterestConfig, folder: Path, items: ItemSource) -> FittedInterest:
    """Read a model; texts that it knows by their hash are not encoded again.

    Args:
        config: Where to compute; everything else is stored.
        folder: What `save` wrote.
        items: The catalogue to score.

    Returns:
        The model, with every version row of the catalogue taken in.

    Raises:
        BundleError: A file is missing, or of a newer format.
    """
    facts, arrays = _read(folder)
    if facts.get("format") != FORMAT:
        raise BundleError(folder / FACTS, f"format {facts.get('format')}", f"format {FORMAT}")
    hashes = {row.tobytes(): number for number, row in enumerate(arrays["hashes"])}
    head = _restore("head", arrays) if "head.mix" in arrays else None
    encoder = StoredEncoder(folder, facts, config.device) if facts["encoder"] else None
    model = FittedInterest(
        items,
        tuple(facts["fields"]),
        Known(no_versions(), hashes, _restore("texts", arrays)),
        _restore("projection", arrays),
        head,
        encoder,
    )
    model.refresh()
    return model


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    for name in (FACTS, ARRAYS):
        if not (folder / name).is_file():
            raise BundleError(folder / name, "no such file", "a file of the interest model")
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return facts, load_file(folder / ARRAYS)


def _collect(parts: dict[str, Any]) -> dict[str, NDArray[Any]]:
    return {
        f"{name}.{key}": value
        for name, part in parts.items()
        for key in _slots(name)
        if (value := getattr(part, key)) is not None
    }


def _restore(name: str, arrays: dict[str, NDArray[Any]]) -> Any:  # noqa: ANN401 - one of _PARTS
    return _PARTS[name](**{
        key: arrays[f"{name}.{key}"] for key in _slots(name) if f"{name}.{key}" in arrays
    })


def _slots(name: str) -> Sequence[str]:
    slots: Sequence[str] = _PARTS[name].__slots__  # type: ignore[attr-defined]
    return slots
