"""How Sphinx builds the pages; ``tox run -e docs`` calls it, and nothing is asked of any other machine."""

import os
from importlib.metadata import version as installed
from pathlib import Path

from bench.commands.packs import site

# What the tutorial prepares stays with the pages, not in the cache of whoever builds them.
HERE = Path(__file__).parent
os.environ.setdefault("BENCH_CACHE", str(HERE / "_build" / "cache"))

project = "scgenbench"
author = "the scgenbench developers"
release = installed("scgenbench")
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "examples", "measurements", "_templates"]
templates_path = ["_templates"]
suppress_warnings: list[str] = []

myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
# Headings can be linked to, as GitHub has it.
myst_heading_anchors = 3
# `text` is the language of what a command prints; see tests/test_docs_commands.py.
highlight_language = "none"

# The tutorial is computed anew at each build: what it shows is what the code does.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

autosummary_generate = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False
# Single backticks in docstrings name objects where there are such, and are code else.
default_role = "code"

html_theme = "sphinx_book_theme"
html_title = "scgenbench"
html_static_path = ["_static"]
html_css_files = ["scgenbench.css"]
html_js_files = ["scgenbench.js"]
# The leaderboard of the stored results, as pages of its own beside these: board/index.html.
BOARD = HERE / "_build" / "extra" / "board"
site(sorted((HERE / "results").glob("*.json")), BOARD)
html_extra_path = [str(BOARD.parent)]
# Light or dark as the reader's system has it.
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "home_page_in_toc": True,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "show_navbar_depth": 1,
}
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
nitpicky = True
