"""What the documentation's page on the Python API shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import gemmi
import numpy as np
import pytest

import cryosphere
from cryosphere.simulation.config import ImageSettings, SimulationConfig
from cryosphere.simulation.protein import two_domain_protein
from cryosphere.simulation.simulate import simulate
from cryosphere.structures.write import write_model

PAGE = Path(__file__).resolve().parents[1] / "docs" / "python-api.md"
IN_SMALL = [
    ("/path/to/project", "."),
    ('"model.pdb"', '"model.cif"'),
    ("epochs=10", "epochs=2"),
    ("low_pass=8", "low_pass=12"),
    ("contrast=black", "contrast=white"),
    ("slice(0, 100)", "slice(0, 10)"),
    ("0:1000:10", "0:20:10"),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    protein = two_domain_protein(0, (60, 40))
    write_model(tmp_path / "protein.cif", protein.model)
    motion = protein.opening(50.0, 5)
    images = ImageSettings(count=20, box=32, pixel_size=5.0, snr=0.5, shift=5.0)
    simulate(SimulationConfig(model=tmp_path / "protein.cif", motion=motion, images=images), tmp_path)
    return tmp_path


def test_the_documented_examples_run(data, monkeypatch):
    monkeypatch.chdir(data)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    for long, short in IN_SMALL:
        assert long in code, "the page has changed"
        code = code.replace(long, short)
    names: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    assert names["outcome"] == "finished"
    assert Path(str(names["report"])).is_file()
    assert isinstance(names["structure"], gemmi.Structure)
    assert np.load(data / "structures.npz")["coordinates"].shape == (2, 100, 3)
    assert (data / "image_12.cif").is_file()


def test_every_public_name_is_there():
    assert all(hasattr(cryosphere, name) for name in cryosphere.__all__)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        cryosphere.trian  # noqa: B018
