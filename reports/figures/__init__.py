"""Figures, each drawn once, in placeholder colours; `reports.pictures` turns them into files."""
