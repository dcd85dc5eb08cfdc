"""`cryosphere train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from cryosphere.cli.options import Files, Flag
from cryosphere.errors import ConfigError


def train(
    config: Path | None = None,
    /,
    *,
    outdir: Path,
    particles: Files | None = None,
    datadir: Path | None = None,
    model: Path | None = None,
    segments: int | Literal["auto"] | None = None,
    epochs: int | None = None,
    box: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    device: Literal["auto", "cpu", "cuda"] | None = None,
    check: Annotated[bool, Parameter(name="--check")] = True,
    resume: Flag = False,
    overwrite: Flag = False,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None,
) -> None:
    """Learn how the protein moves: its segments, and a rigid motion of each for every image.

    Needs a particle file, an atomic model placed in the images' box, and an output folder; everything else has a
    default. Look at the result with `cryosphere analyze`.

    Args:
        config: Settings in YAML; options on the command line override it.
        outdir: The run directory, made where it does not exist.
        particles: RELION .star or cryoSPARC .cs with poses; several .cs files of the same particles may be given.
        datadir: Folder in which to look for the image stacks first.
        model: Atomic model, PDB or mmCIF; its origin is the centre of the images' box.
        segments: Segments at most; auto begins with many, joins those that the images do not tell apart, and says at
            the end how many parts move.
        epochs: Passes over the images.
        box: Pixels after downsampling (Fourier cropping); default: pixels of about 2 Å.
        batch_size: Images per step.
        seed: Of everything random.
        device: Where to compute; auto takes a GPU if there is one.
        check: Look first whether poses, hand, shifts, pixel size, model and optics belong together, as `cryosphere
            doctor` does, and stop where something is certainly wrong.
        resume: Go on with the run in the output folder, exactly where its last checkpoint stands.
        overwrite: Replace the run in the output folder.
        set_: Any setting by name, for example --set loss.low_pass=8; may be given several times.
    """
    if resume and overwrite:
        raise ConfigError(
            "--resume goes on with the run in the output folder, --overwrite replaces it: give one of them"
        )
    from cryosphere.cli.progress import terminal_progress
    from cryosphere.distribution import join
    from cryosphere.training.configure import configure, configure_resumed
    from cryosphere.training.train import train as run_training

    options = {
        "particles": particles,
        "datadir": datadir,
        "model": model,
        "segments": segments,
        "epochs": epochs,
        "box": box,
        "batch_size": batch_size,
        "seed": seed,
        "device": device,
    }
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    overrides = (set_ or []) if check else [*(set_ or []), "particles.check=off"]
    with join().together():
        make = configure_resumed(outdir) if resume else configure
        settings = make(config, overrides=overrides, **given)
    existing: Literal["refuse", "resume", "overwrite"] = "resume" if resume else "overwrite" if overwrite else "refuse"
    outcome = run_training(settings, outdir, existing=existing, progress=terminal_progress())
    if outcome == "stopped":
        raise KeyboardInterrupt(
            f"stopped; what was learned so far is saved. Go on with: cryosphere train --outdir {outdir} --resume"
        )
