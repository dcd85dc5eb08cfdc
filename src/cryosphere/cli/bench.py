"""`cryosphere bench`."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from cryosphere.cli.options import Flag


def bench(
    *,
    box: int = 190,
    residues: int = 1006,
    segments: int = 25,
    batch_size: int = 64,
    pixel_size: float = 1.0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    literal: Annotated[bool, Parameter(name="--literal")] = True,
    json_: Annotated[Flag, Parameter(name="--json")] = False,
) -> None:
    """Time a training step on this machine, stage by stage, beside the paper's arithmetic and the least it could take.

    Images and protein are made up; the images are read from a temporary folder, as in training.

    Args:
        box: Side of the images in pixels.
        residues: Beads of the model.
        segments: Segments.
        batch_size: Images per step.
        pixel_size: Å per pixel. Detail finer than beads hold is not compared: the pixels worked on are coarser.
        device: Where to compute; auto takes a GPU if there is one.
        literal: Also time the paper's arithmetic as written, which can take minutes for a large model.
        json_: Print JSON instead of a table.
    """
    import json

    from cryosphere.benchmarking.bench import bench as run_bench
    from cryosphere.benchmarking.problem import BenchSettings
    from cryosphere.benchmarking.table import table
    from cryosphere.cli.progress import terminal_progress

    settings = BenchSettings(
        box=box, residues=residues, segments=segments, batch_size=batch_size, pixel_size=pixel_size
    )
    result = run_bench(settings, device=device, literal=literal, progress=terminal_progress())
    print(json.dumps(result.as_dict(), indent=2) if json_ else table(result))
