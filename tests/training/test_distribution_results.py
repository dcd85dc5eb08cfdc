"""What is read from a run by several processes is what one process reads: structures, evaluation, analysis."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cryosphere.cli.main import run
from cryosphere.training.train import train

from .test_distribution import start

pytestmark = pytest.mark.slow


def commands(truth: Path) -> list[list[str]]:
    """Few images for what is shared out one by one: one process of two has none."""
    few = ["--oracle-images", "5", "--fsc-images", "1", "--structure-images", "3", "--fsc-box", "16"]
    return [
        ["structures", "run", "--output", "all.npz"],
        ["structures", "run", "--output", "one.npz", "--indices", "41"],
        ["structures", "run", "--output", "folder", "--indices", "70,3,41"],
        ["structures", "run", "--output", "folder", "--indices", "5,6", "--overwrite"],
        ["structures", "run", "--output", "folder", "--indices", "7"],  # refused
        ["evaluate", "run", "--truth", str(truth), *few],
        ["analyze", "run"],
    ]


@pytest.fixture(scope="module")
def places(hinge_data, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders in which one and two processes have read the same run."""
    from .conftest import SMALL, configure

    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    options = {"segments": 2, "device": "cpu", "particles": [hinge_data.particles], "model": hinge_data.model}
    train(configure(overrides=SMALL, epochs=2, batch_size=16, **options), one / "run")
    shutil.copytree(one, two, dirs_exist_ok=True)
    wanted = commands(hinge_data.particles.parent / "truth.npz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(one)
        assert [run(arguments) for arguments in wanted] == [0, 0, 0, 0, 2, 0, 0]
    (two / "commands.json").write_text(json.dumps(wanted))
    done = start("commands", two)
    codes = [json.loads((two / f"codes-{rank}.json").read_text()) for rank in (0, 1)]
    assert codes == [[0, 0, 0, 0, 2, 0, 0]] * 2, done.stderr
    (two / "said").write_text(done.stdout)
    return one, two


def test_coordinates_of_an_archive_are_in_order(places: tuple[Path, Path]) -> None:
    for name, count in (("all.npz", 96), ("one.npz", 1)):
        expected, found = (np.load(place / name) for place in places)
        assert expected["coordinates"].shape == (count, 100, 3)
        assert set(expected) == set(found)
        assert np.allclose(expected["coordinates"], found["coordinates"], atol=1e-4)  # Å
        assert all(np.array_equal(expected[key], found[key]) for key in set(found) - {"coordinates"})


def test_every_structure_of_a_folder_is_written_once_and_earlier_ones_go_first(places: tuple[Path, Path]) -> None:
    for place in places:
        assert sorted(path.name for path in (place / "folder").iterdir()) == [
            "structure_000005.cif",
            "structure_000006.cif",
        ]


def test_an_evaluation_finds_the_same(places: tuple[Path, Path]) -> None:
    expected, found = (json.loads((place / "run" / "evaluation.json").read_text()) for place in places)
    same(found, expected, "evaluation")
    of_images = [np.load(place / "run" / "evaluation" / "figures.npz") for place in places]
    assert np.array_equal(of_images[0]["oracle_rows"], of_images[1]["oracle_rows"])
    assert len(of_images[0]["oracle_rows"]) == 5
    assert np.allclose(of_images[0]["deviation"], of_images[1]["deviation"], atol=1e-4)  # Å
    assert (places[1] / "said").read_text().count("96 images: predicted structures deviate") == 1, "told by one process"


def test_an_analysis_holds_the_same_files_and_latents(places: tuple[Path, Path]) -> None:
    expected, found = (place / "run" / "analysis" for place in places)
    names = [sorted(path.relative_to(root).as_posix() for path in root.rglob("*")) for root in (expected, found)]
    assert names[0] == names[1]
    assert np.allclose(np.load(expected / "z.npy"), np.load(found / "z.npy"), atol=1e-6)


def same(found: object, expected: object, where: str) -> None:
    """Equal but for the last digits of numbers."""
    assert type(found) is type(expected), where
    if isinstance(expected, dict):
        assert expected.keys() == found.keys(), where
        for key, value in expected.items():
            same(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(expected) == len(found), where
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            same(one, other, f"{where}.{number}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4), where
    else:
        assert found == expected, where
