"""Atomic models: reading and writing them, their residues, the beads that stand for them, neighbour pairs."""
