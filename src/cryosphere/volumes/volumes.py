"""Density without the model's bias, from a run's fixed latents and poses: the work of `cryosphere volumes`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryosphere.analysis.movement import atom_frames
from cryosphere.analysis.run import Run
from cryosphere.analysis.structures import read_latents
from cryosphere.analysis.uncertainty import own_sd, structure_writer
from cryosphere.errors import ConfigError
from cryosphere.progress import SILENT, Progress
from cryosphere.volumes.kernel import KernelSettings, KernelVolume, regress_states
from cryosphere.volumes.state import StateVolume
from cryosphere.volumes.targets import TargetSettings, chosen_targets
from cryosphere.volumes.writing import appearing, check_folder, write_maps, write_tables

log = logging.getLogger(__name__)

Method = Literal["kernel", "decoder"]
IN_WORDS = {"kernel": "kernel regression", "decoder": "volume decoder"}


@dataclass(frozen=True)
class VolumesSettings:
    """Which volumes are made of a run, and how.

    epochs: of the volume decoder's training; None: its own default.
    """

    method: Method = "kernel"
    targets: TargetSettings = field(default_factory=TargetSettings)
    kernel: KernelSettings = field(default_factory=KernelSettings)
    epochs: int | None = None

    def __post_init__(self) -> None:
        if self.method == "kernel" and self.epochs is not None:
            raise ConfigError("kernel regression is not trained: --epochs belongs to --method decoder")
        if self.method == "decoder" and self.kernel.bandwidth is not None:
            raise ConfigError("the volume decoder has no bandwidth: --bandwidth belongs to --method kernel")
        if self.method == "decoder" and self.kernel.by_shell:
            raise ConfigError("the volume decoder has no bandwidth: --by-shell belongs to --method kernel")


def make_volumes(
    run: Run,
    outdir: Path,
    settings: VolumesSettings | None = None,
    *,
    progress: Progress = SILENT,
    overwrite: bool = False,
) -> list[StateVolume]:
    """Make density at some of a run's latents, and write it with what of the run's model is in it.

    outdir gets volume_000.mrc, its half-maps, the run's structure at that latent in structures/, and so on, in the
    order of the latents; z.npy, volumes.csv, fsc.csv, bandwidths.csv, and the comparison with the model, support.csv
    and bias.html. All of them appear together. The processes of a job share the work; the first one writes.

    Raises:
        InputError: for latents of another run, missing stacks, halves of very different size, too few images, or an
            `outdir` that holds volumes already (unless `overwrite`).
    """
    settings = settings or VolumesSettings()
    world = run.model.world
    with world.together():
        check_folder(outdir, overwrite=overwrite)
        if settings.targets.z is not None:
            read_latents(settings.targets.z, run.latent_dim)  # what is wrong with the file shows before any work
    run.encode()
    with world.together():
        targets = chosen_targets(run, settings.targets)
    made: Sequence[KernelVolume | StateVolume]
    if settings.method == "decoder":
        made = _decoded(run, targets, settings, progress)
    else:
        made = regress_states(run, targets, settings.kernel, progress)
    states = [volume.state if isinstance(volume, KernelVolume) else volume for volume in made]
    with world.together(), run.model.working_alone():
        if world.is_first:
            with appearing(outdir) as folder:
                _write(run, made, states, (folder, settings.method))
            _report(made, outdir)
    return states


def _decoded(
    run: Run, targets: NDArray[np.float32], settings: VolumesSettings, progress: Progress
) -> list[StateVolume]:
    from cryosphere.volumes.decoder import DecoderSettings, decode_states

    how = settings.kernel
    common = {"box": how.box, "diameter": how.diameter, "datadir": how.datadir, "seed": how.seed, "device": how.device}
    wanted = {} if settings.epochs is None else {"epochs": settings.epochs}
    return decode_states(run, targets, DecoderSettings(**common, **wanted), progress)  # type: ignore[arg-type]


def _write(
    run: Run, made: Sequence[KernelVolume | StateVolume], states: list[StateVolume], place: tuple[Path, Method]
) -> None:
    from cryosphere.volumes.bias import write_bias_page  # matplotlib is not loaded before there is something to draw

    folder, method = place
    write_maps(states, folder)
    (folder / "structures").mkdir()
    sd = own_sd(run)
    writer = structure_writer(run, sure=sd is not None)
    frames = atom_frames(run.model, np.stack([state.z for state in states]))
    for number, positions in enumerate(frames):
        writer.write(folder / "structures" / f"structure_{number:03d}.cif", positions, sd)
    write_bias_page(run, states, folder, IN_WORDS[method])
    write_tables(made, folder)


def _report(made: Sequence[KernelVolume | StateVolume], outdir: Path) -> None:
    for number, volume in enumerate(made):
        state = volume.state if isinstance(volume, KernelVolume) else volume
        of = ""
        if isinstance(volume, KernelVolume):
            width = f"{state.bandwidth:.2f} Å" if state.bandwidth and np.isfinite(state.bandwidth) else "any distance"
            of = f" of {volume.within:,} images within {width}, as good as {volume.effective:,.0f} of equal weight"
        log.info("volume %d: %s at 0.143%s", number, state.resolution, of)
    log.info("%s: %d volumes, their half-maps and structures; begin with bias.html", outdir, len(made))
