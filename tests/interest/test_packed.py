"""Layers over packed tokens give what the layers of transformers give."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recsys.config import TuningConfig
from recsys.interest.adapting import prepare
from recsys.interest.encoder import EncoderOptions, TextEncoder
from recsys.interest.packed import Stack, blocks_of


@pytest.fixture
def layers(thin_encoder):
    found = TextEncoder(Path(thin_encoder), EncoderOptions(2, 16), torch.device("cpu"))
    return found.tuned.requires_grad_(requires_grad=True), found.size


def _texts(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    mask = torch.arange(7)[None] < torch.tensor([2, 2, 5, 7])[:, None]
    mask[3, 4] = False  # a token that dropout has hidden
    return torch.randn(4, 7, size, generator=generator), mask


def _run(layers: torch.nn.ModuleList, size: int, *, packed: bool) -> list[torch.Tensor]:
    hidden, mask = _texts(size)
    found = Stack(layers, torch.float32, packed=packed)(hidden.requires_grad_(), mask)[mask]
    layers.zero_grad()
    (found * torch.linspace(-1.0, 1.0, size)).sum().backward()
    learned = [p.grad for p in layers.parameters() if p.grad is not None]
    assert hidden.grad is not None
    return [found.detach(), hidden.grad[mask], *learned]


@pytest.mark.parametrize("mode", ["full", "adapters", "lora"])
def test_packed_layers_give_the_states_and_the_gradients_of_the_layers_themselves(layers, mode):
    tuned, size = layers
    prepare(tuned, TuningConfig(mode=mode, rank=2), 10)
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    plain, packed = (_run(tuned, size, packed=packed) for packed in (False, True))
    assert len(plain) == len(packed) > 2
    for one, other in zip(plain, packed, strict=True):
        assert torch.allclose(one, other, atol=1e-4, rtol=1e-4)


def test_products_in_bf16_are_near(layers):
    tuned, size = layers
    hidden, mask = _texts(size)
    with torch.no_grad():
        exact = Stack(tuned, torch.float32, packed=True)(hidden, mask)[mask]
        near = Stack(tuned, torch.bfloat16, packed=True)(hidden, mask)[mask]
    assert near.dtype is torch.float32
    assert torch.nn.functional.cosine_similarity(exact, near).min() > 0.999


def test_neighbours_of_the_same_length_attend_as_a_block():
    assert blocks_of([3, 3, 0, 5, 3]) == [(0, 2, 3), (6, 1, 5), (11, 1, 3)]
    assert blocks_of([]) == []


def test_a_text_does_not_feel_which_others_are_beside_it(layers):
    tuned, size = layers
    hidden, mask = _texts(size)
    stack = Stack(tuned, torch.float32, packed=True)
    with torch.no_grad():
        together = stack(hidden, mask)
        alone = torch.cat([stack(hidden[i : i + 1], mask[i : i + 1]) for i in range(4)])
    assert torch.allclose(together[mask], alone[mask], atol=1e-5)
