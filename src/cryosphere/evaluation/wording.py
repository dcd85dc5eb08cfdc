"""An evaluation in plain words."""

from __future__ import annotations

from cryosphere.evaluation.evaluate import Agreement, Evaluation


def describe(evaluation: Evaluation) -> str:
    """A few lines that say how well the structures agree with the truth, and which segments were found."""
    lines = [
        f"{evaluation.images} images: predicted structures deviate from the true ones by "
        f"{evaluation.deviation:.2f} Å ({evaluation.aligned_deviation:.2f} Å after superposition); the unmoved base "
        f"structure by {evaluation.base_deviation:.2f} Å ({evaluation.base_aligned_deviation:.2f} Å).",
        *(_sentence(agreement) for agreement in evaluation.agreements),
        "Segments found:",
    ]
    for segment in evaluation.segments:
        where = ", ".join(segment["ranges"])
        domains = ", ".join(f"{count} of {name}" for name, count in segment["domains"].items() if count)
        lines.append(f"  {segment['segment']:>2}: {segment['residues']} residues, {where} ({domains or 'no domain'})")
    return "\n".join(lines)


def _sentence(agreement: Agreement) -> str:
    text = (
        f"{agreement.name}: correlation of predicted with true {agreement.correlation:.3f}, mean error "
        f"{agreement.mean_error:.2f} {agreement.unit} (true range {_range(agreement.true_range)}, predicted "
        f"{_range(agreement.predicted_range)} {agreement.unit})"
    )
    if agreement.oracle_correlation is not None and agreement.correlation_on_oracle_images is not None:
        text += (
            f"; on {agreement.oracle_images} images {agreement.correlation_on_oracle_images:.3f}, where the best "
            f"possible is {agreement.oracle_correlation:.3f}"
        )
    return text + "."


def _range(values: tuple[float, float]) -> str:
    return f"{values[0]:.1f} to {values[1]:.1f}"
