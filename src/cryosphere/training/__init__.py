"""Training: configuration, run directory, checkpoints, the loop, and the trained model read back."""
