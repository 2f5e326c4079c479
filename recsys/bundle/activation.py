"""The file `active`: which bundle serves, and which ones served before it.

It is replaced in one step, so a reader sees the old choice or the new one. Its last version is
the active one; rolling back takes it off the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from recsys.bundle.durable import write_durably
from recsys.errors import BundleError

ACTIVE_NAME: Final = "active"
MAX_HISTORY: Final = 100


class _Active(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    history: list[str]


def read_history(folder: Path) -> list[str]:
    """Read which bundles have been active.

    Args:
        folder: The store.

    Returns:
        Versions, the active one last; empty when none was ever activated.

    Raises:
        BundleError: The file is damaged.
    """
    path = folder / ACTIVE_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Active).history
    except FileNotFoundError:
        return []
    except (msgspec.MsgspecError, ValueError) as error:
        expected = "a history of versions; activate a bundle to write a new one"
        raise BundleError(path, f"damaged ({error})", expected) from error


def write_history(folder: Path, history: list[str]) -> None:
    """Make the last version of a history the active one; the oldest ones are forgotten."""
    write_durably(
        folder / ACTIVE_NAME, msgspec.json.encode(_Active(history[-MAX_HISTORY:])) + b"\n"
    )
