"""Plots of scores. Needs the extra `report`."""
