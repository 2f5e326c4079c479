"""A folder of bundles: one sub-folder per version, and a small file that says which one is active.

Publishing writes into a hidden folder beside the others and renames it into place when everything
is on disk, so nobody ever sees half a bundle. What a killed publish leaves behind is ignored by
readers and removed by the next publish. Opening verifies every byte before anything is parsed,
because a damaged artefact can kill the process that parses it.
"""

from __future__ import annotations

import builtins
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from recsys import __version__
from recsys.bundle.activation import read_history, write_history
from recsys.bundle.durable import sync, sync_tree
from recsys.bundle.files import hash_files, verify_files
from recsys.bundle.locks import exclusive, is_held
from recsys.bundle.manifest import (
    MANIFEST_NAME,
    SCHEMA_VERSION,
    Manifest,
    ManifestDraft,
    check_draft,
    read_manifest,
    write_manifest,
)
from recsys.errors import BundleError

DEFAULT_MAX_BYTES: Final = 64 * 2**30

_VERSION: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{5}")
_UNFINISHED: Final = ".publishing-"


@dataclass(frozen=True, slots=True)
class OpenBundle:
    """A bundle whose every file was just verified.

    Args:
        path: Its folder.
        manifest: What it is.
    """

    path: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """A line of the list of bundles.

    Args:
        version: Sorts by time of creation.
        created_at: UTC.
        active: Whether it is the one that serves.
        metrics: Quality by name.
        problem: Why its manifest cannot be read; empty when it can. A list hashes no files.
    """

    version: str
    created_at: datetime
    active: bool
    metrics: dict[str, float] = field(default_factory=dict)
    problem: str = ""


class BundleStore:
    """Publishes, verifies, lists and activates bundles in one folder.

    Several processes may use one folder: writers take turns, readers take no lock.

    Args:
        folder: Made by the first publish.
        max_bytes: Largest bundle that is opened.
    """

    def __init__(self, folder: Path, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.folder = folder
        self._max_bytes = max_bytes

    def publish(self, write: Callable[[Path], ManifestDraft]) -> str:
        """Make a new version; it is not activated.

        Args:
            write: Writes all artefacts into the empty folder it is given, and says what they are.

        Returns:
            The version.

        Raises:
            BundleError: What was written is no bundle: links, odd file names, metrics that are not
                finite.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._unfinished_folder() as folder:
            draft = write(folder)
            check_draft(folder, draft)
            if os.path.lexists(folder / MANIFEST_NAME):
                raise BundleError(folder / MANIFEST_NAME, "a file", "a name left to the store")
            return self._put_in_place(folder, draft)

    def open(self, version: str | None = None) -> OpenBundle:
        """Verify a bundle: its manifest, the exact set of its files, their sizes and hashes.

        Args:
            version: None: the active one.

        Returns:
            The bundle; all its files are what was published.

        Raises:
            BundleError: It is missing, damaged, too large or newer than this code; names the file.
        """
        chosen = version if version is not None else self.active()
        if chosen is None:
            raise BundleError(self.folder, "no active bundle", "one that was trained and activated")
        folder = self._folder_of(chosen)
        manifest = read_manifest(folder)
        verify_files(folder, manifest, self._max_bytes)
        return OpenBundle(folder, manifest)

    def list(self) -> builtins.list[BundleInfo]:
        """List all published bundles, damaged ones too.

        Returns:
            Oldest first.
        """
        active = self.active()
        return [self._info(version, active) for version in self._versions()]

    def active(self) -> str | None:
        """Say which version serves.

        Returns:
            Its name; None when none was ever activated.
        """
        history = read_history(self.folder)
        return history[-1] if history else None

    def previous(self) -> str | None:
        """Say to which version `roll_back` would return.

        Returns:
            Its name; None when no other was active before.
        """
        history = read_history(self.folder)
        return history[-2] if len(history) > 1 else None

    def activate(self, version: str) -> None:
        """Verify a version, then make it the active one; a damaged file `active` is replaced."""
        self.open(version)
        with exclusive(self.folder):
            try:
                history = read_history(self.folder)
            except BundleError:
                history = []
            if history[-1:] != [version]:
                write_history(self.folder, [*history, version])

    def roll_back(self) -> str:
        """Return to the version that was active before, after verifying it.

        Returns:
            The version that is active now.

        Raises:
            BundleError: None was active before, or it is damaged; the active one stays.
        """
        if not self.folder.is_dir():
            raise BundleError(self.folder, "no such folder", "a store of bundles")
        with exclusive(self.folder):
            history = read_history(self.folder)
            if len(history) < 2:
                found = "no bundle that was active before this one"
                raise BundleError(self.folder, found, "two activations at least")
            self.open(history[-2])
            write_history(self.folder, history[:-1])
        return history[-2]

    @contextmanager
    def _unfinished_folder(self) -> Iterator[Path]:
        """Own a hidden folder until it is renamed or the block ends.

        Yields:
            The folder, empty and locked: its lock tells others that its maker is alive.
        """
        with ExitStack() as stack:
            with exclusive(self.folder):
                self._remove_leftovers()
                folder = self.folder / f"{_UNFINISHED}{secrets.token_hex(8)}"
                folder.mkdir()
                stack.enter_context(exclusive(folder))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            yield folder

    def _remove_leftovers(self) -> None:
        for path in self.folder.glob(f"{_UNFINISHED}*"):
            if not is_held(path):
                shutil.rmtree(path, ignore_errors=True)

    def _put_in_place(self, folder: Path, draft: ManifestDraft) -> str:
        files = hash_files(folder)
        sync_tree(folder)
        with exclusive(self.folder):
            manifest = Manifest(
                **msgspec.structs.asdict(draft),
                schema_version=SCHEMA_VERSION,
                created_at=(now := self._free_instant()),
                version=_version_at(now),
                recsys_version=__version__,
                files=files,
            )
            write_manifest(folder, manifest)
            folder.rename(self.folder / manifest.version)
            sync(self.folder)
        return manifest.version

    def _free_instant(self) -> datetime:
        now = datetime.now(UTC)
        while (self.folder / _version_at(now)).exists():
            now += timedelta(microseconds=1)
        return now

    def _versions(self) -> builtins.list[str]:
        if not self.folder.is_dir():
            return []
        return sorted(p.name for p in self.folder.iterdir() if _VERSION.fullmatch(p.name))

    def _folder_of(self, version: str) -> Path:
        folder = self.folder / version
        # The pattern comes first: a version from outside must not become a path.
        if _VERSION.fullmatch(version) and folder.is_dir() and not folder.is_symlink():
            return folder
        known = ", ".join(self._versions()[-5:]) or "none is published"
        raise BundleError(self.folder, f"no version {version!r}", f"one of: {known}")

    def _info(self, version: str, active: str | None) -> BundleInfo:
        is_active = version == active
        try:
            manifest = read_manifest(self.folder / version)
        except BundleError as error:
            return BundleInfo(version, _created_at(version), is_active, problem=str(error))
        return BundleInfo(version, manifest.created_at, is_active, manifest.metrics)


def _version_at(instant: datetime) -> str:
    """Name a version by its instant; microseconds make it unique and keep names sortable.

    Returns:
        Such as `20261123T192500Z-3c1f7`.
    """
    return f"{instant:%Y%m%dT%H%M%SZ}-{instant.microsecond:05x}"


def _created_at(version: str) -> datetime:
    instant = datetime.strptime(version[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return instant + timedelta(microseconds=int(version[17:], 16))
