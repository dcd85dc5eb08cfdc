"""A preparation in words: for the terminal, the page, and the head of the settings file."""

from __future__ import annotations

from cryosphere.maps.fitting.results import CLEARLY_BETTER
from cryosphere.preparation.placement import CERTAIN, Candidate, Placement, preference
from cryosphere.preparation.result import Preparation

_POOR = 0.5  # correlation with the map below which a placement is to be looked at
_SURE = 3.0  # standard errors of the images' mean correlation

HAND_MEND = (
    "The refinement's map is probably the mirror image of the molecule, and the poses belong to it: flip the map and "
    "refine again from it (RELION: relion_image_handler --invert_hand; cryoSPARC: Volume Tools, flip handedness), then "
    "prepare again with the new poses"
)


def figures_of_hand(placement: Placement) -> str:
    """What map and images say of the two hands."""
    other, chosen = placement.other_hand, placement.chosen
    if other is None:
        return "the mirror image was not looked at"
    return (
        f"correlation with the map {_in_map(chosen)}, with its mirror image {_in_map(other)}; with the images "
        f"{_in_images(chosen)}, of the mirror image {_in_images(other)}"
    )


def hand_sentence(placement: Placement) -> str:
    """The verdict on the hand."""
    words = {
        "right": "right",
        "wrong": "PROBABLY WRONG",
        "unclear": f"cannot be told at {placement.resolution:.3g} Å",
    }
    return f"{words[placement.hand]} ({figures_of_hand(placement)})"


def placed_sentence(placement: Placement) -> str:
    """How the model came to where it is."""
    chosen = placement.chosen
    how = {
        "as it stood, refined": "It stood right already and was refined",
        "runner-up": "Searched for everywhere; of placements that the map cannot tell apart the images prefer this",
    }.get(chosen.kind, "It was searched for everywhere in the map")
    return (
        f"{how}: turned by {placement.turned_degrees:.1f}°, centre moved by {placement.moved:.1f} Å, atoms by "
        f"{placement.rms:.1f} Å RMS. Correlation with the map before {_in_map(placement.before)}, after "
        f"{_in_map(chosen)}, at {placement.resolution:.3g} Å; with the images before {_in_images(placement.before)}, "
        f"after {_in_images(chosen)}."
    )


def runner_up_sentence(placement: Placement) -> str:
    """The best placement that is not the chosen one or nearly the same."""
    found = [one for one in placement.others if one.kind == "runner-up"]
    if not found:
        return "none"
    best = found[0]
    against = preference(best, placement.chosen)
    said = "the images prefer the chosen one"
    if against > -CERTAIN:
        said = "the images cannot tell it from the chosen one"
    if against >= CERTAIN:
        said = "the images prefer it, but the map clearly does not"
    close = _value(best.in_map) > _value(placement.chosen.in_map) - CLEARLY_BETTER
    note = " (a symmetric molecule has such)" if close and abs(against) < CERTAIN else ""
    return f"correlation with the map {_in_map(best)}, with the images {_in_images(best)}: {said}{note}"


def doubts(placement: Placement) -> tuple[str, ...]:
    """What the user must not overlook."""
    found = []
    chosen, before = placement.chosen, placement.before
    if placement.hand == "wrong":
        found.append(f"The hand is probably wrong: {figures_of_hand(placement)}. {HAND_MEND}.")
    mirrored = -1.0 if placement.other_hand is None else _value(placement.other_hand.in_map)
    if placement.hand == "unclear" and mirrored > _value(chosen.in_map) + CLEARLY_BETTER:
        found.append(
            f"The map's mirror image fits the model better, but the images cannot tell: {figures_of_hand(placement)}. "
            "Is the hand of the map right?"
        )
    if _value(chosen.in_map) < _POOR:
        found.append(
            f"The placed model correlates with the map by {_in_map(chosen)} only. Is it the model of these particles, "
            "and whole? Look at the pictures."
        )
    if abs(chosen.image_correlation) < _SURE * chosen.image_error:
        found.append(
            f"The images do not show the placed model: they correlate with its projections by {_in_images(chosen)}, "
            "which may be chance."
        )
    elif preference(before, chosen) > CERTAIN:
        found.append(
            f"The images fitted the model better where it stood ({_in_images(before)}) than where it was placed "
            f"({_in_images(chosen)}). Does the map belong to these particles?"
        )
    return tuple(found)


def describe(found: Preparation) -> str:
    """What was found and chosen, as lines for a terminal."""
    placement = found.placement
    rows = [("map", how) for how in found.consensus.how]
    rows += [("model", placed_sentence(placement)), ("", f"{placement.frame[:1].upper()}{placement.frame[1:]}.")]
    rows += [("runner-up", runner_up_sentence(placement)), ("hand", hand_sentence(placement))]
    for choice in found.choices.listed:
        rows.append((choice.name, f"{choice.shown}. {choice.reason}"))
    rows += [("doubt", warning) for warning in found.warnings]
    return "\n".join(f"{name:<18} {text}" for name, text in rows)


def _in_map(candidate: Candidate) -> str:
    return "none (it lies outside)" if candidate.in_map is None else f"{candidate.in_map:.3f}"


def _in_images(candidate: Candidate) -> str:
    return f"{candidate.image_correlation:+.4f} ± {candidate.image_error:.4f}"


def _value(correlation: float | None) -> float:
    return -1.0 if correlation is None else correlation
