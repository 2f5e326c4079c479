"""The interest model on disk: an encoder folder, one safetensors file, one JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from recsys.config import InterestConfig
from recsys.errors import BundleError
from recsys.features.mapped import ROOM
from recsys.interest.catalogue import Template, no_versions
from recsys.interest.mapped import map_file
from recsys.interest.numbers import NumberScale
from recsys.interest.parts import Parts, Projection, make_known
from recsys.interest.scoring import COLUMNS
from recsys.interest.stored import StoredEncoder
from recsys.interest.stored_vectors import Head, NumberTraits, TextTable
from recsys.interest.text import HASH_BYTES

#: 3: texts may be read by their words as well.
FORMAT: Final = 3
_READABLE: Final = (2, FORMAT)
ARRAYS: Final = "interest.safetensors"
FACTS: Final = "interest.json"

_PARTS: Final[dict[str, type]] = {
    "head": Head, "numbers": NumberTraits, "projection": Projection, "texts": TextTable,
}  # fmt: skip
#: What grows, by its name in the file.
_TEXTS: Final = {f"texts.{name}": name for name in TextTable.__slots__}


def save(parts: Parts, folder: Path) -> None:
    """Write a model into an empty folder."""
    known = parts.known
    facts = {
        "format": FORMAT,
        "parts": [list(fields) for fields in parts.template.parts],
        "numbers": list(parts.template.scale.names),
        "columns": list(COLUMNS),
        "encoder": parts.encoder is not None,
    }
    arrays = _collect({"projection": parts.projection, "texts": known.texts})
    if parts.head is not None and parts.numbers is not None:
        arrays |= _collect({"head": parts.head, "numbers": parts.numbers})
    arrays["levels"] = parts.template.scale.levels
    keys = sorted(known.hashes, key=known.hashes.__getitem__)
    arrays["hashes"] = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, HASH_BYTES)
    if parts.encoder is not None:
        facts |= parts.encoder.save(folder)
    save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, folder / ARRAYS)
    text = json.dumps(facts, indent=2, ensure_ascii=False, sort_keys=True)
    (folder / FACTS).write_text(text + "\n", encoding="utf-8")


def load(config: InterestConfig, folder: Path) -> tuple[Parts, Mapping[str, NDArray[Any]]]:
    """Read a model; texts that it knows by their hash need not be encoded again.

    Args:
        config: Where to compute; everything else is stored.
        folder: What `save` wrote.

    Returns:
        The parts, with no version row taken in yet, and the texts' tables with room behind them,
        as `Growing` takes them.

    Raises:
        BundleError: A file is missing, or of a newer format.
    """
    facts, arrays = _read(folder)
    if facts.get("format") not in _READABLE:
        raise BundleError(folder / FACTS, f"format {facts.get('format')}", f"format {FORMAT}")
    hashes = {row.tobytes(): number for number, row in enumerate(arrays["hashes"])}
    scale = NumberScale(tuple(facts["numbers"]), arrays["levels"])
    template = Template(tuple(tuple(fields) for fields in facts["parts"]), scale)
    fitted = "head.mix" in arrays
    numbers = _restore("numbers", arrays) if fitted else None
    parts = Parts(
        template=template,
        known=make_known(no_versions(template), hashes, _restore("texts", arrays), numbers),
        projection=_restore("projection", arrays),
        head=_restore("head", arrays) if fitted else None,
        numbers=numbers,
        encoder=StoredEncoder(folder, facts, config.device) if facts["encoder"] else None,
    )
    rooms = {
        name + ROOM: arrays[stored + ROOM]
        for stored, name in _TEXTS.items()
        if stored + ROOM in arrays
    }
    return parts, rooms


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    for name in (FACTS, ARRAYS):
        if not (folder / name).is_file():
            raise BundleError(folder / name, "no such file", "a file of the interest model")
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return facts, map_file(folder / ARRAYS, _TEXTS)


def _collect(parts: dict[str, Any]) -> dict[str, NDArray[Any]]:
    return {
        f"{name}.{key}": value
        for name, part in parts.items()
        for key in _fields(name)
        if (value := getattr(part, key)) is not None
    }


def _restore(name: str, arrays: dict[str, NDArray[Any]]) -> Any:  # noqa: ANN401 - one of _PARTS
    return _PARTS[name](**{
        key: arrays[f"{name}.{key}"] for key in _fields(name) if f"{name}.{key}" in arrays
    })


def _fields(name: str) -> Sequence[str]:
    return tuple(_PARTS[name].__annotations__)
