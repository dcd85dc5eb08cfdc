"""Sphinx settings of cryosphere's documentation."""

from importlib.metadata import version as installed_version

project = "cryosphere"
author = "The cryosphere developers"
project_copyright = "2026, the cryosphere developers"
version = release = installed_version("cryosphere")

extensions = ["myst_parser", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3
nitpicky = True
exclude_patterns = ["_build"]
suppress_warnings: list[str] = []

html_theme = "furo"
html_title = f"cryosphere {release}"
