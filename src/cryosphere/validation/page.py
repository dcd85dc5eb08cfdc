"""The page of a validation: conclusion, table, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape

from cryosphere.presentation.page import Head, Picture, counted, facts, figure, page
from cryosphere.validation.omitted import in_words
from cryosphere.validation.results import Validation
from cryosphere.validation.verdict import Motion, words

KIND = "validation"  # of page, as it stands above its title
_OF_ALL = "gain of all motions together"  # a reason that holds for each motion alike, and is said once
_LEAST_WIDTH = "17em"  # of a motion's name, which else has a line for each stretch of residues


def render(found: Validation, drawn: Sequence[Picture]) -> str:
    """The page with its pictures as one HTML text."""
    sets = found.sets
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    head = Head(KIND, sets.run, (f"{sets.images:,} images", sets.how, now))
    parts = [
        _facts(found),
        f"<section><h2>Verdict</h2><p><b>{escape(found.conclusion)}</b></p>{_reasons(found)}</section>",
        f"<section><h2>Motions</h2><div class='wide'>{_table(found)}</div>{_note()}</section>",
        "<section><h2>Pictures</h2>" + "".join(map(figure, drawn)) + "</section>",
        _omitted(found),
        f"<section><h2>How it was done</h2>{_method(found)}</section>",
    ]
    return page(head, parts)


def _facts(found: Validation) -> str:
    amplitude = max((max(one.largest_amplitude) for one in found.supported), default=None)
    split = found.as_dict()["same_images"]["displacement_correlation_split_data"]
    return facts(
        [
            (str(len(found.supported) or "none"), "motions reproduced"),
            (f"{found.sets.compared:,}", "images compared, which neither model saw"),
            (f"{split:.2f}", "correlation of displacements from different frequencies"),
            ("-" if amplitude is None else f"{amplitude:.1f} Å", "largest displacement (RMS) of a residue along them"),
            (f"{100 * found.overlap.share:.0f} %", "of residues in matching segments"),
        ]
    )


def _reasons(found: Validation) -> str:
    """What speaks for each motion or against it, after what does so for all of them together."""
    said = [
        f"<p>One test is of all motions at once. {escape(one[:1].upper() + one[1:])}.</p>" for one in _of_all(found)
    ]
    for one in found.motions:
        items = "".join(f"<li>{escape(reason)}</li>" for reason in one.reasons if _OF_ALL not in reason)
        said.append(f"<h3>{escape(one.name)}: {escape(one.verdict)}</h3><ul>{items}</ul>")
    return "".join(said)


def _of_all(found: Validation) -> list[str]:
    return list(dict.fromkeys(reason for one in found.motions for reason in one.reasons if _OF_ALL in reason))


def _table(found: Validation) -> str:
    """What the reasons do not say; with their gains, too, it would be wider than the page."""
    names = (
        "motion", "verdict", "correlation", "by chance (99 of 100)", "amplitude, Å (half 1, half 2)",
        "largest, Å", "goes with",
    )  # fmt: skip
    heads = "".join(f"<th{' class=n' if 2 <= k <= 5 else ''}>{name}</th>" for k, name in enumerate(names))
    return f"<table><tr>{heads}</tr>{''.join(map(_row, found.motions))}</table>"


def _row(one: Motion) -> str:
    figures = (
        f"{one.correlation:.3f}",
        f"{one.null_99:.3f}",
        f"{one.amplitude[0]:.2f}, {one.amplitude[1]:.2f}",
        f"{one.largest_amplitude[0]:.1f}, {one.largest_amplitude[1]:.1f}",
    )
    cells = "".join(f"<td class='n'>{x}</td>" for x in figures)
    along = f"{one.component} (r = {one.component_correlation:.2f})" if one.component else "-"
    name = " ".join(f"<span class='name'>{escape(part)}</span>" for part in one.name.split(" "))
    return (
        f"<tr><td style='min-width:{_LEAST_WIDTH}'>{name}</td><td class='name'>{one.verdict}</td>{cells}"
        f"<td class='name'>{along}</td></tr>"
    )


def _note() -> str:
    return (
        "<p class='note'>Correlation: between the places of the same images with either model, from different "
        "frequencies. Amplitude: RMS over images and residues; largest: over images, of the residue that moves most. "
        "Goes with: the principal component of the run's latents. Reproduced: every test is passed clearly. "
        "Weak: images know the motion from chance, but not clearly or not in every test. Not supported: the data would "
        "look the same without it, as far as these tests can tell.</p>"
    )


def _omitted(found: Validation) -> str:
    if found.omitted is None:
        return ""
    return f"<section><h2>A segment that the model did not know</h2><p>{escape(in_words(found.omitted))}</p></section>"


def _method(found: Validation) -> str:
    sets, gains = found.sets, found.gains
    items = (
        f"Two models were trained from scratch on {sets.trained_on[0]:,} and {sets.trained_on[1]:,} images, for "
        f"{counted(sets.epochs, 'epoch')} each, with the run's settings and different random numbers; {sets.how}. "
        f"{sets.compared:,} images were put aside before and are what everything here is measured on.",
        "Every image's frequencies are divided into two sets of rings that share no noise. A conformation is read off "
        "one set and judged on the other. The whole molecule may turn and shift a little in every comparison, so "
        "errors of poses are no motion, and structures are superposed before they are compared.",
        "What depends on the side of view is taken off, and images are exchanged only with others seen from the same "
        "side: a base structure of the wrong shape is bent differently in different views, which is no motion either.",
        "A motion also competes with the same residues standing still but brighter or fainter in each image, as far as "
        "one set of frequencies says: what comes and goes looks like motion to a model that can only move. Motions are "
        "judged by other images than those that told of them.",
        f"All motions together: {words(gains.over_base)} over the base structure, {words(gains.over_mean)} over one "
        f"structure for all, {words(gains.over_exchanged)} over structures of other images.",
        f"Distances between segments correlate by {found.distance_correlation:.3f} between the models when both are "
        f"shown all frequencies. The models use {found.overlap.used[0]} and {found.overlap.used[1]} segments; "
        f"adjusted Rand index {found.overlap.adjusted_rand:.2f}.",
    )
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
