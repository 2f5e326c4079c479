"""Who may talk to a server, by certificate: real handshakes."""

from __future__ import annotations

import shutil

import grpc
import pytest
import structlog
from certificates import DAY, Authority
from serving_fakes import running

from recsys.config import ServingConfig, TlsConfig
from recsys.errors import ConfigError
from recsys.serving.client import Client, Tls
from recsys.serving.port import check_host


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path, "authority")


def tls_of(authority, *, expires_in=DAY, client_ca=None) -> TlsConfig:
    certificate, key = authority.certify("server", expires_in=expires_in)
    return TlsConfig(
        certificate=str(certificate), key=str(key), client_ca=str(client_ca) if client_ca else ""
    )


def rank(address, tls):
    with Client(address, tls=tls, timeout_s=2.0) as client:
        return client.rank("u", ["a"]).item_ids


def refused(address, tls):
    with pytest.raises(grpc.RpcError) as found:
        rank(address, tls)
    return found.value.code() in {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }


def test_a_client_that_trusts_the_authority_is_served(authority):
    with running(tls=tls_of(authority)) as (server, _):
        assert rank(server.address, Tls(ca=authority.path)) == ["a"]


def test_a_client_that_trusts_another_authority_does_not_talk(authority, tmp_path):
    other = Authority(tmp_path, "other")
    with running(tls=tls_of(authority)) as (server, _):
        assert refused(server.address, Tls(ca=other.path))


def test_plain_text_is_refused(authority):
    with running(tls=tls_of(authority)) as (server, _):
        assert refused(server.address, None)


def test_an_expired_certificate_of_the_server_is_refused_by_the_client(authority):
    with running(tls=tls_of(authority, expires_in=-DAY)) as (server, _):
        assert refused(server.address, Tls(ca=authority.path))


def test_mutual_tls_serves_those_whom_the_authority_certified_and_nobody_else(authority, tmp_path):
    other = Authority(tmp_path, "other")
    with running(tls=tls_of(authority, client_ca=authority.path)) as (server, _):
        known = Tls(authority.path, *authority.certify("known"))
        assert rank(server.address, known) == ["a"]
        assert refused(server.address, Tls(authority.path))
        assert refused(server.address, Tls(authority.path, *other.certify("stranger")))
        expired = authority.certify("expired", expires_in=-DAY)
        assert refused(server.address, Tls(authority.path, *expired))


def test_a_certificate_is_replaced_without_a_restart(authority, tmp_path):
    tls = tls_of(authority)
    successor = Authority(tmp_path, "successor")
    with running(tls=tls) as (server, _):
        assert rank(server.address, Tls(ca=authority.path)) == ["a"]
        certificate, key = successor.certify("next")
        shutil.copy(key, tls.key)
        shutil.copy(certificate, tls.certificate)
        assert rank(server.address, Tls(ca=successor.path)) == ["a"]
        assert refused(server.address, Tls(ca=authority.path))


def test_files_that_do_not_fit_are_not_taken_and_the_old_ones_go_on(authority):
    tls = tls_of(authority)
    with running(tls=tls) as (server, _), structlog.testing.capture_logs() as lines:
        _, key = authority.certify("other")
        shutil.copy(key, tls.key)
        assert rank(server.address, Tls(ca=authority.path)) == ["a"]
    assert lines[0]["event"] == "files_not_reloaded"


def test_a_server_does_not_start_with_files_that_do_not_fit(authority, tmp_path):
    tls = tls_of(authority)
    _, key = authority.certify("other")
    for broken in (
        tls.model_copy(update={"key": str(key)}),
        tls.model_copy(update={"certificate": str(tmp_path / "absent.pem")}),
        tls.model_copy(update={"client_ca": str(key)}),
    ):
        with pytest.raises(ConfigError, match=r"serving\.tls"), running(tls=broken):
            pass


def test_with_a_certificate_any_address_may_be_listened_on():
    tls = TlsConfig(certificate="server.pem", key="server.key")
    assert check_host(ServingConfig(host="0.0.0.0", tls=tls)) is None


@pytest.mark.parametrize("values", [{"certificate": "a"}, {"key": "a"}, {"client_ca": "a"}])
def test_half_a_configuration_is_refused(values):
    with pytest.raises(ValueError, match="belong together"):
        TlsConfig(**values)
