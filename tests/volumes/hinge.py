"""A protein of two parts, an arm and a body, whose hinge turns, and the density of its beads."""

from __future__ import annotations

import roma
import torch

from cryosphere.imaging.grid import ImageGrid
from cryosphere.volumes.decoder_network import NetworkSize

GRID, SIGMA = ImageGrid(32, 4.0), 4.0
SMALL = NetworkSize(width=48, points=48, components=4)


def rotations_of(count, seed=0):
    quaternions = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    return roma.unitquat_to_rotmat(quaternions / quaternions.norm(dim=1, keepdim=True))


def hinge(angle):
    """Eighty beads: a body at rest and an arm turned by the angle about the y axis."""
    generator = torch.Generator().manual_seed(4)
    body = 9 * torch.randn(50, 3, generator=generator) - torch.tensor([0.0, 0.0, 12.0])
    arm = torch.stack([torch.zeros(30), torch.zeros(30), torch.linspace(4, 40, 30)], dim=-1)
    arm = arm + 3 * torch.randn(30, 3, generator=generator)
    turn = roma.rotvec_to_rotmat(torch.tensor([0.0, float(angle), 0.0]))
    return torch.cat([body, arm @ turn.T])


def spectrum_of_beads(beads, frequencies):
    """Summed bead by bead, in double precision; frequencies (p, 3) in 1/Å."""
    return torch.exp(-2j * torch.pi * (frequencies.double() @ beads.double().T)).sum(-1)
