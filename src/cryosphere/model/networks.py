"""The multilayer perceptron that encoders and decoder share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn


def perceptron(inputs: int, hidden: Sequence[int], outputs: int, *, final_gain: float = 1.0) -> nn.Sequential:
    """Fully connected layers with SiLU between them; the last layer's weights are scaled by `final_gain`."""
    sizes = [inputs, *hidden]
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.SiLU()]
    last = nn.Linear(sizes[-1], outputs)
    with torch.no_grad():
        last.weight.mul_(final_gain)
        last.bias.zero_()
    return nn.Sequential(*layers, last)
