"""The look of the report, and what it says about each file."""

FILES = {
    "traversals/*_superposed.cif": "all-atom structures along a principal component of the latents, from its 5th to "
    "its 95th percentile, brought to coincide on the reference (see the table of segments): the ones to play. "
    "ChimeraX: `open pc1_superposed.cif coordsets true`, then `coordset slider #1`; PyMOL: `load "
    "pc1_superposed.cif`, then `mplay`",
    "traversals/*.cif": "all-atom structures along a principal component, from its 5th to its 95th percentile, where "
    "the images see them: the ones to compare with density maps",
    "traversals/*_z.npy": "the latents of those structures, for `cryosphere structures --z`",
    "clusters/*.cif": "all-atom structure of the image nearest to the centre of a group of similar images, largest "
    "group first (k-means of the latents; which image belongs to which group: pca.csv)",
    "clusters/*_z.npy": "the latents of the clusters' images, in the same order",
    "segments.cxc": "open it with ChimeraX: the traversal along PC1 with a slider, residues in the colours of their "
    "segments",
    "segments.csv": "one row per segment: residues, how many of them firmly, ranges, centre, whether it is part of the "
    "reference",
    "segments_per_residue.csv": "one row per residue: its segment and how firmly it belongs to it",
    "motions_relative.csv": "per image and segment: rotation (degrees), axis, displacement of the segment's centre "
    "(Å), relative to the largest body (column `reference` of segments.csv)",
    "motions.csv": "the same in the frame of the input model, motion of the whole molecule included",
    "movement.csv": "RMS displacement of every residue over the images",
    "pca.csv": "image name, place along the principal components and cluster of every image, to make selections with",
    "z.npy": "latent of every image, in the order of the input: float32, (images, latent dimensions)",
    "z_sd.npy": "its posterior standard deviation",
    "pictures/*": "the pictures of this report",
}

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
