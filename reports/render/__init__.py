"""Writers: page, PDF, LaTeX, Markdown and figure files."""
