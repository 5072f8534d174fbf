"""Scoring of pools: shards of work, each committed once, by whichever engine runs them."""
