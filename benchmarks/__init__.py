"""Measurements: each script runs both sides, ours and the baseline it names, in one run and prints what it found."""
