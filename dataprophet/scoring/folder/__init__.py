"""What a scored folder holds: its files, configuration, shards and rows, and ``ScoredPool``, which reads it."""
