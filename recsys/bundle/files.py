"""The files of a bundle: which are there, and whether each is what the manifest says."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from recsys.bundle.durable import walk_files
from recsys.bundle.manifest import MANIFEST_NAME, FileEntry, Manifest, check_file_name
from recsys.errors import BundleError

MAX_FILES: Final = 10_000


def scan_files(folder: Path) -> dict[str, int]:
    """List all files of a bundle without reading them; links are never followed.

    Args:
        folder: The bundle.

    Returns:
        Size in bytes by relative path with forward slashes, sorted; the manifest is left out.

    Raises:
        BundleError: The folder is missing or a link, or holds links, devices or too many files.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise BundleError(folder, "no such folder", "a published bundle")
    sizes: dict[str, int] = {}
    for entry in walk_files(folder):
        path = Path(entry.path)
        if not entry.is_file(follow_symlinks=False):
            found = "a symbolic link" if entry.is_symlink() else "neither a file nor a folder"
            raise BundleError(path, found, "plain files only")
        sizes[path.relative_to(folder).as_posix()] = entry.stat(follow_symlinks=False).st_size
        if len(sizes) > MAX_FILES:
            raise BundleError(folder, f"more than {MAX_FILES:,} files", "fewer")
    sizes.pop(MANIFEST_NAME, None)
    return dict(sorted(sizes.items()))


def hash_files(folder: Path) -> dict[str, FileEntry]:
    """Hash every file of a bundle that is about to be published.

    Returns:
        Hash and size by relative path, sorted.
    """
    entries = {}
    for name, size in scan_files(folder).items():
        check_file_name(folder, name)
        entries[name] = FileEntry(sha256=_sha256(folder / name), size=size)
    return entries


def verify_files(folder: Path, manifest: Manifest, max_bytes: int) -> None:
    """Check that a bundle holds exactly the files of its manifest; cheap checks come first.

    Args:
        folder: The bundle.
        manifest: As read from it.
        max_bytes: Largest sum of sizes that is hashed at all.

    Raises:
        BundleError: A file is missing, unknown, or has another size or hash; names the file.
    """
    sizes = scan_files(folder)
    _check_names_and_sizes(folder, manifest, sizes)
    if sum(sizes.values()) > max_bytes:
        raise BundleError(folder, f"{sum(sizes.values()):,} bytes", f"at most {max_bytes:,}")
    for name, entry in manifest.files.items():
        found = _sha256(folder / name)
        if found != entry.sha256:
            raise BundleError(folder / name, f"SHA-256 {found}", f"SHA-256 {entry.sha256}")


def _check_names_and_sizes(folder: Path, manifest: Manifest, sizes: dict[str, int]) -> None:
    for name, entry in manifest.files.items():
        if name not in sizes:
            raise BundleError(folder / name, "no such file", "a file that the manifest names")
        if sizes[name] != entry.size:
            raise BundleError(folder / name, f"{sizes[name]:,} bytes", f"{entry.size:,} bytes")
    for name in sizes:
        if name not in manifest.files:
            raise BundleError(folder / name, "an extra file", "only files that the manifest names")


def _sha256(path: Path) -> str:
    # O_NOFOLLOW: a file that was replaced by a link since it was listed is not read.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise BundleError(path, f"unreadable ({error.strerror})", "a plain file") from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BundleError(path, "no plain file", "a plain file")
        return hashlib.file_digest(file, "sha256").hexdigest()
