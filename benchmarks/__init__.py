"""Measurements of Mqueduct, run by hand: ``python -m benchmarks --help``."""
