"""The port: who may reach it, how many calls it takes on, and what gRPC itself bounds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from grpc_reflection.v1alpha import reflection

from recsys.config import ServingConfig
from recsys.errors import ConfigError, ServerError
from recsys.serving.arriving import WRITE_EVENTS, EventDoor
from recsys.serving.authorization import AuthorizationInterceptor
from recsys.serving.doors import Door, DoorInterceptor
from recsys.serving.hosts import is_loopback
from recsys.serving.interceptor import StatusInterceptor
from recsys.serving.observer import Observer
from recsys.serving.ranking_service import RANK
from recsys.serving.tls import server_credentials
from recsys.serving.tokens import Tokens
from recsys.v1 import model_pb2

#: Room for 20,000 ids as long as they may be.
MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
#: Threads of calls that have no door of their own: health.
_OTHER_THREADS: Final = 4
#: Switching takes seconds and memory; one more caller may wait for the one who does it.
_SWITCHES: Final = 2
_REFLECTIONS: Final = 2
#: Calls to health that may wait for a thread; gRPC refuses more.
_BACKLOG: Final = 64
_KEEPALIVE_MS: Final = 60_000
#: How often clients may ask whether the server is there.
_CLIENT_PING_MS: Final = 10_000
_MAX_METADATA_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Doors:
    """The doors that others than the port look at.

    Args:
        rank: Of those who want a ranked list.
        events: Of those who write events.
    """

    rank: Door
    events: EventDoor

    @classmethod
    def of(cls, config: ServingConfig, observer: Observer) -> Doors:
        """Make them.

        Returns:
            Doors through which nobody has come.
        """
        rank = Door(RANK, config.max_in_flight, observer)
        return cls(rank, EventDoor(config.max_streams, observer))


def check_host(config: ServingConfig) -> None:
    """Refuse to listen beyond this machine without encryption, unless told so.

    Raises:
        ConfigError: The host is not of this machine, and that was not allowed.
    """
    if config.tls.certificate or config.allow_insecure or is_loopback(config.host):
        return
    problem = (
        f"serving.host: found {config.host!r}; expected an address of this machine alone, because"
        " nothing is encrypted without serving.tls; serving.allow_insecure = true listens there"
        " all the same"
    )
    raise ConfigError("configuration", [problem])


def credentials_of(config: ServingConfig, folder: Path) -> grpc.ServerCredentials | None:
    """Read the certificate, where one is configured.

    Args:
        config: Names the files.
        folder: What their paths are relative to.

    Returns:
        None: nothing is encrypted.
    """
    return server_credentials(config.tls, folder) if config.tls.certificate else None


def make_server(
    config: ServingConfig, folder: Path, doors: Doors, observer: Observer, *, is_shared: bool
) -> grpc.Server:
    """Make a server without services.

    Args:
        config: How many calls it takes on, and who may call.
        folder: What the paths of the configuration are relative to.
        doors: Of ranking and of events; the others are made here.
        observer: Hears of calls.
        is_shared: Whether other processes listen on the same port.

    Returns:
        The server; it does not listen yet.
    """
    by_method = _by_method(config, doors, observer)
    interceptors: list[grpc.ServerInterceptor] = [
        DoorInterceptor(by_method, observer),
        StatusInterceptor(observer),
    ]
    if config.tokens_file:
        tokens = Tokens(folder / config.tokens_file)
        interceptors.insert(0, AuthorizationInterceptor(tokens, observer))
    n_inside = sum(door.size for door in set(by_method.values()))
    return grpc.server(
        ThreadPoolExecutor(_OTHER_THREADS, thread_name_prefix="rpc"),
        interceptors=interceptors,
        maximum_concurrent_rpcs=n_inside + _BACKLOG,
        options=(
            ("grpc.so_reuseport", int(is_shared)),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
            ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", _CLIENT_PING_MS),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", _CLIENT_PING_MS),
        ),
    )


def _by_method(config: ServingConfig, doors: Doors, observer: Observer) -> dict[str, Door]:
    """Give every sort of work as many calls as it may hold.

    Returns:
        By method; health, alone, has the threads of the server.
    """
    models = Door("models", _SWITCHES, observer)
    service = "/recsys.v1.RankingService"
    found = {
        f"{service}/Rank": doors.rank,
        f"{service}/Recommend": doors.rank,
        f"{service}/RankStream": Door("rank stream", config.max_streams, observer),
        WRITE_EVENTS: doors.events,
        f"/{reflection.SERVICE_NAME}/ServerReflectionInfo": Door(
            "reflection", _REFLECTIONS, observer
        ),
    }
    for method in model_pb2.DESCRIPTOR.services_by_name["ModelService"].methods:
        found[f"/recsys.v1.ModelService/{method.name}"] = models
    return found


def listen(
    server: grpc.Server, host: str, port: int, credentials: grpc.ServerCredentials | None
) -> str:
    """Bind a port.

    Args:
        server: Not started yet.
        host: Address or name.
        port: 0: a free one.
        credentials: None: nothing is encrypted.

    Returns:
        The address.

    Raises:
        ServerError: It cannot be listened on.
    """
    name = f"[{host}]" if ":" in host else host
    try:
        if credentials is None:
            bound = server.add_insecure_port(f"{name}:{port}")
        else:
            bound = server.add_secure_port(f"{name}:{port}", credentials)
    except RuntimeError as error:
        raise ServerError(f"{name}:{port}", "cannot listen there", "a free port") from error
    return f"{name}:{bound}"
