"""Settings of the docs site: `make docs` builds it from the pages as they are.

The source folder is the repository, so that links between pages and to files lead where they lead
in the repository. Everything a page needs is local: the site opens and searches without a network.
"""

from gapbench.bench import __version__

project = "gapbench"
author = "the gapbench authors"
release = __version__
html_title = f"gapbench {release}"
root_doc = "docs/index"
include_patterns = ["docs/**", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
html_theme = "furo"
myst_heading_anchors = 3
nb_execution_mode = "off"  # the tests run the notebooks
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes are described in the docstring of their class
