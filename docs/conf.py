"""Sphinx settings of cryosphere's documentation. The page of settings is written from the code that reads them."""

from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from sphinx.application import Sphinx

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
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_title = f"cryosphere {release}"

_SETTINGS = """# Settings

All settings of `cryosphere train`, with their defaults; written from the code. Give them in a YAML file
(`cryosphere train settings.yaml --outdir run`) or one by one (`--set loss.low_pass=8`). Paths in a file are relative to
it. A weight in `loss` that changes in the course of training is a schedule:

```yaml
loss:
  clash: 0.1                                              # the same throughout
  continuity: {kind: linear, start: 0, end: 1, until: 0.5}    # rises over the first half, then stays
  kl_latent: {kind: cyclical, low: 0, high: 1, cycles: 4}     # rises anew in each cycle
segmentation:
  parts:                                                  # cut these stretches, hold the rest fixed
    - {chain: A, first: 321, last: 502, segments: 6}
```

"""


def _plain(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "`{" + ", ".join(f"{k}: {v}" for k, v in value.model_dump().items()) + "}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return "`null`" if value is None else f"`{value}`"


def _tables(section: type[BaseModel], path: str) -> str:
    """A table of one section's own settings, then those of the sections inside it."""
    rows, inner = [], ""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            inner += _tables(kind, f"{path}{name}.")
            continue
        default = "required" if field.is_required() else _plain(field.get_default(call_default_factory=True))
        rows.append(f"| `{path}{name}` | {default} | {field.description or ''} |")
    text = f"## {path.rstrip('.') or 'The run'}\n\n{section.__doc__}\n\n"
    return text + "| setting | default | |\n|---|---|---|\n" + "\n".join(rows) + "\n\n" + inner


def _write_settings(app: Sphinx) -> None:
    from cryosphere.training.config import Config

    (Path(app.srcdir) / "settings.md").write_text(_SETTINGS + _tables(Config, ""), encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", _write_settings)
