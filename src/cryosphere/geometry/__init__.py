"""Rotations, poses and rigid motions."""
