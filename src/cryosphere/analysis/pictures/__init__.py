"""Pictures: each function takes arrays and returns a matplotlib Figure; nothing here computes or reads a run."""
