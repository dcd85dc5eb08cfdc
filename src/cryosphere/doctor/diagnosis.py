"""What the doctor found, as text and for programs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cryosphere.doctor.examples import Examples
from cryosphere.doctor.readings import Reading
from cryosphere.doctor.search import Trial
from cryosphere.doctor.signal import Signal

Verdict = Literal["sound", "fault", "doubtful", "not testable"]


@dataclass(frozen=True)
class Finding:
    """One check: what was asked, what came out, and what to do."""

    name: str
    verdict: Verdict
    evidence: str
    mend: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All that was found about one data set and one model."""

    findings: tuple[Finding, ...]
    trials: tuple[Trial, ...]
    scales: tuple[tuple[float, float], ...]  # pixel size in Å, mean correlation
    reading: Reading  # under which the images fit best
    contrast: Literal["white", "black", "unknown"]
    correlation: float  # mean, under that reading
    correlation_error: float
    signal: Signal
    images: int  # looked at
    of: int  # in the file
    correlations: NDArray[np.float64]  # (images,)
    examples: Examples

    @property
    def faults(self) -> list[str]:
        """Names of the faults found, each once, in the order of the checks."""
        return list(dict.fromkeys(one.name for one in self.findings if one.verdict == "fault"))

    @property
    def verdict(self) -> Literal["sound", "fault"]:
        """Whether anything was found to be wrong for certain."""
        return "fault" if self.faults else "sound"

    @property
    def shows_model(self) -> bool:
        """Whether the images show the model at all, so that poses and sizes could be checked."""
        return self.correlation > 5 * self.correlation_error

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        signal = self.signal
        resolutions = 1 / signal.frequencies
        return {
            "verdict": self.verdict,
            "faults": self.faults,
            "findings": [
                {"name": one.name, "verdict": one.verdict, "evidence": one.evidence, "mend": one.mend}
                for one in self.findings
            ],
            "contrast": self.contrast,
            "images": {"looked_at": self.images, "all": self.of},
            "correlation": {"mean": self.correlation, "standard_error": self.correlation_error},
            "readings": [
                {
                    "fault": one.alternative.fault,
                    "meaning": one.alternative.meaning,
                    "correlation": one.after,
                    "as_written": one.before,
                    "sigmas": _finite(one.sigmas),
                }
                for one in self.trials
            ],
            "pixel_sizes": [{"pixel_size_A": size, "correlation": value} for size, value in self.scales],
            "signal": [
                {
                    "resolution_A": float(resolutions[k]),
                    "correlation": float(signal.correlation[k]),
                    "snr": float(signal.snr[k]),
                    "images_needed": _finite(float(signal.images_needed[k])),
                }
                for k in range(len(resolutions))
            ],
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


_WORDS = {"sound": "ok", "fault": "FAULT", "doubtful": "doubt", "not testable": "-"}


def text(diagnosis: Diagnosis) -> str:
    """A table of the checks, the mends, and the signal, for a terminal."""
    width = max(len(one.name) for one in diagnosis.findings)
    lines = [f"{one.name:{width}}  {_WORDS[one.verdict]:5}  {one.evidence}" for one in diagnosis.findings]
    lines += ["", *signal_lines(diagnosis)]
    faults = [one for one in diagnosis.findings if one.verdict == "fault"]
    if faults:
        lines += ["", "What is wrong, the gravest first, and the likely mend:"]
        lines += [f"- {one.name}: {one.evidence}. {one.mend[:1].upper()}{one.mend[1:]}." for one in faults]
    else:
        lines += ["", conclusion(diagnosis)]
    return "\n".join(lines)


def conclusion(diagnosis: Diagnosis) -> str:
    """The verdict in one sentence."""
    if diagnosis.faults:
        return f"Found wrong: {', '.join(diagnosis.faults)}."
    if diagnosis.shows_model:
        return "Nothing is wrong that these checks can see."
    return (
        "Nothing was found to be wrong, but these images do not show the model clearly enough for poses, hand, shifts, "
        "pixel size and optics to be checked."
    )


def signal_lines(diagnosis: Diagnosis) -> list[str]:
    """The signal in words and a small table."""
    signal = diagnosis.signal
    lines = [
        f"Images and projections of the model correlate by {diagnosis.correlation:.4f} ± "
        f"{diagnosis.correlation_error:.4f} (mean of {diagnosis.images:,} of {diagnosis.of:,} images, noise whitened)."
    ]
    finest = signal.finest()
    if finest is None:
        return [*lines, "The model is not seen in them."]
    lines.append(f"The model is seen down to {finest:.1f} Å. In one image, and how many images a map takes to show it:")
    lines.append(f"{'detail, Å':>10} {'correlation':>12} {'signal/noise':>13} {'images needed':>14}")
    resolutions = 1 / signal.frequencies
    for wanted in (40, 30, 20, 15, 12, 10, 8, 7, 6):
        k = int(np.abs(signal.frequencies - 1 / wanted).argmin())
        if abs(resolutions[k] / wanted - 1) > 0.1:
            continue
        needed = "not seen" if not np.isfinite(signal.images_needed[k]) else f"{signal.images_needed[k]:,.0f}"
        lines.append(f"{resolutions[k]:10.1f} {signal.correlation[k]:12.4f} {signal.snr[k]:13.2g} {needed:>14}")
    return lines
