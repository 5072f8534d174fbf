"""The transfer matrix, its rankings, and how well it agrees with measured gains."""
