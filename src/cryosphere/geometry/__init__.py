"""Rotations, poses and rigid motions. The only room, with `particles` and `imaging`, that knows other programs' conventions."""
