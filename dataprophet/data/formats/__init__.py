"""One file per format: each turns the rows of a container into conversations."""
