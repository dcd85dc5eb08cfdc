"""Image formation: beads to projection, projection through the microscope's transfer function, noise."""
