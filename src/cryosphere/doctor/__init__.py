"""Before training: are contrast, hand, poses, shifts, sizes, optics and order what the files say they are?

Each check makes the model's projections as they would look if one thing had been written otherwise, and compares them
with the images.
"""
