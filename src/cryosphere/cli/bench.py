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
    device: Literal["auto", "cpu", "cuda"] = "auto",
    json_: Annotated[Flag, Parameter(name="--json")] = False,
) -> None:
    """Time a training step on this machine, with the fast projector and with the literal sum.

    Data are made up and in memory; reading images from disk is not included.

    Args:
        box: Side of the images in pixels.
        residues: Beads of the model.
        segments: Segments.
        batch_size: Images per step.
        device: Where to compute; auto takes a GPU if there is one.
        json_: Print JSON instead of a table.
    """
    import json

    from cryosphere.training.bench import BenchSettings, table
    from cryosphere.training.bench import bench as run_bench

    result = run_bench(
        BenchSettings(box=box, residues=residues, segments=segments, batch_size=batch_size), device=device
    )
    print(json.dumps(result.as_dict(), indent=2) if json_ else table(result))
