"""Output folders in which results are committed once: on a disk or in an object store."""
