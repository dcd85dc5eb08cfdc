"""What a run says against what is true, where the truth is known, and against what was possible."""
