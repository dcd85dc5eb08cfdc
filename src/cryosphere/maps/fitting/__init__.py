"""Placing an atomic model in a density map."""
