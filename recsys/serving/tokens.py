"""Who may call what: bearer tokens with scopes, from a file that is read again when it changes.

The file holds SHA-256 sums, so reading it gives nobody a token:

    [tokens.shop]
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    scopes = ["rank", "write"]
"""

from __future__ import annotations

import hashlib
import hmac
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from recsys.errors import AuthenticationError, ConfigError, ScopeError
from recsys.serving.files import Reloaded

Scope = Literal["rank", "write", "admin"]
#: By service or method, the longest that fits; what is not named takes any scope.
SCOPES: Final[dict[str, Scope]] = {
    "/recsys.v1.RankingService/": "rank",
    "/recsys.v1.EventService/": "write",
    "/recsys.v1.ModelService/ActivateModel": "admin",
    "/recsys.v1.ModelService/RollBackModel": "admin",
}
_HEADER: Final = "authorization"
_SCHEME: Final = "bearer "


class TokenEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One token.

    Args:
        sha256: Of its text, in hexadecimal.
        scopes: What it allows.
    """

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    scopes: tuple[Scope, ...]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tokens: dict[str, TokenEntry]


class Tokens:
    """Checks calls against a file of tokens.

    Args:
        path: The file.
        look_every_s: How often it is looked at.

    Raises:
        ConfigError: It cannot be used.
    """

    def __init__(self, path: Path, *, look_every_s: float = 1.0) -> None:
        self._file = Reloaded("tokens", (path,), lambda: _read(path), look_every_s=look_every_s)

    def check(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Let a call pass, or not.

        Args:
            method: Such as `/recsys.v1.RankingService/Rank`.
            metadata: As the caller sent it.

        Raises:
            AuthenticationError: There is no token, or an unknown one.
            ScopeError: The token does not allow this.
        """
        found = [value for name, value in metadata if name == _HEADER]
        text = found[0] if len(found) == 1 else ""
        if not isinstance(text, str) or not text.lower().startswith(_SCHEME):
            raise AuthenticationError
        scopes = self._scopes_of(text[len(_SCHEME) :])
        wanted = _scope_of(method)
        if wanted is not None and wanted not in scopes:
            raise ScopeError(wanted)

    def _scopes_of(self, token: str) -> set[Scope]:
        """Find a token; every entry is compared, in the same time whether it fits or not.

        Returns:
            Its scopes.

        Raises:
            AuthenticationError: It is unknown.
        """
        sum_of_it = hashlib.sha256(token.encode()).hexdigest()
        scopes: set[Scope] = set()
        is_known = False
        for entry in self._file.value:
            if hmac.compare_digest(entry.sha256, sum_of_it):
                is_known = True
                scopes.update(entry.scopes)
        if not is_known:
            raise AuthenticationError
        return scopes


def _scope_of(method: str) -> Scope | None:
    service = method[: method.rfind("/") + 1]
    return SCOPES.get(method) or SCOPES.get(service)


def _read(path: Path) -> tuple[TokenEntry, ...]:
    source, expected = f"serving.tokens_file {path}", "tables tokens.NAME with sha256 and scopes"
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        return tuple(msgspec.convert(raw, _File).tokens.values())
    except OSError as error:
        raise ConfigError(source, [f"{error.strerror}; expected {expected}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(source, [f"{error}; expected {expected}"]) from error
