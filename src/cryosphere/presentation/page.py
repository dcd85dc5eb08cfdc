"""A page of text and pictures that is readable without anything else."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
:root{--ink:#1c2024;--soft:#5b6470;--line:#dfe3e8;--accent:#0072b2;--warn:#9a4a00}
*{box-sizing:border-box}
body{margin:0;background:#fff;color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
main{max-width:960px;margin:0 auto;padding:40px 24px 64px}
header{border-bottom:2px solid var(--ink);padding-bottom:14px;margin-bottom:22px}
h1{font-size:30px;line-height:1.2;margin:0;overflow-wrap:anywhere}
h2{font-size:21px;margin:40px 0 10px}
h3{font-size:16px;margin:0 0 6px}
p{margin:0 0 10px}
.kind{color:var(--accent);font-weight:600;margin:0 0 2px}
.meta,.note,figcaption{color:var(--soft);font-size:14px;overflow-wrap:anywhere}
.meta{margin:6px 0 0}
.facts{list-style:none;display:grid;grid-template-columns:repeat(5,1fr);gap:0;margin:0;padding:0;
border:1px solid var(--line);border-radius:6px}
.facts li{padding:12px 14px;font-size:13px;line-height:1.35;color:var(--soft);border-left:1px solid var(--line)}
.facts li:first-child{border-left:0}
.facts b{display:block;font-size:22px;line-height:1.3;color:var(--ink)}
section ul{margin:0 0 12px;padding-left:22px}
section li{margin-bottom:5px}
.doubts{border:1px solid #e6b98a;border-left:5px solid var(--warn);background:#fff8f0;border-radius:4px;
padding:12px 16px;margin:16px 0}
.doubts h3{color:var(--warn)}
.doubts ul{margin:0}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px;margin:0 0 10px}
th{text-align:left;border-bottom:2px solid var(--ink);padding:6px 10px 6px 0;vertical-align:bottom}
td{border-bottom:1px solid var(--line);padding:6px 10px 6px 0;vertical-align:top;overflow-wrap:anywhere}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
th.n{white-space:normal}
.name{white-space:nowrap}
.files td:first-child{width:34%}
td.ref{text-align:right;color:var(--soft);font-style:italic}
figure{margin:0 0 34px;break-inside:avoid}
figure img{display:block;max-width:100%;height:auto;margin:0 auto}
figcaption{margin-top:6px}
a{color:var(--accent)}
pre{background:#f6f7f9;border:1px solid var(--line);border-radius:4px;padding:12px;overflow-x:auto;font-size:13px;
line-height:1.4}
summary{cursor:pointer;margin-bottom:8px}
@media(max-width:720px){.facts{grid-template-columns:1fr 1fr}}
@media print{main{max-width:none;padding:0}a{color:inherit}pre{white-space:pre-wrap}
.doubts,.facts{break-inside:avoid}h2,h3{break-after:avoid}}
"""


WIDE, NARROW = 1600, 1300  # pixels of a picture across the whole page, and below which it takes a part of it


@dataclass(frozen=True)
class Picture:
    """A PNG file's content with what the reader should know about it."""

    name: str  # file name
    title: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class Head:
    """What stands above everything else on a page."""

    kind: str  # of page
    title: str
    lines: Sequence[str]  # where it comes from


def page(head: Head, parts: Sequence[str]) -> str:
    """The page as one HTML text: no script, nothing loaded from elsewhere. `parts` are HTML, the head is plain text."""
    origin = " · ".join(map(escape, head.lines))
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(head.title)} – cryosphere</title><style>{STYLE}</style></head><body><main>"
        f"<header><p class='kind'>cryosphere {escape(head.kind)}</p><h1>{escape(head.title)}</h1>"
        f"<p class='meta'>{origin}</p></header>" + "\n".join(parts) + "</main></body></html>\n"
    )


def facts(items: Sequence[tuple[str, str]]) -> str:
    """A row of figures, each (value, what it is)."""
    return "<ul class='facts'>" + "".join(f"<li><b>{value}</b>{label}</li>" for value, label in items) + "</ul>"


def figure(picture: Picture) -> str:
    """A picture within the page, with title and caption. Narrow ones are as magnified as those of the page's width."""
    data = base64.b64encode(picture.png).decode("ascii")
    pixels = int.from_bytes(picture.png[16:20], "big")  # a PNG file says its width there
    narrow = f" style='width:{100 * pixels / WIDE:.0f}%'" if 0 < pixels < NARROW else ""
    return (
        f"<figure><h3>{escape(picture.title)}</h3><img{narrow} alt='{escape(picture.title, quote=True)}' "
        f"src='data:image/png;base64,{data}'><figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def words(text: str) -> str:
    """Escaped, with what stands between back-quotes as code."""
    return re.sub("`([^`]*)`", r"<code>\1</code>", escape(text))


def counted(number: int, noun: str) -> str:
    """A number of things, in words: 1 image, 2,000 images."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
