"""Trains the model of the demo: not part of the package, which ships the trained weights."""
