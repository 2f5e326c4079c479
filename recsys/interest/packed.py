"""The encoder's layers on a CPU, over the tokens of all texts of a batch in one row, unpadded.

Beside its products of matrices a layer costs copies on a CPU: autocast turns every weight into bf16
each time it is used, and each hidden state once for every product that reads it; padding and masks
widen what attention copies. Here weights are turned once, for as many batches as they stay the
same; query, key and value are one product; a state is turned once; texts that have as many tokens
attend as a block, without masks. The sums are those of the layer itself: residuals and
normalisation in fp32, products in bf16 where the machine has it.

On CUDA the layers themselves run, padded: there, many small blocks cost more than they save.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from recsys.interest.adapting import Bottleneck

Normalise = Callable[[torch.Tensor], torch.Tensor]
_BARRED = -1e9
#: First token, texts, tokens of each: texts that lie side by side and have the same length.
Blocks = list[tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class PackedLayer:
    """One layer's weights, in the precision of products, and what is done in between.

    Args:
        attend: Query (scaled), key and value side by side: weight (3 * size, size), bias.
        leave: From attention: weight (size, size), bias.
        widen: Weight (inner, size), bias.
        narrow: Weight (size, inner), bias.
        norms: After attention, after the inner layer.
        bend: Activation of the inner layer.
        n_heads: Heads of attention.
        detour: A bottleneck behind the layer; None: there is none.
    """

    attend: tuple[torch.Tensor, torch.Tensor]
    leave: tuple[torch.Tensor, torch.Tensor]
    widen: tuple[torch.Tensor, torch.Tensor]
    narrow: tuple[torch.Tensor, torch.Tensor]
    norms: tuple[Normalise, Normalise]
    bend: Callable[[torch.Tensor], torch.Tensor]
    n_heads: int
    detour: Callable[[torch.Tensor], torch.Tensor] | None

    def __call__(self, states: torch.Tensor, blocks: Blocks) -> torch.Tensor:
        """Run the layer.

        Args:
            states: float32 (n_tokens, size).
            blocks: Which tokens attend to each other; they cover all.

        Returns:
            float32 (n_tokens, size).
        """
        sides = nn.functional.linear(states.to(self.attend[0].dtype), *self.attend)
        seen = [self._attended(sides, block) for block in blocks]
        left = nn.functional.linear(torch.cat(seen) if len(seen) > 1 else seen[0], *self.leave)
        states = self.norms[0](left + states)
        inner = nn.functional.linear(states.to(self.widen[0].dtype), *self.widen)
        found = self.norms[1](nn.functional.linear(self.bend(inner), *self.narrow) + states)
        return found if self.detour is None else found + self.detour(found)

    def _attended(self, sides: torch.Tensor, block: tuple[int, int, int]) -> torch.Tensor:
        start, n_texts, length = block
        part = sides[start : start + n_texts * length]
        heads = part.view(n_texts, length, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = heads.flatten(1, 2).unbind()
        shares = torch.bmm(query, key.transpose(1, 2)).softmax(dim=-1)
        seen = torch.bmm(shares, value).view(n_texts, self.n_heads, length, -1)
        return seen.transpose(1, 2).reshape(n_texts * length, -1)


class Stack:
    """Some layers of an encoder, ready to run as often as their weights stay the same.

    Args:
        layers: Of BERT or its kin, lowest first. Gradients reach them.
        dtype: Of products.
        packed: Whether tokens run packed; not where a layer is more than its own weights (LoRA).
    """

    def __init__(self, layers: nn.ModuleList, dtype: torch.dtype, *, packed: bool) -> None:
        self.layers = layers
        plain = packed and all(_is_plain(layer) for layer in layers)
        self._packed = [_packed(layer, dtype) for layer in layers] if plain else None

    def __call__(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Run the layers.

        Args:
            hidden: (n, length, size).
            mask: bool (n, length): False where there is no token.

        Returns:
            float32 (n, length, size); zero, or anything, where there is no token.
        """
        hidden = hidden.float()
        if self._packed is None:
            barred = (~mask)[:, None, None, :].float() * _BARRED
            for layer in self.layers:
                output = layer(hidden, barred)
                hidden = output[0] if isinstance(output, tuple) else output
            return hidden.float()
        if not self._packed:
            return hidden
        blocks = blocks_of(mask.sum(dim=1).tolist())
        states = hidden[mask]
        for packed in self._packed:
            states = packed(states, blocks)
        return torch.zeros_like(hidden).index_put((mask,), states)


def blocks_of(lengths: list[int]) -> Blocks:
    """Find neighbours of the same length.

    Args:
        lengths: Tokens of each text, in their order.

    Returns:
        The blocks.
    """
    blocks: Blocks = []
    start = 0
    for length in lengths:
        if not length:
            continue
        if blocks and blocks[-1][2] == length:
            first, n_texts, _ = blocks[-1]
            blocks[-1] = (first, n_texts + 1, length)
        else:
            blocks.append((start, 1, length))
        start += length
    return blocks


def _linears(layer: Any) -> tuple[Any, ...]:  # noqa: ANN401 - every family has classes of its own
    layer = layer.layer if isinstance(layer, Bottleneck) else layer
    inside = layer.attention.self
    return (
        inside.query, inside.key, inside.value,
        layer.attention.output.dense, layer.intermediate.dense, layer.output.dense,
    )  # fmt: skip


def _is_plain(layer: nn.Module) -> bool:
    try:
        return all(type(linear) is nn.Linear for linear in _linears(layer))
    except AttributeError:
        return False


def _packed(layer: Any, dtype: torch.dtype) -> PackedLayer:  # noqa: ANN401
    query, key, value, leave, widen, narrow = _linears(layer)
    detour = layer.detour if isinstance(layer, Bottleneck) else None
    layer = layer.layer if isinstance(layer, Bottleneck) else layer
    scale = layer.attention.self.attention_head_size**-0.5
    weight = torch.cat([query.weight * scale, key.weight, value.weight])
    bias = torch.cat([query.bias * scale, key.bias, value.bias])

    def turned(linear: nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
        return linear.weight.to(dtype), linear.bias.to(dtype)

    return PackedLayer(
        attend=(weight.to(dtype), bias.to(dtype)),
        leave=turned(leave),
        widen=turned(widen),
        narrow=turned(narrow),
        norms=(layer.attention.output.LayerNorm, layer.output.LayerNorm),
        bend=layer.intermediate.intermediate_act_fn,
        n_heads=layer.attention.self.num_attention_heads,
        detour=detour,
    )
