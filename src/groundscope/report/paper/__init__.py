"""Figures for print, in matplotlib: one per claim of the paper, drawn from the tables of a run."""
