"""Profiles of datasets: sums and a sketch, from which every factor of the metric follows."""
