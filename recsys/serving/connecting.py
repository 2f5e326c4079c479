"""How the clients connect: channel options, retries, deadlines, encryption, tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias, TypedDict

import grpc

from recsys.serving.hosts import is_loopback

#: gRPC's own service config: only calls that can be repeated safely, only when nobody answered.
#: A server that begins to stop drops the calls that are on their way to it as `CANCELLED`, unread.
SERVICE_CONFIG: Final = json.dumps({
    "methodConfig": [
        {
            "name": [
                {"service": "recsys.v1.RankingService"},
                {"service": "recsys.v1.EventService"},
                {"service": "recsys.v1.ModelService", "method": "GetActiveModel"},
                {"service": "recsys.v1.ModelService", "method": "ListModels"},
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
})

#: Of every other call.
TIMEOUT_S: Final = 10.0
#: Of a call that switches models: the server loads a bundle and tries it.
SWITCH_TIMEOUT_S: Final = 300.0
_MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
#: An idle connection is asked whether it is alive, so that a broken one is noticed before a call.
_KEEPALIVE_MS: Final = 30_000
_KEEPALIVE_TIMEOUT_MS: Final = 10_000

CHANNEL_OPTIONS: Final = (
    ("grpc.service_config", SERVICE_CONFIG),
    ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
    ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    # A connection of its own: workers behind one port are chosen by connection.
    ("grpc.use_local_subchannel_pool", 1),
)

Metadata: TypeAlias = tuple[tuple[str, str], ...]


class Usual(TypedDict):
    """What is said with every call."""

    timeout: float
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class Tls:
    """How a client trusts a server, and what it shows.

    Args:
        ca: File with the authorities that may vouch for the server; None: those of the system.
        certificate: File with the client's own certificate, for mutual TLS.
        key: File with its key.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files.

        Returns:
            Credentials of a channel.
        """
        ca, key, certificate = (
            path.read_bytes() if path else None for path in (self.ca, self.key, self.certificate)
        )
        return grpc.ssl_channel_credentials(ca, key, certificate)


class Caller:
    """What a client says with its calls.

    Args:
        address: Of the server.
        timeout_s: Deadline of a call for which none is given, in seconds.
        tls: None: nothing is encrypted.
        token: None: none is sent.
        allow_insecure: Send the token although it can be read on the way.

    Raises:
        ValueError: It could be, and that was not allowed.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float,
        tls: Tls | None,
        token: str | None,
        allow_insecure: bool,
    ) -> None:
        if token and tls is None and not allow_insecure and not _stays_here(address):
            problem = (
                f"a token for {address} would be sent unencrypted; expected tls=Tls(...), or"
                " allow_insecure=True where something else encrypts"
            )
            raise ValueError(problem)
        self._timeout_s = timeout_s
        self._metadata: Metadata = (("authorization", f"Bearer {token}"),) if token else ()

    def usual(self, timeout_s: float | None) -> Usual:
        """Give the arguments of a call.

        Args:
            timeout_s: Its deadline in seconds; None: the usual one.

        Returns:
            Deadline and metadata.
        """
        timeout = self._timeout_s if timeout_s is None else timeout_s
        return Usual(timeout=timeout, metadata=self._metadata)

    def switching(self, timeout_s: float | None) -> Usual:
        """Give the arguments of a call that switches models, as `usual` does.

        Returns:
            Deadline and metadata.
        """
        return self.usual(SWITCH_TIMEOUT_S if timeout_s is None else timeout_s)


def _stays_here(address: str) -> bool:
    """Say whether a gRPC target is this machine.

    Args:
        address: `HOST:PORT`, or one of gRPC's schemes: `unix:PATH`, `dns:///HOST:PORT`,
            `ipv4:HOST:PORT`, `ipv6:[HOST]:PORT`.

    Returns:
        True where nothing that is sent there leaves it.
    """
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    for scheme in ("dns:///", "dns:", "ipv4:", "ipv6:"):
        address = address.removeprefix(scheme)
    whole = address.strip("[]")
    return is_loopback(whole) or is_loopback(address.rpartition(":")[0].strip("[]"))
