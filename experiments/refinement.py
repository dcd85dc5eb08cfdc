"""Whether latents are worth refining after training: three answers of one trained model to the same images.

The encoder's; the most probable latent, found uphill from it by gradient; and the posterior's mean, by weighing latents
drawn around the encoder's answer by how well they explain the image. The last is what any refinement could reach.

python experiments/refinement.py --data FOLDER_WITH_models_AND_trajectories
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import run
import spec
import tables
import torch

from cryosphere.evaluation.comparison import evenly
from cryosphere.evaluation.domains import domains_of
from cryosphere.evaluation.figures import figures_of
from cryosphere.evaluation.measures import correlation
from cryosphere.files import write_text
from cryosphere.simulation.truth import load_truth
from cryosphere.training.latent_posterior import LatentPosterior
from cryosphere.training.trained import TrainedModel

log = logging.getLogger("experiments")

ROWS = (("learning", "defaults"), ("learning-hinge", "defaults"), ("adenylate-kinase", "SNR 0.001"))
IMAGES = 1500
DRAWS = 64
WIDER = 1.5  # than the encoder's posterior: drawn latents must reach where it is too narrow
BATCH = 128
COMMAND = {"command": "python experiments/refinement.py"}
RESULTS = spec.RESULTS / "refinement-cpu.json"


def main() -> None:
    """Train each of ROWS with every seed and keep what the three answers are worth."""
    options = _options()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(options.workdir or temporary)
        place.mkdir(parents=True, exist_ok=True)
        for seed in options.seeds:
            for name, wanted in ROWS:
                experiment = spec.load(name, "cpu")
                case = next(case for case in experiment.cases if case.name == wanted)
                folder = run.images_of(case, seed, options.data.resolve(), place)
                with run.trained_on(folder, case, seed) as trained:
                    record = compare(experiment, TrainedModel.load(trained), folder / "truth.npz")
                log.info("%s, %s, seed %d: %s", name, wanted, seed, record)
                _keep(f"{name}, {wanted}", seed, record | run.origin(experiment) | COMMAND)
    tables.write_all()


@torch.no_grad()
def compare(experiment: spec.Experiment, model: TrainedModel, truth: Path) -> dict[str, float]:
    """Correlation of the experiment's figure with the truth for each of the three answers."""
    known = load_truth(truth)
    figure = next(f for f in figures_of(known, domains_of(known, experiment.domains)) if f.name == experiment.figure)
    rows = evenly(len(model.table), IMAGES)
    true = figure.of(known.positions(rows))
    decoded = LatentPosterior(model.network, model.loader)
    answers: dict[str, list[np.ndarray]] = {name: [] for name in tables.ANSWERS}
    generator = torch.Generator().manual_seed(0)
    for some in np.split(rows, range(BATCH, len(rows), BATCH)):
        batch = model.loader.batch(some)
        posterior = model.network.inference(batch)
        answers["encoder"].append(figure.of(model.bead_positions(posterior.mean)))
        with torch.enable_grad():
            uphill = decoded.uphill(some, posterior.mean, BATCH)
        answers["uphill"].append(figure.of(model.bead_positions(uphill)))
        noise = torch.randn(DRAWS, *posterior.mean.shape, generator=generator)
        drawn = posterior.mean + WIDER * posterior.sd * noise
        logs = [decoded.log_density(z, batch) + 0.5 * e.square().sum(1) for z, e in zip(drawn, noise, strict=True)]
        weights = torch.softmax(torch.stack(logs), dim=0).numpy()
        values = np.stack([figure.of(model.bead_positions(z)) for z in drawn])
        answers["mean of the posterior"].append((weights * values).sum(axis=0))
    return {name: correlation(np.concatenate(found), true) for name, found in answers.items()}


def _keep(row: str, seed: int, record: dict[str, Any]) -> None:
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    known.setdefault(row, {})[str(seed)] = record
    write_text(RESULTS, json.dumps(known, indent=1, sort_keys=True) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the models and trajectories")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--workdir", type=Path, help="keep the simulated images there, for the next time")
    return parser.parse_args()


if __name__ == "__main__":
    main()
