"""The doctor's page: verdict, table, mends, pictures."""

from __future__ import annotations

import json
from datetime import datetime
from html import escape
from pathlib import Path

from cryosphere.doctor.diagnosis import Diagnosis, Finding, conclusion, signal_lines
from cryosphere.doctor.pictures import pictures
from cryosphere.files import replacing, write_text
from cryosphere.presentation.page import Head, facts, figure, page, words

PAGE, FIGURES = "doctor.html", "doctor.json"
_VERDICTS = {"sound": "ok", "fault": "fault", "doubtful": "doubt", "not testable": "not testable"}


def write_page(diagnosis: Diagnosis, folder: Path, title: str) -> Path:
    """Write doctor.html, doctor.json and the pictures into a folder, which is made where it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = pictures(diagnosis)
    for picture in drawn:
        with replacing(folder / picture.name) as temporary:
            temporary.write_bytes(picture.png)
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    head = Head("doctor", title, (f"{diagnosis.images:,} of {diagnosis.of:,} images looked at", now))
    parts = [
        _facts(diagnosis),
        _summary(diagnosis),
        "<section><h2>What was checked</h2>" + _table(diagnosis) + "</section>",
        "<section><h2>Pictures</h2>" + "".join(map(figure, drawn)) + "</section>",
        "<section><h2>Signal</h2><pre>" + escape("\n".join(signal_lines(diagnosis))) + "</pre></section>",
    ]
    write_text(folder / FIGURES, json.dumps(diagnosis.as_dict(), indent=2))
    write_text(folder / PAGE, page(head, parts))
    return folder / PAGE


def _facts(diagnosis: Diagnosis) -> str:
    finest = diagnosis.signal.finest()
    untestable = sum(one.verdict == "not testable" for one in diagnosis.findings)
    return facts(
        [
            (str(len(diagnosis.faults) or "none"), "faults found"),
            (diagnosis.contrast, "protein in the images"),
            (f"{diagnosis.correlation:.3f}", "correlation of images and projections"),
            ("-" if finest is None else f"{finest:.1f} Å", "finest detail in which the model is seen"),
            (str(untestable), "checks that these images do not allow"),
        ]
    )


def _summary(diagnosis: Diagnosis) -> str:
    faults = [one for one in diagnosis.findings if one.verdict == "fault"]
    said = f"<section><h2>Verdict</h2><p>{escape(conclusion(diagnosis))}</p>"
    if not faults:
        return said + "</section>"
    items = "".join(map(_item, faults))
    return said + f"<div class='doubts'><h3>What is wrong, and the likely mend</h3><ul>{items}</ul></div></section>"


def _item(one: Finding) -> str:
    mend = f" {one.mend[:1].upper()}{one.mend[1:]}." if one.mend else ""
    return f"<li><b>{escape(one.name)}</b>: {words(one.evidence)}.{words(mend)}</li>"


def _table(diagnosis: Diagnosis) -> str:
    rows = "".join(
        f"<tr><td class='name'>{escape(one.name)}</td><td class='name'>{_VERDICTS[one.verdict]}</td>"
        f"<td>{words(one.evidence)}</td></tr>"
        for one in diagnosis.findings
    )
    return f"<table><tr><th>check</th><th>verdict</th><th>evidence</th></tr>{rows}</table>"
