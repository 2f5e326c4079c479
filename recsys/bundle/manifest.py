"""The first file of a bundle, `manifest.json`: what the bundle is, and the hash of each other file.

The manifest is written in one canonical form and carries a checksum of itself, so a changed byte
anywhere in a bundle is noticed before any artefact is parsed. The checksum is against damage, not
against somebody who can write the folder: they can compute it as well.
"""

from __future__ import annotations

import hashlib
import math
import re
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from recsys.bundle.durable import write_durably
from recsys.errors import BundleError

MANIFEST_NAME: Final = "manifest.json"
SCHEMA_VERSION: Final = 1
MAX_MANIFEST_BYTES: Final = 16 * 2**20

_SAFE_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file of the bundle must be.

    Args:
        sha256: Hash of its bytes, 64 hexadecimal digits.
        size: Bytes.
    """

    sha256: str
    size: int


class LogFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What of the behaviour log the bundle was made from.

    Args:
        n_items: Different items.
        n_users: Different users.
        n_impressions: Lists that were shown.
        n_interactions: Things that users did.
        first_at: Oldest event, microseconds since the Unix epoch, UTC; None: the log is empty.
        last_at: Newest event, likewise.
    """

    n_items: int
    n_users: int
    n_impressions: int
    n_interactions: int
    first_at: int | None = None
    last_at: int | None = None


class PluginVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A plugin that took part in training.

    Args:
        name: As it is registered.
        version: Of its distribution; empty for a file of the plugin folder.
    """

    name: str
    version: str


class ManifestDraft(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a manifest that the maker of the bundle knows; the store adds the rest.

    Args:
        log: The log that the bundle was made from.
        config: The configuration as JSON values.
        plugins: Plugins that took part.
        feature_names: Columns of the ranker, in order.
        metrics: Quality by name; finite.
        not_reproducible: Why a second run could give another bundle; empty when it gives the same.
    """

    log: LogFacts
    config: dict[str, Any]
    plugins: tuple[PluginVersion, ...]
    feature_names: tuple[str, ...]
    metrics: dict[str, float] = {}
    not_reproducible: str = ""


class Manifest(ManifestDraft, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that is known of a published bundle.

    Args:
        schema_version: Form of this file; code refuses one that is newer than its own.
        version: Name of the bundle and of its folder.
        created_at: When it was published, UTC.
        recsys_version: Version of this project that made it.
        files: By path relative to the bundle, with forward slashes; all files but the manifest.
        checksum: SHA-256 of this manifest written with an empty checksum.
    """

    schema_version: int
    version: str
    created_at: datetime
    recsys_version: str
    files: dict[str, FileEntry]
    checksum: str = ""


class _SchemaOnly(msgspec.Struct):
    schema_version: int


def encode_manifest(manifest: Manifest) -> bytes:
    """Write a manifest in its canonical form, with its checksum.

    Returns:
        Indented JSON; the same manifest always gives the same bytes.
    """
    blank = _canonical(msgspec.structs.replace(manifest, checksum=""))
    return _canonical(msgspec.structs.replace(manifest, checksum=hashlib.sha256(blank).hexdigest()))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of a bundle whose files are all there, and bring it to disk.

    Raises:
        BundleError: A value of it has no form in JSON.
    """
    try:
        plain = msgspec.json.decode(msgspec.json.encode(manifest), type=Manifest)
        data = encode_manifest(plain)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise BundleError(folder, f"a manifest with {error}", "values that JSON has") from error
    write_durably(folder / MANIFEST_NAME, data)


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of a bundle, not its files.

    Args:
        folder: The bundle; its name is the version.

    Returns:
        The manifest, whose file names are safe to join to the folder.

    Raises:
        BundleError: It is missing, too large, of a newer schema, damaged, or of another bundle.
    """
    path = folder / MANIFEST_NAME
    manifest = _decode(path, _read_bytes(path))
    if manifest.version != folder.name:
        raise BundleError(path, f"version {manifest.version}", f"the folder's name, {folder.name}")
    for name in manifest.files:
        check_file_name(folder, name)
    return manifest


def check_draft(folder: Path, draft: ManifestDraft) -> None:
    """Check what the maker of a bundle says of it.

    Raises:
        BundleError: A metric is not finite, or a feature name is used twice.
    """
    for name, value in draft.metrics.items():
        if not math.isfinite(value):
            raise BundleError(folder, f"metric {name} is {value}", "a finite number")
    seen: set[str] = set()
    for name in draft.feature_names:
        if name in seen:
            raise BundleError(folder, f"feature {name} twice", "every feature name once")
        seen.add(name)


def check_file_name(folder: Path, name: str) -> None:
    """Check that a relative path stays within the bundle and is plain on every file system.

    Raises:
        BundleError: It is absolute, climbs, hides, or holds characters that need quoting.
    """
    plain = all(_SAFE_PART.fullmatch(part) for part in name.split("/"))
    if not plain or name == MANIFEST_NAME:
        expected = "a relative path of letters, digits, dots, dashes and underscores"
        raise BundleError(folder, f"file name {name!r}", expected)


def _canonical(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def _read_bytes(path: Path) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise BundleError(path, "no such file", "the manifest of a published bundle")
    size = path.stat().st_size
    if size > MAX_MANIFEST_BYTES:
        raise BundleError(path, f"{size:,} bytes", f"at most {MAX_MANIFEST_BYTES:,}")
    return path.read_bytes()


def _decode(path: Path, data: bytes) -> Manifest:
    try:
        found = msgspec.json.decode(data, type=_SchemaOnly).schema_version
        if found > SCHEMA_VERSION:
            expected = f"at most {SCHEMA_VERSION}; a newer recsys made this bundle"
            raise BundleError(path, f"schema version {found}", expected)
        manifest = msgspec.json.decode(data, type=Manifest)
        unchanged = encode_manifest(manifest) == data
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BundleError(path, f"damaged ({error})", "a manifest as it was written") from error
    if not unchanged:
        raise BundleError(path, "bytes that do not match the checksum", "a manifest as written")
    return manifest
