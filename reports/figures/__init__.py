"""Figures, each drawn once, in placeholder colours; `render/figure_files.py` writes the files."""
