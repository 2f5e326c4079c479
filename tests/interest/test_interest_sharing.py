"""Processes that cannot work together say why, in one line; one process alone needs nobody."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys.errors import EncoderError, ProcessesError
from recsys.interest import sharing
from recsys.interest.encoder import choose_device

LAUNCHED = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE='many'; expected the variables that torchrun sets"),
        ({"WORLD_SIZE": "2"}, "no RANK, MASTER_ADDR, MASTER_PORT"),
        ({"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1"}, "no MASTER_PORT"),
        (
            {"WORLD_SIZE": "2", "RANK": "x", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
            "ValueError: .*; expected all of them to meet",
        ),
    ],
)
def test_what_a_launcher_left_out_is_named(monkeypatch, said, reason):
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ProcessesError, match=f"^several processes: .*{reason}$|{reason}"):
        sharing.join()
    assert not sharing.joined()


def test_a_manifest_says_why_another_fit_would_differ(monkeypatch):
    assert not sharing.why_unrepeatable("cpu")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "by 2 processes" in sharing.why_unrepeatable("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "no fixed order" in sharing.why_unrepeatable("auto")
    assert "by 2 processes" in sharing.why_unrepeatable("cpu")


def test_one_process_has_all_the_work_and_the_last_word():
    sharing.join()
    assert (sharing.rank(), sharing.n_processes(), sharing.joined()) == (0, 1, False)
    assert sharing.share(np.arange(5)).tolist() == [0, 1, 2, 3, 4]
    assert sharing.share_of("abc") == "abc"
    assert sharing.sum_losses(1.5) == 1.5
    assert sharing.as_the_first_says("this") == "this"
    assert sharing.gathered(torch.ones(3)).shape == (1, 3)
    sharing.leave()


def test_more_processes_than_devices_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("auto") == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(EncoderError, match="which has 2; expected one process per device"):
        choose_device("cuda")
