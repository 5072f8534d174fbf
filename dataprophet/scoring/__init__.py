"""Scores of the samples of a pool for targets: shards, commits and engines."""
