"""TLS and mutual TLS: certificates from files, which may be replaced without a restart.

gRPC asks for the certificates at every handshake, so a renewed one counts for the next connection.
Files that do not fit together are refused: at the start by an error, later by a line in the log.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from recsys.config import TlsConfig
from recsys.errors import ConfigError
from recsys.serving.files import Reloaded


@dataclass(frozen=True, slots=True)
class _Certificates:
    chain: bytes
    key: bytes
    client_ca: bytes | None


def server_credentials(config: TlsConfig, folder: Path) -> grpc.ServerCredentials:
    """Make the credentials of a server.

    Args:
        config: Names the files; `client_ca`: callers must show a certificate of this authority.
        folder: What relative paths are relative to.

    Returns:
        Credentials that follow the files.

    Raises:
        ConfigError: A file cannot be read, or key and certificate do not belong together.
    """
    paths = {
        name: folder / path
        for name in ("certificate", "key", "client_ca")
        if (path := getattr(config, name))
    }
    files = Reloaded("certificates", tuple(paths.values()), lambda: _read(paths), look_every_s=0.0)
    used = files.value
    is_mutual = used.client_ca is not None
    last = [used]

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        found = files.value
        if found == last[0]:
            return None
        last[0] = found
        return _configuration(found)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(used), fetch, require_client_authentication=is_mutual
    )


def _configuration(found: _Certificates) -> grpc.ServerCertificateConfiguration:
    pair = (found.key, found.chain)
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=found.client_ca)


def _read(paths: dict[str, Path]) -> _Certificates:
    texts: dict[str, bytes] = {}
    for name, path in paths.items():
        try:
            texts[name] = path.read_bytes()
        except OSError as error:
            problem = f"serving.tls.{name}: {path}: {error.strerror}; expected a file in PEM form"
            raise ConfigError("configuration", [problem]) from error
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(paths["certificate"], paths["key"], password="")
        if "client_ca" in paths:
            context.load_verify_locations(paths["client_ca"])
    except (OSError, ValueError) as error:
        named = ", ".join(str(path) for path in paths.values())
        problem = f"serving.tls: {named}: {error}; expected a certificate, its key and authorities"
        raise ConfigError("configuration", [problem]) from error
    return _Certificates(texts["certificate"], texts["key"], texts.get("client_ca"))
