"""Sphinx: the documentation of mdirclient."""

from mdirclient import __version__

project = "mdirclient"
author = "The mdirclient authors"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
default_role = "code"
html_theme = "furo"
html_title = f"mdirclient {release}"
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {
    "members": True,
    "special-members": "__getitem__, __contains__, __len__, __iter__",
}
napoleon_google_docstring = True
napoleon_use_ivar = True
napoleon_use_rtype = False
# The docstrings name errors of the package by their last name; the reference lists them all.
nitpick_ignore_regex = [(r"py:(exc|class|obj)", r".*")]
#: Pygments knows Sieve without its extensions (`date`).
suppress_warnings = ["misc.highlighting_failure"]
