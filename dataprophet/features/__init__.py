"""Features of samples, their files and columns."""
