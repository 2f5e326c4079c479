"""What of an encoder is learned: its last layers, low-rank changes, or bottlenecks in between.

Every mode works on the tuned copy of the upper layers. Low-rank changes are merged into the
layers' weights after the fit, so nothing of them is left in a bundle; bottlenecks stay, as small
modules behind each layer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import nn

from recsys.config import TuningConfig

#: Projections of attention whose name ends so are changed; all stacked encoders name them so.
_TARGETS: Final = ("query", "value")
_OF_BOTTLENECK: Final = re.compile(r"\d+\.(down|up)\.(weight|bias)$")


class Bottleneck(nn.Module):
    """An encoder layer with a narrow detour behind it; starts as the layer alone.

    Source: adapters

    Args:
        layer: The layer; it stays as it is.
        size: Of its hidden states.
        rank: Width of the detour.
    """

    def __init__(self, layer: nn.Module, size: int, rank: int) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(requires_grad=False)
        self.down = nn.Linear(size, rank)
        self.up = nn.Linear(rank, size)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Run the layer and its detour.

        Returns:
            Hidden states of the same shape.
        """
        output = self.layer(hidden, mask)
        found: torch.Tensor = output[0] if isinstance(output, tuple) else output
        return found + self.detour(found)

    def detour(self, found: torch.Tensor) -> torch.Tensor:
        """Run the detour alone.

        Returns:
            What it adds to the layer's hidden states.
        """
        added: torch.Tensor = self.up(nn.functional.gelu(self.down(found)))
        return added


def n_tuned_layers(config: TuningConfig, last: int, n_layers: int) -> int:
    """Say how many upper layers a mode works on.

    Args:
        config: The mode.
        last: How many it is in mode `layers`.
        n_layers: All layers of the encoder.

    Returns:
        0 to `n_layers`.
    """
    wanted = {"frozen": 0, "layers": last}.get(config.mode, n_layers)
    return min(wanted, n_layers)


def prepare(layers: nn.ModuleList, config: TuningConfig, n_steps: int) -> Callable[[int], None]:
    """Make layers ready to learn as the mode says; what is learned has `requires_grad`.

    Args:
        layers: The tuned copy; changed in place.
        config: The mode.
        n_steps: Of the fit; AdaLoRA spreads its ranks by it.

    Returns:
        To be called after each step with its number.
    """
    if config.mode == "lora":
        from peft import LoraConfig, inject_adapter_in_model

        lora = LoraConfig(r=config.rank, lora_alpha=2 * config.rank, target_modules=[*_TARGETS])
        inject_adapter_in_model(lora, layers)
    elif config.mode == "adalora":
        return _adalora(layers, config, n_steps)
    elif config.mode == "adapters":
        add_bottlenecks(layers, config.rank)
    else:
        layers.requires_grad_(requires_grad=True)
    return lambda _step: None


def finish(layers: nn.ModuleList) -> None:
    """End the learning: merge low-rank changes into the weights that they change."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for parent in list(layers.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BaseTunerLayer):
                child.merge()
                setattr(parent, name, child.get_base_layer())
    layers.requires_grad_(requires_grad=False)


def add_bottlenecks(layers: nn.ModuleList, rank: int) -> None:
    """Put a bottleneck behind each layer that has none."""
    for place, layer in enumerate(layers):
        if not isinstance(layer, Bottleneck):
            size = next(p for p in layer.parameters() if p.ndim == 1).shape[0]
            device = next(layer.parameters()).device
            layers[place] = Bottleneck(layer, size, rank).to(device)


def plain_state(layers: nn.ModuleList) -> dict[str, torch.Tensor]:
    """Give the weights of the layers themselves, under the names that they have without adapters.

    Returns:
        Tensors by name.
    """
    return {
        name.replace(".layer.", ".", 1) if isinstance(layers[int(name.split(".")[0])], Bottleneck)
        else name: value
        for name, value in layers.state_dict().items()
        if not _OF_BOTTLENECK.match(name)
    }  # fmt: skip


def bottleneck_state(layers: nn.ModuleList) -> dict[str, torch.Tensor]:
    """Give the weights of the adapters.

    Returns:
        Tensors by name; empty where there are none.
    """
    state = layers.state_dict()
    return {name: value for name, value in state.items() if _OF_BOTTLENECK.match(name)}


def _adalora(layers: nn.ModuleList, config: TuningConfig, n_steps: int) -> Callable[[int], None]:
    from peft import AdaLoraConfig
    from peft.tuners.adalora import AdaLoraModel

    adalora = AdaLoraConfig(
        init_r=2 * config.rank,
        target_r=config.rank,
        lora_alpha=2 * config.rank,
        tinit=n_steps // 10,
        tfinal=n_steps // 3,
        total_step=max(3, n_steps),
        target_modules=[*_TARGETS],
    )
    make: Any = AdaLoraModel  # peft leaves it untyped
    tuner = make(layers, {"default": adalora}, "default")

    def allocate(step: int) -> None:
        tuner.update_and_allocate(step)

    return allocate
