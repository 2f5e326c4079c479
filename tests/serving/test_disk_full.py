"""A full disk under a running server: writers are told, ranking goes on, writing resumes."""

from __future__ import annotations

import subprocess
import time

import grpc
import pytest
from serving_fakes import running

from recsys.events.spool import SpoolWriter, read_spool
from recsys.schema import InteractionEvent
from recsys.serving.client import Client


@pytest.fixture
def small_disk(tmp_path):
    """A file system of half a megabyte, where this machine lets a test mount one."""
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", tmp_path]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system needs rights that this user has not")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def clicks(number):
    return [InteractionEvent(f"e{number}-{n}", 0, "u", "b", "click") for n in range(100)]


def test_writers_are_refused_ranking_goes_on_and_writing_resumes(small_disk):
    spool = small_disk / "spool"
    n_batches = 0
    filler = small_disk / "filler"
    filler.write_bytes(bytes(300 * 1024))
    with running(writer=SpoolWriter(spool)) as (server, _), Client(server.address) as client:
        while (error := refusal(client, n_batches)) is None:
            n_batches += 1
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "No space left on device" in error.details()
        assert client.rank("u", ["a", "b"]).item_ids == ["b", "a"]
        filler.unlink()
        began = time.monotonic()
        assert refusal(client, n_batches) is None
        assert time.monotonic() - began < 5
    assert n_batches > 0
    assert len(list(read_spool(spool))) == 100 * (n_batches + 1)


def refusal(client, number):
    """Write a batch, and give the error if there is one."""
    try:
        assert client.write_events(clicks(number)).accepted == 100
    except grpc.RpcError as error:
        return error
