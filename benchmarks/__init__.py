"""Measurements: ratios, each of two things measured side by side in one run."""
