"""Memory does not grow with the number of images."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cryosphere.settings import write_yaml

from .conftest import hinge_config

CODE = """
import resource, sys
from pathlib import Path
from cryosphere.simulation.config import load_simulation
from cryosphere.simulation.simulate import simulate
simulate(load_simulation(Path(sys.argv[1])), sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is in kilobytes on Linux only")
def test_eight_times_the_images_take_no_more_memory(protein, tmp_path):
    peaks = []
    for count in (2000, 16000):
        config = tmp_path / f"{count}.yaml"
        write_yaml(config, hinge_config(protein, count=count, box=64), heading="")
        command = [sys.executable, "-c", CODE, str(config), str(tmp_path / str(count))]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280)
        peaks.append(int(done.stdout.split()[-1]) / 1024)
    # the stacks are 33 and 262 MB; 14,000 more rows of the particle table and its STAR file are some 15 MB
    assert peaks[1] - peaks[0] < 60
