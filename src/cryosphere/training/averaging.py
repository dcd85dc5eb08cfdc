"""A running average of a model's weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class AveragedWeights:
    """An exponential average of a model's parameters, which takes their place at the end of training."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.begin(model)

    def begin(self, model: nn.Module) -> None:
        """Start anew at the model's present parameters."""
        self.values = {name: p.detach().clone() for name, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move a little towards the model's present parameters."""
        now = [p.detach() for p in model.parameters()]
        torch._foreach_lerp_(list(self.values.values()), now, 1 - self.decay)

    @torch.no_grad()
    def put_into(self, model: nn.Module) -> None:
        """Give the model the averaged parameters."""
        for name, parameter in model.named_parameters():
            parameter.copy_(self.values[name])

    def state(self) -> dict[str, Tensor]:
        """Tensors to store in a checkpoint."""
        return {f"average/{name}": value for name, value in self.values.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take stored tensors back."""
        for name, value in self.values.items():
            value.copy_(tensors[f"average/{name}"])
