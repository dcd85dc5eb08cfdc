"""What the report says about each file."""

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
    "occupancy.csv": "how much of every residue there is, relative to whole ones; where that differs from image to "
    "image, its mean and percentiles over the images",
    "uncertainty.csv": "how sure every residue's place is: standard deviation in Å (median and 90th percentile over "
    "the images), what the latents leave open of it, and the structures' own error, as held-out images tell it",
    "pca.csv": "image name, place along the principal components and cluster of every image, to make selections with",
    "z.npy": "latent of every image, in the order of the input: float32, (images, latent dimensions)",
    "z_sd.npy": "its posterior standard deviation",
    "pictures/*": "the pictures of this report",
}
