"""Density maps: volumes of structures, their files, and how well two of them agree."""
