"""What was measured, as findings in words."""

from __future__ import annotations

import numpy as np

from cryosphere.doctor.diagnosis import Finding
from cryosphere.doctor.order import Belonging
from cryosphere.doctor.readings import ORDER_MEND
from cryosphere.doctor.records import Duplicates, Normalisation
from cryosphere.doctor.search import CERTAIN, Search, Trial, mean_and_error, trust
from cryosphere.particles.table import ParticleTable

_TOLD_APART = 3.0  # standard errors
_SEEN = 5.0
_DUPLICATES_MATTER = 0.002  # of the rows
_SPREAD_MATTERS = 3.0
_OFFSET_MATTERS = 1.0  # standard deviations
_NOISE_PREVAILS = 0.6

CHECKS = {
    "hand": "the poses fit the model better than its mirror image there (whether it was placed in a mirrored map, "
    "`cryosphere fit` tells)",
    "rotation-transposed": "the rotations fit better than their inverses",
    "shift-sign": "the shifts fit better than with the opposite sign",
    "shift-unit": "the shifts fit better in the unit read than in the other",
    "pixel-size": "the pixel size fits the model",
    "model-offset": "the model stands where the images show it",
    "voltage": "the voltage fits better than other microscopes' do",
    "phases-flipped": "the images' phases are not flipped",
}


def of_contrast(found: Search, table: ParticleTable) -> Finding:
    """White or black, against what the format promises."""
    mean, error = mean_and_error(found.values)
    figure = f"correlation with the model {mean:+.4f} ± {error:.4f} taken as white"
    if trust(len(found.values)) * abs(mean) < CERTAIN * error:
        return Finding("contrast", "not testable", f"the images do not show the model clearly ({figure})")
    if mean > 0:
        return Finding("contrast", "sound", f"protein is bright ({figure})")
    if table.source.suffix == ".cs":
        return Finding(
            "contrast", "sound", f"protein is dark, as in many cryoSPARC stacks ({figure}); train allows for it"
        )
    return Finding(
        "contrast",
        "fault",
        f"protein is dark in the images ({figure}); RELION's are bright",
        "extract again with inverted contrast, or leave images.contrast at auto when training, which allows for it",
    )


def findings_of_search(found: Search, table: ParticleTable) -> list[Finding]:
    """One finding for each thing that could have been written otherwise."""
    mean, error = mean_and_error(found.sign * found.values)
    adopted = {trial.alternative.fault: trial for trial in found.adopted}
    findings = []
    for name, sound in CHECKS.items():
        tried = [trial for trial in found.trials if trial.alternative.fault == name]
        if name in adopted:
            findings.append(_fault(adopted[name]))
        elif not tried:
            findings.append(Finding(name, "not testable", _why_not(name, table)))
        elif mean < _SEEN * error:
            findings.append(Finding(name, "not testable", "the images do not show the model clearly enough"))
        else:
            # of two ways to be wrong about the pixel size, the one that motions do not resemble
            best = max(tried, key=lambda trial: (trial.alternative.reading.scale_ctf, trial.correlation))
            findings.append(_no_fault(name, sound, best, explained=bool(adopted)))
    return findings


def _fault(trial: Trial) -> Finding:
    one = trial.alternative
    evidence = f"{one.meaning} (correlation {trial.after:.4f}, as written {trial.before:.4f}: {_sigmas(trial)})"
    return Finding(one.fault, "fault", evidence, one.mend)


def _no_fault(name: str, sound: str, best: Trial, *, explained: bool) -> Finding:
    figures = f"{best.before:.4f}, otherwise {best.after:.4f}: {_sigmas(best)}"
    if explained:
        return Finding(name, "sound", "nothing found, beside what is wrong")
    if name == "pixel-size":
        size = best.alternative.reading.scale
        return Finding(name, "sound", f"right to {100 * abs(1 - 1 / size):.1f} % ({figures})")
    if name == "model-offset":
        length = float(np.linalg.norm(best.alternative.reading.offset))
        return Finding(name, "sound", f"the model stands within {length:.1f} Å of where it fits best ({figures})")
    if abs(best.sigmas) < _TOLD_APART:
        return Finding(name, "not testable", f"makes no difference here ({figures})")
    return Finding(name, "sound", f"{sound} ({figures})")


def _why_not(name: str, table: ParticleTable) -> str:
    if name.startswith("shift") and not np.any(table.shifts):
        return "all shifts are 0"
    if name == "shift-unit":
        return f"pixels of {table.pixel_size:g} Å: both units give nearly the same"
    return "there is no other way to read this"


def _sigmas(trial: Trial) -> str:
    if not np.isfinite(trial.sigmas):
        return "without exception"
    return f"{trial.sigmas:+.0f} standard errors"


def of_order(order: Belonging, found: Search) -> Finding:
    """Whether images belong to their rows."""
    adopted = [trial for trial in found.adopted if trial.alternative.fault == "image-order"]
    if adopted:
        return _fault(adopted[0])
    figures = (
        f"own row {order.own:.4f}, other rows {order.others:.4f}, difference {order.gain:.4f} ± {order.own_error:.4f}"
    )
    if order.says_nothing:
        example = ""
        if order.example is not None:
            image, row = order.example
            example = f"; the image of row {image + 1}, for one, fits row {row + 1}"
        return Finding(
            "image-order",
            "fault",
            f"images fit the poses of other rows as well as their own ({figures}){example}",
            f"{ORDER_MEND}. Poses of another refinement, or another protein's model, look the same to this check",
        )
    if order.gain > _TOLD_APART * order.own_error:
        share = order.share
        told = "" if share is None else f": {100 * share:.0f} % of what right poses bring, by how others fit"
        return Finding("image-order", "sound", f"images fit their own rows best ({figures}){told}")
    return Finding("image-order", "not testable", f"the images do not tell their own poses from others ({figures})")


def of_normalisation(grey: Normalisation) -> Finding:
    """Whether the images' grey values are of one kind."""
    figures = (
        f"background deviation {grey.deviation:.3g}, its 95th percentile {grey.spread:.1f} times its 5th; background "
        f"mean {grey.offset:.2f} deviations from 0"
    )
    mend = (
        "normalise the particles when extracting them (RELION: --norm). Training normalises each image by itself, so "
        "this alone does no harm there, but look whether different stacks were mixed"
    )
    if grey.quiet < _NOISE_PREVAILS:
        return Finding("normalisation", "sound", f"images without noise outside the particle ({figures})")
    if grey.spread > _SPREAD_MATTERS:
        return Finding("normalisation", "fault", f"images are on different scales ({figures})", mend)
    if grey.offset > _OFFSET_MATTERS:
        return Finding("normalisation", "fault", f"the background is not at 0 ({figures})", mend)
    return Finding("normalisation", "sound", figures)


def of_duplicates(found: Duplicates) -> Finding:
    """Whether particles come twice."""
    if not found.rows or found.example is None:
        return Finding("duplicates", "sound", f"no image comes twice ({found.looked_at:,} looked at)")
    first, second = found.example
    evidence = (
        f"{found.rows:,} rows repeat the image of another one, such as rows {first + 1} and {second + 1}; "
        f"{found.same_pose:,} with the same pose"
    )
    if found.same_pose < _DUPLICATES_MATTER * found.looked_at:
        return Finding(
            "duplicates", "doubtful", f"{evidence}: a symmetry expansion? Training counts each row as an image"
        )
    return Finding(
        "duplicates", "fault", evidence, "remove the repeated rows (RELION: relion_star_handler --remove_duplicates)"
    )
